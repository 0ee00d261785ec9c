//! Why the gateway cannot start although its configuration is valid.

use std::io;
use std::net::SocketAddr;

use crate::callers::key_file::NoTokenKeys;
use crate::server::upgrade::take_over::NotTaken;
use crate::sinks::opened::NoTrail;

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
    /// The gateway's own access tokens cannot be signed.
    #[error("access.token_key: {0}")]
    TokenKey(#[source] NoTokenKeys),
    /// The audit trail cannot be kept.
    #[error(transparent)]
    Trail(#[from] NoTrail),
    /// The running process hands nothing over.
    #[error(transparent)]
    NotTaken(#[from] NotTaken),
}
