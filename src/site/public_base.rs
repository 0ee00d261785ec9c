//! The gateway's own base URL as the caller of a request knows it: links in the answer begin with it.
//!
//! Decision: `docs/decisions/13-links.md`.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use crate::config::BaseUrl;
use crate::fhir::link_rewriter::{Links, Replacement};
use crate::http::forwarded::called_at::CalledAt;

/// What a request tells about the URL that it was sent to. It borrows everything, because nearly every request has the base of
/// the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestAddress<'a> {
    /// `public_url`.
    pub public_url: Option<&'a BaseUrl>,
    /// The host, scheme and path that trusted proxies forward.
    pub called_at: CalledAt<'a>,
    /// `Host`, or HTTP/2's `:authority`.
    pub host: Option<&'a str>,
    /// Whether the listener speaks TLS.
    pub tls: bool,
    /// The listener's own address.
    pub local: Option<SocketAddr>,
    /// The path of the site's FHIR API.
    pub fhir_path: &'a str,
}

/// The parts of a base URL. Each is checked, so that it cannot end a field value, a JSON string or an XML attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parts<'a> {
    /// Whether the scheme is https, and the authority; `None` when only the path is known.
    at: Option<(bool, Authority<'a>)>,
    prefix: &'a str,
    fhir_path: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Authority<'a> {
    Named { host: &'a str, port: Option<u16> },
    Address(SocketAddr),
}

/// A base URL of the gateway's, with what rewrites links to it and finds links to it.
#[derive(Debug)]
pub(crate) struct PublicBase {
    text: String,
    replacement: Arc<Replacement>,
    links: OnceLock<Arc<Links>>,
}

impl<'a> RequestAddress<'a> {
    fn parts(&self) -> Parts<'a> {
        if let Some(url) = self.public_url {
            let authority = Authority::Named { host: &url.host, port: Some(url.port) };
            return Parts { at: Some((url.https, authority)), prefix: &url.path, fhir_path: self.fhir_path };
        }
        let https = self.called_at.https.unwrap_or(self.tls);
        let named = [self.called_at.host, self.host].into_iter().flatten().find_map(host_and_port);
        let at = match (named, self.local) {
            (Some((host, port)), _) => Some((https, Authority::Named { host, port: self.called_at.port.or(port) })),
            // A caller that names no usable host has at least reached this address.
            (None, Some(local)) => Some((https, Authority::Address(local))),
            (None, None) => None,
        };
        let prefix = self.called_at.prefix.and_then(path).unwrap_or_default();
        Parts { at, prefix, fhir_path: self.fhir_path }
    }

    /// The base URL; `latest` itself when that is the same.
    #[must_use]
    pub(crate) fn base(&self, latest: Option<&Arc<PublicBase>>) -> Arc<PublicBase> {
        let parts = self.parts();
        match latest.filter(|latest| parts.is(&latest.text)) {
            Some(same) => Arc::clone(same),
            None => Arc::new(PublicBase::new(parts.text())),
        }
    }
}

impl Parts<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut |part| text.push_str(part));
        text
    }

    /// Whether this is its text, compared without an allocation.
    fn is(&self, text: &str) -> bool {
        let mut rest = Some(text);
        self.write(&mut |part| rest = rest.and_then(|rest| rest.strip_prefix(part)));
        rest == Some("")
    }

    /// Gives the pieces of the text in order.
    fn write(&self, out: &mut impl FnMut(&str)) {
        if let Some((https, authority)) = self.at {
            out(if https { "https://" } else { "http://" });
            let own_port = if https { 443 } else { 80 };
            let port = match authority {
                Authority::Named { host, port } => {
                    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
                    out(if is_bare_ipv6 { "[" } else { "" });
                    out(host);
                    out(if is_bare_ipv6 { "]" } else { "" });
                    port.unwrap_or(own_port)
                }
                Authority::Address(address) => {
                    let ip = address.ip().to_canonical();
                    let mut text = String::new();
                    // Writing to a string cannot fail.
                    let _ = if ip.is_ipv6() { write!(text, "[{ip}]") } else { write!(text, "{ip}") };
                    out(&text);
                    address.port()
                }
            };
            if port != own_port {
                let mut digits = [0_u8; 6];
                out(colon_and(port, &mut digits));
            }
        }
        out(self.prefix);
        out(self.fhir_path);
    }
}

impl PublicBase {
    fn new(text: String) -> Self {
        Self { replacement: Arc::new(Replacement::new(&text)), text, links: OnceLock::new() }
    }

    /// The URL, without a trailing slash.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What replaces OpenEMR's bases in answers.
    #[must_use]
    pub(crate) fn replacement(&self) -> &Arc<Replacement> {
        &self.replacement
    }

    /// Finds links to this base in requests.
    #[must_use]
    pub(crate) fn links(&self) -> &Arc<Links> {
        self.links.get_or_init(|| Arc::new(Links::to([self.as_str()])))
    }
}

/// `:8443`, without an allocation.
fn colon_and(port: u16, digits: &mut [u8; 6]) -> &str {
    let mut rest = port;
    let mut length = 0;
    for place in digits.iter_mut().rev() {
        *place = match (rest, length) {
            (0, 1..) => b':',
            _ => b'0' + u8::try_from(rest % 10).unwrap_or_default(),
        };
        length += 1;
        if *place == b':' {
            break;
        }
        rest /= 10;
    }
    let from = digits.len() - length;
    digits.get(from..).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
}

/// Splits an authority without userinfo (RFC 3986 section 3.2): a name, an IPv4 address or an IPv6 address in brackets, and a
/// port. `None` for everything that cannot stand in a link unchanged.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, after) = match authority.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(end) => authority.split_at_checked(end + 2)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match after {
        "" => None,
        _ => Some(after.strip_prefix(':')?.parse::<u16>().ok().filter(|port| *port != 0 && !after.contains('+'))?),
    };
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let good = match inside {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        }),
    };
    (good && host.len() <= 255).then_some((host, port))
}

/// The path under which a proxy serves the gateway, without a trailing slash; `None` for an unusable one.
fn path(text: &str) -> Option<&str> {
    let text = text.trim_end_matches('/');
    let good = text.starts_with('/')
        && text.len() <= 255
        && !text.split('/').skip(1).any(|segment| matches!(segment, "" | "." | ".."))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte));
    good.then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(host: Option<&str>) -> RequestAddress<'_> {
        RequestAddress {
            public_url: None,
            called_at: CalledAt::default(),
            host,
            tls: false,
            local: Some("127.0.0.1:8000".parse().unwrap()),
            fhir_path: "/fhir",
        }
    }

    fn base(asked: RequestAddress<'_>) -> String {
        asked.base(None).as_str().to_owned()
    }

    #[test]
    fn a_caller_finds_it_where_he_called() {
        let plain = |host| asked(Some(host));
        for (asked, expected) in [
            (plain("gw.example"), "http://gw.example/fhir"),
            (plain("gw.example:8000"), "http://gw.example:8000/fhir"),
            (plain("gw.example:80"), "http://gw.example/fhir"),
            (plain("GW_1.example:9"), "http://GW_1.example:9/fhir"),
            (plain("[::1]:8000"), "http://[::1]:8000/fhir"),
            (plain("[::1]"), "http://[::1]/fhir"),
            (RequestAddress { tls: true, ..plain("gw.example:443") }, "https://gw.example/fhir"),
            (RequestAddress { tls: true, ..plain("gw.example:80") }, "https://gw.example:80/fhir"),
            (RequestAddress { tls: true, fhir_path: "/second/fhir", ..plain("gw.example") }, "https://gw.example/second/fhir"),
        ] {
            assert_eq!(base(asked), expected);
        }
    }

    #[test]
    fn what_is_no_authority_is_not_believed() {
        for host in [
            "", ":80", "gw:0", "gw:65536", "gw:+80", "gw:", "a b", "a/b", "a\"b", "a\\b", "<a>", "user@gw", "[::1", "[]", "[gw]",
            "[::1]x", "::1", "gw,gw", "gw\u{e9}", "a?b", "a#b", "a%41", ".",
        ] {
            assert_eq!(base(asked(Some(host))), "http://127.0.0.1:8000/fhir", "{host}");
        }
        assert_eq!(base(asked(None)), "http://127.0.0.1:8000/fhir");
        assert_eq!(
            base(RequestAddress { local: Some("[::ffff:10.0.0.1]:80".parse().unwrap()), ..asked(None) }),
            "http://10.0.0.1/fhir"
        );
        assert_eq!(
            base(RequestAddress { local: Some("[::1]:443".parse().unwrap()), tls: true, ..asked(None) }),
            "https://[::1]/fhir"
        );
        assert_eq!(base(RequestAddress { local: None, ..asked(None) }), "/fhir");
    }

    #[test]
    fn public_url_is_the_last_word() {
        for (url, expected) in [
            ("https://fhir.example", "https://fhir.example/fhir"),
            ("https://fhir.example:8443/emr/", "https://fhir.example:8443/emr/fhir"),
            ("http://[::1]:80", "http://[::1]/fhir"),
        ] {
            let url = BaseUrl::parse(url).unwrap();
            let called_at = CalledAt { https: Some(false), host: Some("evil"), port: Some(1), prefix: Some("/x") };
            assert_eq!(base(RequestAddress { public_url: Some(&url), called_at, ..asked(Some("gw.example")) }), expected);
        }
    }

    #[test]
    fn a_proxys_word_goes_before_the_callers() {
        let said = |https, host, port, prefix| RequestAddress {
            called_at: CalledAt { https, host, port, prefix },
            ..asked(Some("gw:8000"))
        };
        for (asked, expected) in [
            (said(Some(true), None, None, None), "https://gw:8000/fhir"),
            (said(Some(true), Some("pub.example"), None, None), "https://pub.example/fhir"),
            (said(Some(true), Some("pub.example:444"), None, None), "https://pub.example:444/fhir"),
            (said(Some(true), Some("pub.example"), Some(444), Some("/emr/")), "https://pub.example:444/emr/fhir"),
            (said(Some(true), Some("pub.example"), Some(443), None), "https://pub.example/fhir"),
            (said(None, Some("\"><script>"), None, Some("/\"")), "http://gw:8000/fhir"),
            (said(None, None, None, Some("//evil")), "http://gw:8000/fhir"),
            (said(None, None, None, Some("/a/../b")), "http://gw:8000/fhir"),
            (said(None, None, None, Some("emr")), "http://gw:8000/fhir"),
        ] {
            assert_eq!(base(asked), expected);
        }
    }

    #[test]
    fn the_same_base_is_not_made_twice() {
        let first = asked(Some("gw.example:8000")).base(None);
        assert!(Arc::ptr_eq(&first, &asked(Some("gw.example:8000")).base(Some(&first))));
        for other in ["gw.example:800", "gw.example:80001", "gw.example", "gw.example.org:8000"] {
            assert!(!Arc::ptr_eq(&first, &asked(Some(other)).base(Some(&first))), "{other}");
        }
        assert!(first.links().rewritten(b"http://gw.example:8000/fhir/Patient/1", &Replacement::new("x")).is_some());
    }

    #[test]
    fn ports_are_written_without_help() {
        for port in [1, 9, 10, 80, 443, 8000, 65535] {
            assert_eq!(colon_and(port, &mut [0; 6]), format!(":{port}"));
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_says_leaves_a_string(host in "\\PC{0,40}|[a-z.:\\[\\]\"\\\\<>/@]{0,20}", prefix in "\\PC{0,20}") {
            let called_at = CalledAt { host: Some(&host), prefix: Some(&prefix), ..CalledAt::default() };
            let base = base(RequestAddress { called_at, ..asked(Some(&host)) });
            prop_assert!(base.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/:.-_~[]".contains(&byte)), "{}", base);
            prop_assert!(base.starts_with("http://") && base.ends_with("/fhir"), "{}", base);
        }
    }
}
