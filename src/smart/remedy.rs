//! What to do about an exchange that brought no token, for whoever sets the gateway up.
//!
//! `token_response` has the likely causes; `docs/troubleshooting.md` has both as a table.

use crate::smart::exchanged::ExchangeError;
use crate::smart::token_response::{Refusal, TokenError};

impl ExchangeError {
    /// What happened, without what to do about it.
    #[must_use]
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Unreachable(error) | Self::BrokenOff(error) => error.cause(),
            Self::Answer { explanation: Some(explained), .. } => explained.cause.clone(),
            Self::Answer { error: TokenError::Refused(refusal), .. } => refusal.likely_cause().to_owned(),
            Self::Answer { error, .. } => error.to_string(),
            Self::Unknown(_) | Self::TimedOut { .. } | Self::Signing(_) => self.to_string(),
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Self::Unreachable(error) | Self::BrokenOff(error) => error.remedy(),
            Self::Unknown(_) => Some("write token_url, or mend the SMART configuration of that server".to_owned()),
            Self::TimedOut { .. } => Some(
                "see how long OpenEMR takes: is a jwks_uri slow, or are its workers busy? Or raise timeouts.token".to_owned(),
            ),
            Self::Answer { explanation: Some(explained), .. } => explained.remedy.clone(),
            Self::Answer { error: TokenError::Refused(refusal), .. } => Some(refusal.remedy().to_owned()),
            Self::Answer { error: TokenError::NothingGranted, .. } => Some(REGISTER_ANEW.to_owned()),
            Self::Answer { error: TokenError::NotUnderstood { .. }, .. } => Some("see OpenEMR's own log".to_owned()),
            Self::Signing(_) => Some("set this machine's clock, or make a new key:  openemr-gateway keys generate".to_owned()),
        }
    }
}

/// What to do about scopes that are not granted.
pub(crate) const REGISTER_ANEW: &str =
    "register a new client with these scopes (they cannot be changed later), have it enabled, and write its id as client_id";

impl Refusal {
    /// What to do about the likely cause.
    #[must_use]
    pub(crate) fn remedy(&self) -> &'static str {
        match (self.effective_status(), self.error.as_str()) {
            (429, _) => "wait: the token endpoint, or a proxy before it, wants to be left alone",
            (401, "invalid_client") => {
                "in OpenEMR, Admin > System > API Clients: compare the id with client_id, Edit, Enable Client. A client with a \
                 jwks_uri needs a running gateway that OpenEMR reaches there; registered with inline jwks it does not"
            }
            (400, "invalid_client") => {
                "compare  openemr-gateway keys kid --private-key …  with the first key of what was registered, set both clocks \
                 by NTP, and write token_audience as OpenEMR's own token URL"
            }
            (404, _) => {
                "in OpenEMR, Administration > Config > Connectors: Enable OpenEMR Standard FHIR REST API; and check the sub-folder in \
                 openemr"
            }
            (_, "invalid_scope") => {
                "take the scope that the hint names out of scopes, or switch on, in Administration > Config > Connectors, \
                 Enable OpenEMR FHIR System Scopes"
            }
            (_, "invalid_request") => "set both clocks by NTP",
            (_, "unauthorized_client") => "register the client with the grant type client_credentials",
            (_, "unsupported_grant_type") => "write OpenEMR's own token endpoint as token_url",
            (_, "server_error") => "try again; if it stays, look in OpenEMR for the user oe-system, and into OpenEMR's own log",
            _ => "see OpenEMR's own log",
        }
    }
}
