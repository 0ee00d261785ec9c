//! Why the gateway cannot start although its configuration is valid.

use std::io;
use std::net::SocketAddr;

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another program uses the port, or this user may not listen on it.
    #[error("listen: cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}
