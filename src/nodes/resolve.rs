//! Name lookups outside the request path: Pingora's own block, and panic when they fail.

use std::net::SocketAddr;
use std::time::Duration;

/// How long a lookup may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The resolver reported an error.
    #[error("{host} cannot be resolved: {source}")]
    Failed {
        /// The name.
        host: String,
        /// The resolver's error.
        source: std::io::Error,
    },
    /// The resolver did not answer.
    #[error("{0} was not resolved within 5 s")]
    TimedOut(String),
    /// The resolver's answer holds no address.
    #[error("{0} has no address")]
    NoAddress(String),
}

/// Looks up the addresses of a name; at least one.
///
/// # Errors
/// A resolver that reports an error, does not answer within five seconds, or knows no address.
pub(super) async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let addresses = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((host, port)))
        .await
        .map_err(|_| ResolveError::TimedOut(host.to_owned()))?
        .map_err(|source| ResolveError::Failed { host: host.to_owned(), source })?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    if addresses.is_empty() { Err(ResolveError::NoAddress(host.to_owned())) } else { Ok(addresses) }
}
