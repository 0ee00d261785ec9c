//! The URLs of the configuration: absolute, http or https, and without a query.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// An absolute http or https URL without user name, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl {
    /// Whether the scheme is https, not http.
    pub https: bool,
    /// The host's name or address; IPv6 without brackets.
    pub host: String,
    /// The port, given or the scheme's own.
    pub port: u16,
    /// The path: empty, or `/…` without a `/` at the end.
    pub path: String,
}

/// Why a text is not a [`BaseUrl`]. The text completes a sentence that begins with the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// It begins with neither `http://` nor `https://`.
    #[error("does not begin with https:// or http://")]
    Scheme,
    /// It holds a user name or a password, and must not be shown.
    #[error("holds a user name or a password")]
    Userinfo,
    /// It holds `?` or `#`.
    #[error("has a query or a fragment")]
    QueryOrFragment,
    /// It has no host, or an impossible one.
    #[error("has no usable host")]
    Host,
    /// Its port is not 1 to 65535.
    #[error("has no usable port")]
    Port,
    /// Its path holds a character that is not allowed there, or a segment that is `.`, `..` or empty.
    #[error("has a path with a character or a segment that does not belong there")]
    Path,
}

impl BaseUrl {
    /// Reads an absolute http or https URL. A trailing `/` is dropped.
    ///
    /// # Errors
    /// A [`BaseUrlError`] that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let scheme = |name: &str| text.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name));
        let (https, rest) = if scheme("https://").is_some() {
            (true, text.get(8..))
        } else if scheme("http://").is_some() {
            (false, text.get(7..))
        } else {
            return Err(BaseUrlError::Scheme);
        };
        let rest = rest.unwrap_or_default();
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        if authority.contains('@') {
            return Err(BaseUrlError::Userinfo);
        }
        if path.contains(['?', '#']) {
            return Err(BaseUrlError::QueryOrFragment);
        }
        let (host, port) = host_and_port(authority)?;
        let port = match port {
            None if https => 443,
            None => 80,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(BaseUrlError::Port),
            },
            Some(_) => return Err(BaseUrlError::Port),
        };
        let path = path.trim_end_matches('/');
        if !path.is_empty() && !path.split('/').skip(1).all(is_segment) {
            return Err(BaseUrlError::Path);
        }
        Ok(Self { https, host, port, path: path.to_owned() })
    }

    /// Returns the value of the `Host` field: with the port unless it is the scheme's own (RFC 9110 section 7.2).
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default_port = if self.https { 443 } else { 80 };
        if self.port == default_port { host } else { format!("{host}:{}", self.port) }
    }

    /// Whether the host is this machine: 127.0.0.0/8, ::1 or `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Whether scheme, host and port are those of `other` (RFC 6454).
    #[must_use]
    pub(crate) fn has_origin_of(&self, other: &Self) -> bool {
        self.https == other.https && self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }

    /// Returns the URL with `below`, which begins with `/`, behind its path.
    #[must_use]
    pub fn join(&self, below: &str) -> Self {
        Self { path: format!("{}{below}", self.path), ..self.clone() }
    }
}

impl fmt::Display for BaseUrl {
    /// Writes the URL without the scheme's own port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Whether a host is this machine: 127.0.0.0/8, ::1 or `localhost`.
pub(super) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Splits an authority without a user into the host, IPv6 without brackets, and the text of the port, if there is one.
pub(super) fn host_and_port(authority: &str) -> Result<(String, Option<&str>), BaseUrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(BaseUrlError::Host)?;
        let address: Ipv6Addr = address.parse().map_err(|_| BaseUrlError::Host)?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or(BaseUrlError::Host)?),
        };
        return Ok((address.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let good = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63);
    if good { Ok((host.to_owned(), port)) } else { Err(BaseUrlError::Host) }
}

/// Whether a text is a path segment (RFC 3986 section 3.3) without percent-encoding, and not a dot segment.
fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes() {
        for (text, written) in [
            ("https://emr.example.org", "https://emr.example.org"),
            ("https://emr.example.org/", "https://emr.example.org"),
            ("https://emr.example.org:443/openemr/", "https://emr.example.org/openemr"),
            ("HTTPS://emr.example.org:9300", "https://emr.example.org:9300"),
            ("http://[::1]:8080/a/b", "http://[::1]:8080/a/b"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("https://openemr_web:9300", "https://openemr_web:9300"),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap().to_string(), written);
        }
        assert_eq!(BaseUrl::parse("https://[::1]").unwrap().host, "::1");
    }

    #[test]
    fn the_schemes_own_port_is_left_out() {
        for (text, authority) in [
            ("https://emr.example.org:443/a", "emr.example.org"),
            ("http://[::1]:80", "[::1]"),
            ("https://[::1]:8443", "[::1]:8443"),
            ("https://emr.example.org:80", "emr.example.org:80"),
        ] {
            assert_eq!(BaseUrl::parse(text).unwrap().authority(), authority);
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        for (text, reason) in [
            ("", BaseUrlError::Scheme),
            ("emr.example.org", BaseUrlError::Scheme),
            ("ftp://emr.example.org", BaseUrlError::Scheme),
            ("httpé://x", BaseUrlError::Scheme),
            ("https://", BaseUrlError::Host),
            ("https:///fhir", BaseUrlError::Host),
            ("https://a b", BaseUrlError::Host),
            ("https://a..b", BaseUrlError::Host),
            ("https://[::1", BaseUrlError::Host),
            ("https://user:secret@host", BaseUrlError::Userinfo),
            ("https://host:0", BaseUrlError::Port),
            ("https://host:", BaseUrlError::Port),
            ("https://host:65536", BaseUrlError::Port),
            ("https://host:+1", BaseUrlError::Port),
            ("https://host?x", BaseUrlError::QueryOrFragment),
            ("https://host/a#b", BaseUrlError::QueryOrFragment),
            ("https://host/a/../b", BaseUrlError::Path),
            ("https://host/a//b", BaseUrlError::Path),
            ("https://host/a b", BaseUrlError::Path),
            ("https://host/a%2f", BaseUrlError::Path),
            ("https://host/a\\b", BaseUrlError::Path),
        ] {
            assert_eq!(BaseUrl::parse(text), Err(reason), "{text}");
        }
    }

    #[test]
    fn knows_loopback() {
        for text in ["http://127.0.0.1", "http://127.9.9.9:1", "http://[::1]", "http://LOCALHOST:80"] {
            assert!(BaseUrl::parse(text).unwrap().is_loopback(), "{text}");
        }
        for text in ["http://128.0.0.1", "http://localhost.example.org", "http://[::2]", "http://127.0.0.1.nip.io"] {
            assert!(!BaseUrl::parse(text).unwrap().is_loopback(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_the_same(text in "https?://[a-z0-9.:\\[\\]@-]{0,20}(/[a-z.]{0,4}){0,3}") {
            if let Ok(url) = BaseUrl::parse(&text) {
                prop_assert_eq!(BaseUrl::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
