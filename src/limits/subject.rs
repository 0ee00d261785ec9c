//! Whose limit it is.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

/// Whose limit it is: each has a state of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Subject<'a> {
    /// An address that asks for the gateway's own routes.
    LocalRoutes(Network),
    /// An address that asks for anything else.
    Address(Network),
    /// A client, by name.
    Client(&'a str),
    /// The callers without credentials at an address.
    Anonymous(Network),
    /// A site, by name.
    Site(&'a str),
}

/// What counts as one address: an address of IPv4, a /64 network of IPv6, since one client has all of it. Callers whose address is
/// not known are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Network(Option<IpAddr>);

/// The keyed hash of a subject: nobody outside can choose two that share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl Subject<'_> {
    /// A name that is the same in every process.
    #[must_use]
    pub(crate) fn name(self) -> String {
        match self {
            Self::LocalRoutes(network) => format!("local {network}"),
            Self::Address(network) => format!("address {network}"),
            Self::Client(name) => format!("client {name}"),
            Self::Anonymous(network) => format!("anonymous {network}"),
            Self::Site(name) => format!("site {name}"),
        }
    }
}

/// The address, or the first one of the network.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

impl Network {
    /// The network of an address.
    #[must_use]
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        const NETWORK: u128 = !0 << 64;
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) & NETWORK)),
        }))
    }
}

impl Key {
    /// Makes the key of a subject.
    #[must_use]
    pub(crate) fn of(subject: Subject<'_>, hasher: &RandomState) -> Self {
        Self::from(hasher.hash_one(subject))
    }

    /// The number, which is never 0.
    #[must_use]
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

impl From<u64> for Key {
    fn from(hash: u64) -> Self {
        Self(hash.max(1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address_and_strangers_are_one() {
        let of = |text: &str| Network::of(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(Network::of(None), Network::of(None));
        assert_ne!(Network::of(None), of("::"));
    }

    #[test]
    fn subjects_of_different_kinds_are_different() {
        let (hasher, network) = (RandomState::new(), Network::of(None));
        let subjects = [
            Subject::LocalRoutes(network),
            Subject::Address(network),
            Subject::Anonymous(network),
            Subject::Client("default"),
            Subject::Site("default"),
            Subject::Client("other"),
        ];
        let keys: std::collections::HashSet<Key> = subjects.iter().map(|subject| Key::of(*subject, &hasher)).collect();
        assert_eq!(keys.len(), subjects.len());
        let names: std::collections::HashSet<String> = subjects.iter().map(|subject| subject.name()).collect();
        assert_eq!(names.len(), subjects.len());
        assert_eq!(Key::of(Subject::Client("a"), &hasher), Key::of(Subject::Client("a"), &hasher));
    }
}
