//! `access new-key`: an API key for a client.

use super::outcome::{Failure, Outcome, print};
use crate::access::api_key::ApiKey;
use crate::config::problem::shown;
use crate::config::{Expiry, is_client_name};

/// The arguments of `access new-key`.
#[derive(Debug, clap::Args)]
pub(super) struct NewKey {
    /// The client's name under access.clients
    name: String,
    /// The day, or the time, from which on the key is refused, in UTC
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
}

impl NewKey {
    /// Runs the command.
    ///
    /// # Errors
    /// A name that no client can have, a date that is none, a system without random numbers.
    pub(super) fn run(self) -> Outcome {
        let Self { name, expires } = self;
        let failed = |message: String, remedy: &str| vec![Failure::new(message, remedy)];
        if !is_client_name(&name) {
            let message = format!("`{}` is no name of a client", shown(&name));
            return Err(failed(message, "name it with 1 to 64 letters, digits, dots, underscores and hyphens"));
        }
        let expiry = expires.as_deref().map(|written| Expiry::parse(written).ok_or(written)).transpose();
        let expiry = expiry.map_err(|written| failed(format!("`{}` is no date", shown(written)), "write it like  2027-01-31"))?;
        if let Some(expiry) = expiry.filter(|expiry| expiry.0 <= jiff::Timestamp::now().as_second()) {
            return Err(failed(format!("{expiry} has passed: the key would be refused"), "name a later day"));
        }
        let (key, digest) = ApiKey::generate()
            .map_err(|_| failed("the system has no random numbers".to_owned(), "see why /dev/urandom cannot be read"))?;
        let line = match expiry {
            None => format!("api_keys: [\"sha256:{}\"]", digest.hex()),
            Some(expiry) => format!("api_keys: [{{ sha256: \"{}\", expires: {expiry} }}]", digest.hex()),
        };
        print(&format!(
            "The key, for the client alone. It is shown once:\n\n  {key}\n\nFor the configuration, under access.clients.{name}:\n\n  {line}\n"
        ))
    }
}
