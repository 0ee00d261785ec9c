//! What one request knows about itself, from its first phase to its log line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fhir::interaction::Interaction;
use crate::fhir::json_end::JsonEnd;
use crate::gateway::failure::Failure;
use crate::gateway::route::Route;
use crate::observe::request_id::RequestId;
use crate::smart::token::AccessToken;

/// One request's own knowledge; Pingora hands it from phase to phase.
#[derive(Debug)]
pub struct RequestContext {
    /// Its name in the log.
    pub id: RequestId,
    /// When its head had been read.
    pub started: Instant,
    /// Where it goes.
    pub route: Route,
    /// What it asks for, on a FHIR route.
    pub interaction: Option<Interaction>,
    /// The token that it was given, on a FHIR route.
    pub token: Option<Arc<AccessToken>>,
    /// When the latest try went upstream.
    pub sent_upstream: Option<Instant>,
    /// From there to the head of OpenEMR's answer.
    pub upstream_time: Option<Duration>,
    /// Connections that were refused or timed out before one stood.
    pub failed_connects: usize,
    /// How often the request was sent again.
    pub repeats: u32,
    /// Why this request fails, when the gateway itself says so.
    pub failure: Option<Failure>,
    /// Follows a body whose end only its own brackets tell.
    pub json_end: Option<JsonEnd>,
}

impl RequestContext {
    /// A context for a request whose head has just been read.
    #[must_use]
    pub fn new() -> Self {
        Self {
            id: RequestId::next(),
            started: Instant::now(),
            route: Route::NotFound,
            interaction: None,
            token: None,
            sent_upstream: None,
            upstream_time: None,
            failed_connects: 0,
            repeats: 0,
            failure: None,
            json_end: None,
        }
    }
}

impl Default for RequestContext {
    fn default() -> Self {
        Self::new()
    }
}
