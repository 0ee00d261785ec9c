//! What one request knows about itself, from its first phase to its log line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use pingora::proxy::Session;

use crate::config::Repairs;
use crate::fhir::interaction::{Interaction, is_repeatable};
use crate::fhir::json::completeness::Completeness;
use crate::fhir::link_rewriter::LinkRewriter;
use crate::fhir::media_type::Format;
use crate::fhir::negotiation::Negotiated;
use crate::gateway::body::BodyPath;
use crate::gateway::failure::Failure;
use crate::gateway::held_answer::HeldAnswer;
use crate::gateway::plan::Plan;
use crate::gateway::recovery::Recovery;
use crate::gateway::route::Route;
use crate::gateway::tracing::Trace;
use crate::http::decoder::Decoder;
use crate::nodes::in_flight::Permit;
use crate::nodes::{NodeLease, Tried};
use crate::observe::request_id::RequestId;
use crate::site::lifecycle::InFlight;
use crate::site::prepared::Site;
use crate::site::runtime::Runtime;
use crate::smart::token::AccessToken;

/// One request's own knowledge; Pingora hands it from phase to phase.
#[derive(Debug)]
pub struct RequestContext {
    /// Counts it, for the process that is on its way out.
    #[allow(dead_code, reason = "counts the request until it is dropped")]
    pub in_flight: Option<InFlight>,
    /// What it runs on, to its end.
    pub runtime: Arc<Runtime>,
    /// Its name in the log.
    pub id: RequestId,
    /// Who called, and its place in a trace.
    pub trace: Trace,
    /// When its head had been read.
    pub started: Instant,
    /// Where it goes.
    pub route: Route,
    /// In which format the caller is told what went wrong, and whether a resource can be told him at all.
    pub negotiated: Negotiated,
    /// What it asks for, on a FHIR route.
    pub interaction: Option<Interaction>,
    /// What goes to OpenEMR in place of the caller's own.
    pub plan: Plan,
    /// What a body that is not kept whole goes through on its way to OpenEMR.
    pub request_links: Option<LinkRewriter>,
    /// What the body of the answer goes through on its way to the caller.
    pub body: BodyPath,
    /// The token that it was given, on a FHIR route.
    pub token: Option<Arc<AccessToken>>,
    /// The right to be in flight at OpenEMR, until its answer has ended.
    pub permit: Option<Permit>,
    /// The node that the request goes to, until its answer has ended.
    pub node: Option<NodeLease>,
    /// The nodes that it has given up.
    pub tried: Tried,
    /// When the latest try went upstream.
    pub sent_upstream: Option<Instant>,
    /// From there to the head of OpenEMR's answer.
    pub upstream_time: Option<Duration>,
    /// Addresses of the node that took no connection.
    pub failed_connects: usize,
    /// How often the request was sent again.
    pub repeats: u32,
    /// What it met when OpenEMR refused its token.
    pub recovery: Recovery,
    /// An answer that is not sent before its body is known.
    pub held: Option<HeldAnswer>,
    /// Why this request fails, when the gateway itself says so.
    pub failure: Option<Failure>,
    /// Unpacks a body that came compressed.
    pub decoder: Option<Decoder>,
    /// How much of the caller's body has gone to OpenEMR in this try.
    pub body_sent: usize,
    /// Follows a body whose end only its own brackets tell.
    pub json_end: Option<Completeness>,
}

impl RequestContext {
    /// A context for a request whose head has just been read.
    #[must_use]
    pub fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            in_flight: None,
            runtime,
            id: RequestId::next(),
            trace: Trace::unknown(),
            started: Instant::now(),
            route: Route::NotFound,
            negotiated: Negotiated { errors: Format::Json, acceptable: true },
            interaction: None,
            plan: Plan::default(),
            request_links: None,
            body: BodyPath::default(),
            token: None,
            permit: None,
            node: None,
            tried: Tried::default(),
            sent_upstream: None,
            upstream_time: None,
            failed_connects: 0,
            repeats: 0,
            recovery: Recovery::default(),
            held: None,
            failure: None,
            decoder: None,
            body_sent: 0,
            json_end: None,
        }
    }

    /// OpenEMR has no more to do with this request: the next one may have its place.
    pub fn leave_openemr(&mut self) {
        self.permit = None;
        self.node = None;
    }

    /// Whether the answer is read on its way, and must come uncompressed: what is changed in it, and a refusal of what is not
    /// tried again for its compression alone.
    #[must_use]
    pub fn reads_answer(&self, method: &Method) -> bool {
        self.recovery.plainly
            || self.plan.search.is_some()
            || self.repairs().read_bodies()
            || !is_repeatable(method, self.interaction)
    }

    /// What is smoothed for it; nothing on a local route.
    #[must_use]
    pub fn repairs(&self) -> Repairs {
        self.site().map_or(Repairs::NONE, |site| site.config.repairs)
    }

    /// The method that goes to OpenEMR.
    #[must_use]
    pub fn method_sent<'a>(&'a self, session: &'a Session) -> &'a Method {
        self.plan.method.as_ref().unwrap_or(&session.req_header().method)
    }

    /// The site, on a FHIR route.
    #[must_use]
    pub fn site(&self) -> Option<&Arc<Site>> {
        match self.route {
            Route::Fhir { site, .. } => self.runtime.sites.get(site),
            Route::Health | Route::Ready | Route::Jwks(_) | Route::Token | Route::NotFound => None,
        }
    }
}

#[cfg(test)]
impl RequestContext {
    /// A context on a runtime without sites.
    pub(super) fn alone() -> Self {
        Self::new(Arc::new(Runtime::without_sites()))
    }
}
