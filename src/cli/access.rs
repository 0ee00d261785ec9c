//! `access`: keys for clients, and what their policies permit.

use super::access_check::Check;
use super::access_explain::Explain;
use super::access_new_key::NewKey;
use super::outcome::Outcome;

/// The subcommands of `access`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Access {
    /// Make an API key for a client: prints it once, and the line for the configuration, which holds no secret
    #[command(after_help = "Example:\n  openemr-gateway access new-key lab --expires 2027-01-31")]
    NewKey(NewKey),
    /// Say whether a request is allowed, narrowed or refused, and by which line of the configuration. Nothing is sent
    #[command(after_help = "Example:\n  openemr-gateway access explain --client lab --request 'GET /fhir/Observation?patient=1'")]
    Explain(Explain),
    /// Check that every policy lies within the scopes that the sites have at OpenEMR
    #[command(after_help = "Example:\n  openemr-gateway access check --config conf/gateway.yaml")]
    Check(Check),
}

impl Access {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration; what the command looks for and does not find.
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::NewKey(command) => command.run(),
            Self::Explain(command) => command.run(),
            Self::Check(command) => command.run(),
        }
    }
}
