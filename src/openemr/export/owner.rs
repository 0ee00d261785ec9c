//! Who kicked an export off, as far as exports and the limits on them tell clients apart.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The owner of an export.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Owner {
    /// A client that the configuration names.
    Client {
        /// Its name.
        client: String,
    },
    /// A caller that is no such client: an IPv4 address or IPv6 network of 64 bits, or all whose address is not known.
    Address(Option<IpAddr>),
}

impl Owner {
    /// The owner behind this address.
    #[must_use]
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        Self::Address(address.map(|address| match address.to_canonical() {
            // One machine has as many addresses as it likes in its network.
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            address @ IpAddr::V4(_) => address,
        }))
    }

    /// The client of this name.
    #[must_use]
    pub(crate) fn named(client: &str) -> Self {
        Self::Client { client: client.to_owned() }
    }

    /// Whether it is a client that the configuration names.
    #[must_use]
    pub(crate) fn is_client(&self) -> bool {
        matches!(self, Self::Client { .. })
    }

    /// Whether a caller may know of the exports of this owner: its own. Where no clients are configured, those of addresses are
    /// everybody's, because a client may come from several.
    #[must_use]
    pub(crate) fn is_known_to(&self, caller: &Self, has_clients: bool) -> bool {
        match self {
            Self::Client { .. } => self == caller,
            Self::Address(address) => !has_clients || (address.is_some() && self == caller),
        }
    }
}

impl Default for Owner {
    fn default() -> Self {
        Self::Address(None)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn owner(text: &str) -> Owner {
        Owner::at(Some(text.parse().unwrap()))
    }

    #[test]
    fn addresses_of_one_machine_are_one_owner() {
        assert_eq!(owner("2001:db8::1"), owner("2001:db8::ffff:1"));
        assert_ne!(owner("2001:db8::1"), owner("2001:db8:0:1::1"));
        assert_eq!(owner("::ffff:192.0.2.1"), owner("192.0.2.1"));
        assert_ne!(owner("192.0.2.1"), owner("192.0.2.2"));
        assert_eq!(Owner::at(None), Owner::default());
    }

    #[test]
    fn an_owner_is_read_back_and_an_address_is_stored_as_by_earlier_versions() {
        for (owner, stored) in [
            (owner("192.0.2.1"), r#""192.0.2.1""#),
            (owner("2001:db8::1"), r#""2001:db8::""#),
            (Owner::default(), "null"),
            (Owner::named("lab"), r#"{"client":"lab"}"#),
            // No address, whatever its name is.
            (Owner::named("192.0.2.1"), r#"{"client":"192.0.2.1"}"#),
        ] {
            assert_eq!(serde_json::to_string(&owner).unwrap(), stored);
            assert_eq!(serde_json::from_str::<Owner>(stored).unwrap(), owner);
        }
    }

    #[test]
    fn an_export_is_known_to_its_owner_alone_where_there_are_clients() {
        let (lab, here, there) = (Owner::named("lab"), owner("192.0.2.1"), owner("192.0.2.2"));
        for (of, caller, with_clients, without) in [
            (&lab, &lab, true, true),
            (&lab, &Owner::named("lab2"), false, false),
            (&lab, &here, false, false),
            (&here, &here, true, true),
            (&here, &there, false, true),
            (&here, &lab, false, true),
            (&Owner::default(), &Owner::default(), false, true),
        ] {
            let known = [of.is_known_to(caller, true), of.is_known_to(caller, false)];
            assert_eq!(known, [with_clients, without], "{of:?} {caller:?}");
        }
    }
}
