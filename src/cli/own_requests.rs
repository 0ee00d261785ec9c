//! Requests that a command sends itself, by the client of the gateway's own requests.

use std::future::Future;
use std::sync::Arc;

use pingora::connectors::http::Connector;

use super::outcome::Failure;
use crate::nodes::client::Client;

/// Does work that waits for answers. What is left over at its end, such as the lookup of a name, keeps nobody waiting.
///
/// # Errors
/// The system has no room for what the work needs.
pub(super) fn wait_for<T>(work: impl Future<Output = T>) -> Result<T, Vec<Failure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| vec![Failure::new(format!("cannot start: {error}"), "see the limits of this user")])?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(done)
}

/// A client with connections of its own. Call it within [`wait_for`].
#[must_use]
pub(super) fn client() -> Client {
    Client::new(Arc::new(Connector::new(None)))
}
