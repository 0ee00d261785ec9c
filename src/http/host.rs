//! The host that a request is for: what stands in `Host`, in `:authority`, or in a target in absolute-form (RFC 9110 section
//! 7.2, RFC 3986 section 3.2). Pure.
//!
//! Decision: `docs/decisions/19-browsers.md`.

use std::net::{IpAddr, Ipv6Addr};

/// The longest name of a host, in bytes (RFC 1035 section 2.3.4).
const LONGEST_NAME: usize = 253;

/// A host without its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// A name, without the dot at its end.
    Name(&'a str),
    /// An IP address. An IPv4 address that is mapped into IPv6 is given as IPv4.
    Address(IpAddr),
}

/// Why a text is no authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAuthority {
    /// Nothing, or nothing before the port.
    #[error("names no host")]
    Empty,
    /// `user@host`.
    #[error("holds a user name")]
    Userinfo,
    /// A character that no host name has, an empty label, a name that is too long, or brackets without an IPv6 address.
    #[error("is no host name and no IP address")]
    Host,
    /// Something other than a number of 0 to 65535 after the colon.
    #[error("has no valid port")]
    Port,
}

impl<'a> Host<'a> {
    /// Reads an authority: a host, and perhaps a port, which may be empty.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn of_authority(authority: &'a [u8]) -> Result<Self, BadAuthority> {
        if authority.contains(&b'@') {
            return Err(BadAuthority::Userinfo);
        }
        let authority = str::from_utf8(authority).map_err(|_| BadAuthority::Host)?;
        if let Some(rest) = authority.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or(BadAuthority::Host)?;
            let address: Ipv6Addr = address.parse().map_err(|_| BadAuthority::Host)?;
            match after.strip_prefix(':') {
                Some(port) => check_port(port)?,
                None if after.is_empty() => {}
                None => return Err(BadAuthority::Host),
            }
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        let host = match authority.split_once(':') {
            Some((host, port)) => {
                check_port(port)?;
                host
            }
            None => authority,
        };
        Self::of_name(host)
    }

    /// Reads a name, or an IPv4 address.
    ///
    /// # Errors
    /// Why it is neither.
    pub(crate) fn of_name(host: &'a str) -> Result<Self, BadAuthority> {
        if host.is_empty() {
            return Err(BadAuthority::Empty);
        }
        if let Ok(address) = host.parse() {
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let is_name = name.len() <= LONGEST_NAME && name.split('.').all(is_label);
        if is_name { Ok(Self::Name(name)) } else { Err(BadAuthority::Host) }
    }

    /// Whether this is this machine by definition: a loopback address, `localhost`, or a name below it (RFC 6761 section 6.3).
    /// No name server is asked for these, so none can make them point elsewhere.
    #[must_use]
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name.eq_ignore_ascii_case("localhost") || is_below(name, "localhost"),
            Self::Address(address) => address.is_loopback(),
        }
    }
}

/// Whether a name is below a domain, which it is not itself. Both without a dot at the end.
#[must_use]
pub(crate) fn is_below(name: &str, domain: &str) -> bool {
    let labels = name.len().checked_sub(domain.len()).and_then(|at| name.split_at_checked(at));
    labels.is_some_and(|(labels, end)| end.eq_ignore_ascii_case(domain) && labels.len() > 1 && labels.ends_with('.'))
}

/// The authority of a request target in absolute-form (RFC 9112 section 3.2.2); `None` in any other form.
#[must_use]
pub(crate) fn authority_of(target: &[u8]) -> Option<&[u8]> {
    if matches!(target.first(), None | Some(b'/' | b'*')) {
        return None;
    }
    let colon = target.iter().position(|byte| *byte == b':')?;
    let rest = target.get(colon..)?.strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    rest.get(..end)
}

fn check_port(port: &str) -> Result<(), BadAuthority> {
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok());
    if is_port { Ok(()) } else { Err(BadAuthority::Port) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_authority_is_a_host_with_or_without_a_port() {
        let name = |name| Ok(Host::Name(name));
        let address = |text: &str| Ok(Host::Address(text.parse().unwrap()));
        for (authority, expected) in [
            ("gateway", name("gateway")),
            ("gateway:8000", name("gateway")),
            ("gateway:", name("gateway")),
            ("Gateway.Example.", name("Gateway.Example")),
            ("my_service-1.ns.svc.cluster.local:80", name("my_service-1.ns.svc.cluster.local")),
            ("127.0.0.1:8000", address("127.0.0.1")),
            ("[::1]:8000", address("::1")),
            ("[2001:DB8::1]", address("2001:db8::1")),
            ("[::ffff:10.0.0.1]:1", address("10.0.0.1")),
            // A browser writes these as 127.0.0.1; whoever writes them otherwise does not mean the address.
            ("2130706433", name("2130706433")),
            ("0x7f.1", name("0x7f.1")),
            ("", Err(BadAuthority::Empty)),
            (":8000", Err(BadAuthority::Empty)),
            ("user@gateway", Err(BadAuthority::Userinfo)),
            ("user:pass@gateway:1", Err(BadAuthority::Userinfo)),
            ("gateway:x", Err(BadAuthority::Port)),
            ("gateway:65536", Err(BadAuthority::Port)),
            ("gateway:+1", Err(BadAuthority::Port)),
            ("gateway:1:2", Err(BadAuthority::Port)),
            ("::1", Err(BadAuthority::Port)),
            ("[::1", Err(BadAuthority::Host)),
            ("[::1]x", Err(BadAuthority::Host)),
            ("[::1%25lo]", Err(BadAuthority::Host)),
            ("[v1.a]", Err(BadAuthority::Host)),
            ("a b", Err(BadAuthority::Host)),
            ("a,b", Err(BadAuthority::Host)),
            ("a/b", Err(BadAuthority::Host)),
            ("a%2fb", Err(BadAuthority::Host)),
            ("a..b", Err(BadAuthority::Host)),
            (".", Err(BadAuthority::Host)),
            ("a\0b", Err(BadAuthority::Host)),
            ("gäteway", Err(BadAuthority::Host)),
        ] {
            assert_eq!(Host::of_authority(authority.as_bytes()), expected, "{authority:?}");
        }
        assert_eq!(Host::of_authority(b"a\xff"), Err(BadAuthority::Host));
        assert_eq!(Host::of_authority("a.".repeat(127).as_bytes()), Ok(Host::Name(&"a.".repeat(127)[..253])));
        assert_eq!(Host::of_authority("a".repeat(254).as_bytes()), Err(BadAuthority::Host));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (authority, expected) in [
            ("localhost:8000", true),
            ("LOCALHOST.", true),
            ("app.localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost.evil.example", false),
            ("evillocalhost", false),
            ("127.0.0.1.evil.example", false),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(Host::of_authority(authority.as_bytes()).unwrap().is_loopback(), expected, "{authority}");
        }
        assert_eq!(Host::of_authority(b".localhost"), Err(BadAuthority::Host));
    }

    #[test]
    fn a_domain_is_not_below_itself() {
        for (name, expected) in [
            ("a.example.org", true),
            ("A.B.EXAMPLE.ORG", true),
            ("example.org", false),
            (".example.org", false),
            ("badexample.org", false),
            ("org", false),
        ] {
            assert_eq!(is_below(name, "example.org"), expected, "{name}");
        }
    }

    #[test]
    fn a_target_in_absolute_form_names_its_host() {
        for (target, authority) in [
            ("/fhir/Patient?x=http://evil", None),
            ("*", None),
            ("", None),
            ("http://gw:8000/fhir", Some("gw:8000")),
            ("HTTPS://gw?x", Some("gw")),
            ("http://gw", Some("gw")),
            ("http://user@gw/", Some("user@gw")),
            ("gw:443", None),
        ] {
            assert_eq!(authority_of(target.as_bytes()), authority.map(str::as_bytes), "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_names_hold_nothing_odd(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = authority_of(&raw);
            if let Ok(Host::Name(name)) = Host::of_authority(&raw) {
                prop_assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
            }
        }

        #[test]
        fn every_address_is_read_in_its_own_form(address in any::<IpAddr>(), port in any::<u16>()) {
            let authority = std::net::SocketAddr::new(address, port).to_string();
            prop_assert_eq!(Host::of_authority(authority.as_bytes()), Ok(Host::Address(address.to_canonical())));
        }
    }
}
