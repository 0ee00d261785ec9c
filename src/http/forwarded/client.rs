//! Who sent a request.

use std::net::IpAddr;

use ipnet::IpNet;

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// A client at this address.
    At(IpAddr),
    /// A client of which nothing is known: it is in no network, and not on this machine.
    Stranger,
}

impl Client {
    /// The client's address; a stranger has none.
    #[must_use]
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Self::At(address) => Some(address),
            Self::Stranger => None,
        }
    }

    /// Whether the client is in one of these networks. A stranger is in none.
    #[must_use]
    pub(crate) fn is_in(self, networks: &[IpNet]) -> bool {
        self.address().is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
    }
}
