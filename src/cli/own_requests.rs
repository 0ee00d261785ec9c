//! Requests that a command sends itself, by the client of the gateway's own requests.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use pingora::connectors::http::Connector;
use rustls::pki_types::CertificateDer;

use super::outcome::{Failure, failures, warn};
use crate::config::problem::shown;
use crate::config::{BaseUrl, BaseUrlError, read_ca_file};
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

/// Reads the URL of a gateway that `option` names. What may hold a password is not shown.
///
/// # Errors
/// It is none; `example` is one.
pub(super) fn gateway_url(option: &str, url: &str, example: &str) -> Result<BaseUrl, Vec<Failure>> {
    BaseUrl::parse(url).map_err(|error| {
        let message = match error {
            BaseUrlError::Userinfo => format!("{option} {error}"),
            _ => format!("{option}: `{}` {error}", shown(url)),
        };
        vec![Failure::new(message, format!("write it like  {example}"))]
    })
}

/// The certificates that are trusted besides the system's: those in the file that `--ca-file` names.
///
/// # Errors
/// What keeps the file from being read, or why it holds no certificate of a CA.
pub(super) fn authorities(file: Option<&Path>) -> Result<Option<Vec<CertificateDer<'static>>>, Vec<Failure>> {
    let Some(file) = file else { return Ok(None) };
    let (file, warnings) = read_ca_file(file).map_err(failures)?;
    warn(warnings);
    Ok(Some(file.certificates))
}

/// A client with connections of its own. Call it within [`wait_for`].
#[must_use]
pub(super) fn client() -> Client {
    Client::new(Arc::new(Connector::new(None)))
}
