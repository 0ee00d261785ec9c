//! The proxy: the life of one request, in the order in which Pingora calls these phases.
//!
//! A request is admitted, or not (`admit`). One for a local route is answered then; one for OpenEMR's FHIR API is planned,
//! and gets a token and a permit (`serve`). Pingora then opens a connection to one of OpenEMR's nodes, sends the request
//! and shows the answer piece by piece on its way to the client; where something fails it asks whether to try again. At the
//! end there is one line in the log.
//!
//! Each phase is a few lines that call a named function; the files beside this one hold the functions. Nothing else in the
//! crate touches Pingora's `Session`.

mod account;
mod adapted;
mod answer_body;
mod answer_state;
mod attempt;
mod authorize;
mod availability;
pub(crate) mod backlog;
pub(crate) mod bench;
mod body_filters;
mod buffered_answer;
mod buffered_send;
mod call;
mod caller;
mod cancellations;
mod compression;
mod conditional_create;
pub(crate) mod connections;
mod context;
mod cors;
mod counted;
mod credentials;
mod destination;
mod documents;
mod due;
mod error_answer;
mod exact_rate;
mod exchange;
mod export_answers;
mod export_file;
mod export_kick_off;
mod export_owner;
mod export_paths;
mod exports;
#[cfg(test)]
mod future_size;
mod gathered;
pub(crate) mod guard;
mod health;
mod held_answer;
mod host;
pub(crate) mod http2;
pub(crate) mod http2_connection;
mod informational;
mod kept_body;
mod kept_page;
mod limit;
mod limited_read;
mod limited_write;
mod local;
mod mended_answer;
mod negotiation;
mod openemr_answer;
mod outcome;
mod outgoing;
pub(crate) mod pace;
mod patient_group;
mod peer_certificate;
mod plan;
mod public_base;
mod queue;
mod rate;
pub(crate) mod read_ahead;
mod recording;
mod recovery;
mod refused_token;
mod rejection_answer;
mod repeat;
mod request_body;
mod request_head;
mod request_links;
mod request_log;
mod request_repairs;
mod response_head;
mod response_links;
mod search;
mod search_answer;
mod send;
mod shared;
mod shared_answer;
mod shared_key;
mod shown_resource;
mod stop;
mod tagger;
mod token;
mod token_endpoint;
mod trace;
mod transport;
mod upstream;
mod upstream_request;
mod validators;
mod while_there;
mod wire;
mod write_answer;
mod write_body;
mod write_conditions;

pub(crate) use outcome::ROUTES;

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::Error;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;

use crate::exports::jobs::Exports;
use crate::gateway::attempt::Attempt;
use crate::gateway::backlog::AnswerMemory;
use crate::gateway::call::Call;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::{Destination, FhirCall};
use crate::gateway::exchange::Exchange;
use crate::gateway::stop::{Step, Stop};
use crate::site::lifecycle::Lifecycle;
use crate::site::runtime::Runtime;

/// The proxy.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// What requests run on; a reload swaps it.
    pub runtime: Arc<ArcSwap<Runtime>>,
    /// Whether the process is about to end.
    pub lifecycle: Arc<Lifecycle>,
    /// The bulk exports of all sites.
    pub exports: Arc<Exports>,
    /// The memory for answers that clients have not read.
    pub memory: Arc<AnswerMemory>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    // Pingora moves it from future to future.
    type CTX = Box<RequestContext>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(RequestContext::new(self.runtime.load_full(), Some(self.lifecycle.request())))
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// The head of a request has been read: sets the connection's deadlines, and decides where the request goes.
    async fn early_request_filter(&self, session: &mut Session, context: &mut Self::CTX) -> pingora::Result<()> {
        wire::set_deadlines(session, &context.call.config().limits);
        self.end_keepalive_when_draining(session);
        context.read(session);
        Ok(())
    }

    /// Answers what the gateway answers itself; the rest goes on to OpenEMR.
    async fn request_filter(&self, session: &mut Session, context: &mut Self::CTX) -> pingora::Result<bool> {
        match self.plan(session, context).await {
            Ok(()) => Ok(false),
            Err(stop) => end(session, stop, context).await.map(|()| true),
        }
    }

    /// Chooses the connection for a try; when OpenEMR has refused the token, gets another one first.
    async fn upstream_peer(&self, session: &mut Session, context: &mut Self::CTX) -> pingora::Result<Box<HttpPeer>> {
        match peer(session, context.exchange()?).await {
            Ok(peer) => Ok(Box::new(peer)),
            Err(stop) => Err(context.end(stop)),
        }
    }

    /// A connection came about, from the pool or new.
    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        _digest: Option<&Digest>,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        context.attempt.reused = Some(reused);
        Ok(())
    }

    /// Makes the head that goes to OpenEMR.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let Exchange { call, fhir, attempt, .. } = context.exchange()?;
        upstream_request::head(session, head, call, fhir, attempt)
    }

    /// Passes a piece of the client's body to OpenEMR, or what goes there in its place.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let Exchange { call, fhir, attempt, .. } = context.exchange()?;
        let limits = &call.config().limits;
        upstream_request::body(session, body, end_of_stream, fhir, attempt, limits).map_err(|stop| context.end(stop))
    }

    /// Looks at the head of OpenEMR's answer, before anything of it goes on.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let step = match head.status.is_informational() {
            true => informational::pass(session, head),
            false => openemr_answer::head(session, head, &mut context.exchange()?),
        };
        step.map_err(|stop| context.end(stop))
    }

    /// Looks at a piece of the body of OpenEMR's answer.
    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Self::CTX,
    ) -> pingora::Result<Option<Duration>> {
        let step = openemr_answer::body(session, body, end_of_stream, &mut context.exchange()?);
        step.map(|()| None).map_err(|stop| context.end(stop))
    }

    /// Makes the head of an answer what the client sees.
    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        context: &mut Self::CTX,
    ) -> pingora::Result<()> {
        self.end_keepalive_when_draining(session);
        answer_body::begin(session, head, &mut context.exchange()?, &self.memory);
        Ok(())
    }

    /// Passes a piece of the body to the client.
    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Self::CTX,
    ) -> pingora::Result<Option<Duration>> {
        let step = answer_body::pass(session, body, end_of_stream, &mut context.exchange()?, &self.memory);
        step.map(|()| None).map_err(|stop| context.end(stop))
    }

    /// Ends the body of an HTTP/2 answer that has trailers, which FHIR does not know: they are dropped.
    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        _trailers: &mut HeaderMap,
        context: &mut Self::CTX,
    ) -> pingora::Result<Option<Bytes>> {
        let step = answer_body::end_at_trailers(session, &mut context.exchange()?, &self.memory);
        step.map(Some).map_err(|stop| context.end(stop))
    }

    /// No connection came about: is there another address, or another node?
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        context: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        upstream::after_failed_connect(peer, &mut context.attempt, &mut error);
        error
    }

    /// The connection broke, or the answer is not wanted: is the request sent again?
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        upstream::decide_repeat(session, client_reused, context, &mut error);
        error
    }

    /// Nothing more can be done: the client gets an OperationOutcome, unless it is gone or has a part of an answer.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Self::CTX) -> FailToProxy {
        shared::fail(session, context);
        if buffered_send::after_early_end(session, error, context).await {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        session.set_keepalive(None);
        FailToProxy { error_code: rejection_answer::after_failure(session, error, context).await, can_reuse_downstream: false }
    }

    /// Sends an answer that was buffered to its end, since this is the first phase after it; then writes the access line, counts, and
    /// queues the spans.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Self::CTX) {
        buffered_send::after_end(session, context).await;
        http2::after_request(session, error);
        recording::at_the_end(session, error, context);
        outcome::tell(session, error.is_some(), context);
    }

    /// Pingora's own summary has the query in it.
    fn request_summary(&self, _session: &Session, context: &Self::CTX) -> String {
        format!("request {}", context.call.id)
    }

    /// `request_log` says it, without what Pingora's message can quote.
    fn suppress_error_log(&self, _session: &Session, _context: &Self::CTX, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &Self::CTX,
        _error: &Error,
        _log_context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Gateway {
    /// Does all that comes before a request is sent to OpenEMR; stops at one that the gateway answers itself, or refuses.
    async fn plan(&self, session: &mut Session, context: &mut RequestContext) -> Step {
        let RequestContext { call, destination, attempt, .. } = context;
        admit(session, call, destination).await?;
        match destination {
            Destination::Fhir(fhir) => serve(session, call, fhir, attempt, &self.exports).await,
            Destination::Local(route) => Err(local::answer(session, route, call, self.lifecycle.is_draining()).await?.into()),
            Destination::NotFound | Destination::Unsafe { .. } => Err(local::not_found().into()),
        }
    }

    /// While the process drains, every answer is the last of its connection: the next request goes to another process.
    fn end_keepalive_when_draining(&self, session: &mut Session) {
        if self.lifecycle.is_draining() {
            session.set_keepalive(None);
        }
    }
}

/// Decides whether a request may pass, on every route.
async fn admit(session: &mut Session, call: &mut Call, destination: &Destination) -> Step {
    caller::check(call, destination)?;
    rate::check_address(call, destination).await?;
    host::check(session, call)?;
    cors::check(session.req_header(), destination, call.config().public_url.as_ref())?;
    wire::check(session, &call.config().limits, destination)?;
    peer_certificate::check(session)?;
    caller::authenticate(session, call, destination).await?;
    Ok(rate::check_client(call, destination).await?)
}

/// Prepares a FHIR request: answers what needs no OpenEMR, plans what goes to OpenEMR in place of what the client sent, and
/// gets a token and a permit. The order is part of what clients see: an error of an earlier step hides those of later ones.
async fn serve(session: &mut Session, call: &mut Call, fhir: &mut FhirCall, attempt: &mut Attempt, exports: &Exports) -> Step {
    recording::check(call)?;
    outgoing::check_query(fhir)?;
    patient_group::resolve(call, fhir).await?;
    authorize::decide(session, call, fhir).await?;
    limited_write::check_body(session, call, fhir).await?;
    exports::answer(session, call, fhir, attempt, exports).await?;
    availability::check(fhir)?;
    request_repairs::plan(session, call, fhir).await?;
    documents::answer(session, call, fhir).await?;
    write_conditions::check(&session.req_header().headers, fhir).await?;
    token::take(call, &fhir.site, attempt).await?;
    outgoing::check_body(session, call, fhir).await?;
    request_links::map_query(session, call, fhir).await;
    search::plan(session, call, fhir, attempt).await?;
    limited_read::answer(session, call, fhir, attempt).await?;
    request_body::take(session, &call.config().limits, fhir).await?;
    outgoing::check_resource(fhir)?;
    request_links::map_body(session, call, fhir);
    limited_write::check_existing(session, call, fhir).await?;
    conditional_create::decide(session, call, fhir, attempt).await?;
    write_body::adapt(session.req_header(), call, fhir).await?;
    shared::join(session, call, fhir, attempt).await?;
    queue::enter(session, call, fhir, attempt).await
}

/// Prepares a try: a token in place of a refused one, the permit again if that was given up, and a node.
async fn peer(session: &mut Session, exchange: Exchange<'_>) -> Result<HttpPeer, Stop> {
    let Exchange { call, fhir, attempt, .. } = exchange;
    recovery::renew(&fhir.site, attempt).await?;
    queue::enter(session, call, fhir, attempt).await?;
    Ok(upstream::peer(session.req_header().version, fhir, attempt)?)
}

/// Ends a request that does not go to OpenEMR.
async fn end(session: &mut Session, stop: Stop, context: &mut RequestContext) -> pingora::Result<()> {
    shared::fail(session, context);
    match stop {
        Stop::Answered(answer) => {
            context.answer.reason = outcome::of_own_answer(&context.destination, answer.status());
            recording::own_answer_to(session, &context.call, &mut context.destination, &answer);
            send::answer(session, answer, &context.call, context.destination.cors()).await
        }
        Stop::Rejected(rejection) => {
            request_log::rejected(&rejection, context);
            rejection_answer::send(session, rejection, context).await
        }
        Stop::Gone(error) => Err(error),
    }
}
