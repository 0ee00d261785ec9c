//! Who kicked an export off, as far as the limits on exports tell clients apart.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The owner of an export: a client's IPv4 address or IPv6 network of 64 bits, or all clients whose address is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct Owner(Option<IpAddr>);

impl Owner {
    /// The owner behind this address.
    #[must_use]
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            // One machine has as many addresses as it likes in its network.
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            address @ IpAddr::V4(_) => address,
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_machine_are_one_owner() {
        let owner = |text: &str| Owner::at(Some(text.parse().unwrap()));
        assert_eq!(owner("2001:db8::1"), owner("2001:db8::ffff:1"));
        assert_ne!(owner("2001:db8::1"), owner("2001:db8:0:1::1"));
        assert_eq!(owner("::ffff:192.0.2.1"), owner("192.0.2.1"));
        assert_ne!(owner("192.0.2.1"), owner("192.0.2.2"));
        assert_eq!(Owner::at(None), Owner::default());
        for owner in [owner("192.0.2.1"), owner("2001:db8::1"), Owner::default()] {
            assert_eq!(serde_json::from_str::<Owner>(&serde_json::to_string(&owner).unwrap()).unwrap(), owner);
        }
    }
}
