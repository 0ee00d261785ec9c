//! Why the gateway cannot start although its configuration is valid.

use std::io;
use std::net::SocketAddr;

use crate::site::runtime::UnusableHost;

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program uses the port, or this user may not listen on it.
    #[error("listen: cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A host name that cannot stand in a `Host` field.
    #[error(transparent)]
    Host(#[from] UnusableHost),
}
