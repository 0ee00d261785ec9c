//! What proxies in front of the gateway report of a client: `Forwarded` (RFC 7239) and `X-Forwarded-*`, believed only as far
//! as it comes from trusted proxies.
//!
//! Each hop appends what it saw, so the lists are read from their end. The last entry was written by the connected peer; the
//! one before it by the address in the last; and so on for as long as these are trusted. The first address that is not
//! trusted is the client's, and the client can have made up whatever stands before it.
//!
//! Decision: `docs/decisions/18-proxies.md`.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

/// The most hops that are followed.
const MOST_HOPS: usize = 16;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The addresses that a request came by, the connected peer first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hops {
    addresses: [IpAddr; MOST_HOPS],
    count: usize,
}

impl Hops {
    /// A request without proxies.
    #[must_use]
    pub(crate) fn direct(peer: IpAddr) -> Self {
        Self { addresses: [peer; MOST_HOPS], count: 1 }
    }

    /// Follows the lists of a request that `peer` sent.
    #[must_use]
    pub(crate) fn of(fields: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Self {
        let mut hops = Self::direct(peer);
        if !is_trusted(peer, trusted) {
            return hops;
        }
        // A proxy that writes both writes the same.
        if fields.contains_key(X_FORWARDED_FOR) {
            hops.follow(values_from_the_end(fields, X_FORWARDED_FOR).map(address), trusted);
        } else {
            hops.follow(values_from_the_end(fields, FORWARDED.as_str()).map(|element| address(member(element, "for")?)), trusted);
        }
        hops
    }

    fn follow(&mut self, mut entries: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) {
        while is_trusted(self.client(), trusted) {
            let Some(Some(address)) = entries.next() else { return };
            let Some(place) = self.addresses.get_mut(self.count) else { return };
            *place = address;
            self.count += 1;
        }
    }

    /// The connected peer.
    #[must_use]
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer_first().next().unwrap_or(IpAddr::from([0; 4]))
    }

    /// The client, as far as trusted proxies report it.
    #[must_use]
    pub(crate) fn client(&self) -> IpAddr {
        self.peer_first().next_back().unwrap_or(IpAddr::from([0; 4]))
    }

    /// The value of `X-Forwarded-For`: the client first, the connected peer last.
    #[must_use]
    pub(crate) fn list(&self) -> String {
        let mut list = self.client().to_string();
        for address in self.peer_first().rev().skip(1) {
            list.push_str(", ");
            list.push_str(&address.to_string());
        }
        list
    }

    /// Whether every address is of this machine.
    #[must_use]
    pub(crate) fn are_loopback(&self) -> bool {
        self.peer_first().all(|address| address.is_loopback())
    }

    /// How many entries of each list are believed.
    fn believed(&self) -> usize {
        self.count - 1
    }

    fn peer_first(&self) -> impl DoubleEndedIterator<Item = IpAddr> {
        self.addresses.iter().take(self.count).copied()
    }
}

/// The address that the client called, as trusted proxies report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CalledAt<'a> {
    /// Whether the client used https.
    pub(crate) https: Option<bool>,
    /// The host, with its port.
    pub(crate) host: Option<&'a str>,
    /// The port alone.
    pub(crate) port: Option<u16>,
    /// What a proxy has removed from the front of the path.
    pub(crate) prefix: Option<&'a str>,
}

impl<'a> CalledAt<'a> {
    /// Reads the fields of a request that came by these hops; nothing where the connected peer is not trusted.
    #[must_use]
    pub(crate) fn of(fields: &'a HeaderMap, hops: &Hops, trusted: &[IpNet]) -> Self {
        if !is_trusted(hops.peer(), trusted) {
            return Self::default();
        }
        // The hop that the client met; where a list has fewer entries, its first.
        let told = |name: &str| values_from_the_end(fields, name).take(hops.believed().max(1)).last();
        let forwarded = |name: &str| {
            let elements = values_from_the_end(fields, FORWARDED.as_str()).take(hops.believed().max(1));
            elements.filter_map(|element| member(element, name)).last()
        };
        let scheme = forwarded("proto").or_else(|| told("x-forwarded-proto"));
        Self {
            https: scheme.and_then(is_https),
            host: forwarded("host").or_else(|| told("x-forwarded-host")),
            port: told("x-forwarded-port").and_then(|port| port.parse().ok()).filter(|port| *port != 0),
            prefix: told("x-forwarded-prefix"),
        }
    }
}

/// Whether an address is of a trusted proxy.
#[must_use]
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

fn is_https(scheme: &str) -> Option<bool> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Some(true),
        _ if scheme.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

/// The entries of a list that may be spread over several field lines, the last one first.
fn values_from_the_end<'a>(fields: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = fields.get_all(name).iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')).map(str::trim)
}

/// A member of an element of `Forwarded` (RFC 7239 section 4), without its quotes.
fn member<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        key.trim().eq_ignore_ascii_case(name).then_some(value)
    })
}

/// An address with or without a port. Names, `unknown` and obfuscated identifiers are none.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn fields(lines: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        fields
    }

    fn trusted() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
    }

    fn list(lines: &[(&str, &str)], peer: &str) -> String {
        Hops::of(&fields(lines), peer.parse().unwrap(), &trusted()).list()
    }

    #[test]
    fn the_client_is_the_first_whom_nobody_vouches_for() {
        let xff = "X-Forwarded-For";
        for (lines, peer, expected) in [
            (&[][..], "203.0.113.9", "203.0.113.9"),
            (&[(xff, "198.51.100.1")], "203.0.113.9", "203.0.113.9"),
            (&[(xff, "198.51.100.1")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
            (&[(xff, "6.6.6.6, 198.51.100.1")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
            (&[(xff, "6.6.6.6, 198.51.100.1 , 10.0.0.2")], "10.0.0.1", "198.51.100.1, 10.0.0.2, 10.0.0.1"),
            (&[(xff, "6.6.6.6, 198.51.100.1"), (xff, "10.0.0.2")], "10.0.0.1", "198.51.100.1, 10.0.0.2, 10.0.0.1"),
            (&[(xff, "198.51.100.1:4711")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
            (&[(xff, "[2001:db8::1]:4711")], "fd00::1", "2001:db8::1, fd00::1"),
            (&[(xff, "::ffff:198.51.100.1")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
            (&[(xff, "198.51.100.1, unknown, 10.0.0.2")], "10.0.0.1", "10.0.0.2, 10.0.0.1"),
            (&[(xff, "<script>")], "10.0.0.1", "10.0.0.1"),
            (&[(xff, "")], "10.0.0.1", "10.0.0.1"),
            (&[("Forwarded", "for=198.51.100.1;proto=https")], "10.0.0.1", "198.51.100.1, 10.0.0.1"),
            (&[("Forwarded", "For=\"[2001:db8::1]:4711\" , for=10.0.0.2;by=x")], "10.0.0.1", "2001:db8::1, 10.0.0.2, 10.0.0.1"),
            (&[("Forwarded", "for=_hidden")], "10.0.0.1", "10.0.0.1"),
            (&[("Forwarded", "proto=https")], "10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(list(lines, peer), expected, "{lines:?}");
        }
    }

    #[test]
    fn where_he_called_is_the_word_of_the_hop_that_he_met() {
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        let at = |https, host, port, prefix| CalledAt { https, host, port, prefix };
        for (lines, expected) in [
            (&[][..], at(None, None, None, None)),
            (
                &[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "gw.example"), ("X-Forwarded-Port", "8443")],
                at(Some(true), Some("gw.example"), Some(8443), None),
            ),
            (&[("X-Forwarded-Prefix", "/emr"), ("X-Forwarded-Port", "0")], at(None, None, None, Some("/emr"))),
            (
                &[("Forwarded", "for=1.2.3.4;host=\"gw.example:8443\";proto=HTTPS")],
                at(Some(true), Some("gw.example:8443"), None, None),
            ),
            (&[("Forwarded", "proto=https"), ("X-Forwarded-Proto", "http")], at(Some(true), None, None, None)),
            (&[("X-Forwarded-Proto", "gopher")], at(None, None, None, None)),
            // What the client wrote himself stands in front.
            (
                &[("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Host", "evil.example, gw.example")],
                at(None, Some("gw.example"), None, None),
            ),
            (&[("X-Forwarded-Host", "evil.example, gw.example")], at(None, Some("gw.example"), None, None)),
            // Two trusted proxies: the outer one met him.
            (
                &[
                    ("X-Forwarded-For", "1.2.3.4, 10.0.0.2"),
                    ("X-Forwarded-Proto", "https, http"),
                    ("X-Forwarded-Host", "gw.example"),
                ],
                at(Some(true), Some("gw.example"), None, None),
            ),
            (
                &[("Forwarded", "host=evil, for=1.2.3.4;proto=https;host=gw.example, for=10.0.0.2;proto=http;host=inner")],
                at(Some(true), Some("gw.example"), None, None),
            ),
        ] {
            let fields = fields(lines);
            let hops = Hops::of(&fields, peer, &trusted());
            assert_eq!(CalledAt::of(&fields, &hops, &trusted()), expected, "{lines:?}");
            let stranger: IpAddr = "203.0.113.9".parse().unwrap();
            assert_eq!(CalledAt::of(&fields, &Hops::direct(stranger), &trusted()), CalledAt::default());
        }
    }

    proptest! {
        #[test]
        fn nothing_but_addresses_comes_out(value in "[ -~]{0,200}|([0-9.,: ]|10\\.0\\.0\\.1, ){0,100}") {
            let peer: IpAddr = "10.0.0.1".parse().unwrap();
            for name in ["x-forwarded-for", "forwarded"] {
                let fields = fields(&[(name, &value)]);
                let hops = Hops::of(&fields, peer, &trusted());
                prop_assert!(hops.list().split(", ").all(|entry| entry.parse::<IpAddr>().is_ok()));
                prop_assert!(hops.list().len() < 800);
                let _ = CalledAt::of(&fields, &hops, &trusted());
            }
        }
    }
}
