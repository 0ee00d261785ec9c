//! Proxies in front of the gateway that are trusted, and with what.

use std::net::IpAddr;

use ipnet::IpNet;

/// Proxies in front of the gateway, and what of their fields is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TrustedProxy {
    /// Their addresses.
    pub(crate) from: IpNet,
    /// The fields that they write.
    pub(crate) family: Family,
    /// Whether they also write the host that the client called, and the prefix of its path.
    pub(crate) host: bool,
}

/// The fields in which a proxy reports its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`, `-Prefix`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// What is trusted of the proxies at an address: the first entry counts.
#[must_use]
pub(crate) fn proxy(address: IpAddr, trusted: &[TrustedProxy]) -> Option<&TrustedProxy> {
    trusted.iter().find(|proxy| proxy.from.contains(&address))
}
