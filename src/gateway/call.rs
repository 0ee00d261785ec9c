//! The request itself: who sent it, by which names it is known, and what it runs on.

use std::sync::Arc;
use std::time::Instant;

use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::access::caller::Caller;
use crate::access::policy::Policy;
use crate::config::{Config, Tracing};
use crate::fhir::media_type::Format;
use crate::fhir::negotiation::Negotiated;
use crate::gateway::counted::Counted;
use crate::gateway::negotiation::negotiated;
use crate::gateway::trace::{self, Trace};
use crate::http::forwarded::hops::Hops;
use crate::http::forwarded::trusted_proxy::proxy;
use crate::observe::request_id::RequestId;
use crate::observe::trace_context::Sampling;
use crate::site::lifecycle::InFlight;
use crate::site::runtime::Runtime;

/// Facts about a request that do not change once its head has been read.
#[derive(Debug)]
pub(super) struct Call {
    /// What the request runs on to its end, whatever a reload changes meanwhile.
    pub(super) runtime: Arc<Runtime>,
    /// The request's name in the log.
    pub(super) id: RequestId,
    /// The gateway's own id of it, where a trusted proxy has given another one.
    pub(super) serial: Option<RequestId>,
    /// From where it came, and its place in a trace.
    pub(super) trace: Trace,
    /// Who sent it: nobody who may do anything until its credentials have been checked.
    pub(super) caller: Caller,
    /// When its head had been read.
    pub(super) started: Instant,
    /// What the limits of its caller said.
    pub(super) counted: Counted,
    /// The format of errors, and whether the client accepts a resource at all.
    pub(super) negotiated: Negotiated,
    /// Counts the request, for a process that waits for its last ones.
    _in_flight: Option<InFlight>,
}

impl Call {
    /// A request whose head has not been read.
    #[must_use]
    pub(super) fn new(runtime: Arc<Runtime>, in_flight: Option<InFlight>) -> Self {
        Self {
            runtime,
            id: RequestId::next(),
            serial: None,
            trace: Trace::unknown(),
            caller: Caller::anonymous(Policy::nothing()),
            started: Instant::now(),
            counted: Counted::default(),
            negotiated: Negotiated { errors: Format::Json, acceptable: true },
            _in_flight: in_flight,
        }
    }

    /// Reads the head. Written once, before everything else.
    pub(super) fn read(&mut self, session: &Session) {
        let head = session.req_header();
        let trusted = &self.runtime.config.trusted_proxies;
        let peer = trace::peer(session);
        let hops = peer.map_or(Hops::unknown(), |peer| Hops::of(&head.headers, head.version, peer, trusted));
        self.trace = Trace::of(&head.headers, hops, sampling(&self.runtime.config.tracing));
        if let Some(id) = peer.and_then(|peer| proxy(peer, trusted)).and_then(|_| given_id(head)) {
            self.serial = Some(std::mem::replace(&mut self.id, id));
        }
        self.negotiated = negotiated(head, None);
    }

    /// The configuration.
    #[must_use]
    pub(super) fn config(&self) -> &Config {
        &self.runtime.config
    }
}

/// Which requests have spans; `None` where none has.
fn sampling(tracing: &Tracing) -> Option<Sampling> {
    tracing.endpoint.as_ref()?;
    let (begun, continued) = (tracing.sample.get(), tracing.sample_continued().get());
    Some(Sampling { begun, continued })
}

/// The id that a trusted proxy gave the request.
fn given_id(head: &RequestHeader) -> Option<RequestId> {
    RequestId::given(head.headers.get(&trace::X_REQUEST_ID)?.as_bytes())
}
