//! The proxy: the life of one request, in the order in which Pingora calls these phases.
//!
//! The phases are in this file, each a few lines that call a named function; the files beside it hold the
//! functions. Nothing else in the crate touches Pingora's `Session`.

mod account;
mod admission;
pub mod answer;
pub mod body;
mod cancellations;
pub mod compression;
pub mod context;
pub mod cors;

mod error_answer;
pub mod exports;
pub mod failure;
pub mod held_answer;
pub mod http2;
pub mod links;
pub mod local;
pub mod metadata;
pub mod negotiation;
pub mod plan;
pub mod queue;
pub mod recovery;
mod repair;
pub mod request_head;
pub mod request_links;
pub mod response_head;
pub mod route;
pub mod search;
pub mod search_answer;
pub mod tracing;
pub mod upstream;
mod write_answer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use crate::exports::jobs::Exports;
use crate::fhir::json::completeness::Completeness;
use crate::gateway::context::RequestContext;
use crate::gateway::failure::{Failure, Stop};
use crate::gateway::route::Route;
use crate::http::answer::Answer;
use crate::http::decoder::Decoder;
use crate::http::request_target::{self, Target};
use crate::observe::access_log;
use crate::site::lifecycle::Lifecycle;
use crate::site::runtime::Runtime;

/// The proxy.
#[derive(Debug)]
pub struct Gateway {
    /// What requests run on; a reload swaps it.
    pub runtime: Arc<ArcSwap<Runtime>>,
    /// Whether the process is on its way out.
    pub lifecycle: Arc<Lifecycle>,
    /// The bulk exports of all sites.
    pub exports: Arc<Exports>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestContext;

    fn new_ctx(&self) -> RequestContext {
        RequestContext { in_flight: Some(self.lifecycle.request()), ..RequestContext::new(self.runtime.load_full()) }
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Deadlines for this connection, and where the request goes.
    async fn early_request_filter(&self, session: &mut Session, context: &mut RequestContext) -> pingora::Result<()> {
        admission::set_deadlines(session, &context.runtime.config.limits);
        self.let_go_when_draining(session);
        tracing::begin(session, context);
        let target = Target::parse(session.req_header().raw_path());
        context.route = Route::of(target.path, &context.runtime.config.routes, &context.runtime.sites);
        context.negotiated = negotiation::negotiated(session.req_header(), None);
        Ok(())
    }

    /// What the gateway answers itself is answered here; the rest goes on to OpenEMR.
    async fn request_filter(&self, session: &mut Session, context: &mut RequestContext) -> pingora::Result<bool> {
        let answer = match self.prepare(session, context).await {
            Ok(None) => return Ok(false),
            Ok(Some(answer)) => answer,
            Err(Stop::Refused(verdict)) => answer::of_verdict(&verdict, context),
            Err(Stop::Gone(error)) => return Err(error),
        };
        answer::send(answer, session, context).await.map(|()| true)
    }

    /// A connection to one of OpenEMR's nodes; in place of a token that OpenEMR has refused, another one first.
    async fn upstream_peer(&self, session: &mut Session, context: &mut RequestContext) -> pingora::Result<Box<HttpPeer>> {
        if let Err(failure) = recovery::renew(context).await {
            return Err(fail(context, failure));
        }
        let version = session.req_header().version;
        match queue::take_turn(session, context).await?.and_then(|()| upstream::peer(version, context)) {
            Ok(peer) => Ok(Box::new(peer)),
            Err(failure) => Err(fail(context, failure)),
        }
    }

    /// What goes to OpenEMR.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        context: &mut RequestContext,
    ) -> pingora::Result<()> {
        context.sent_upstream = Some(Instant::now());
        context.body_sent = 0;
        let (Route::Fhir { prefix, .. }, Some(on), Some(token)) = (context.route, &context.node, &context.token) else {
            return Err(Error::new_in(ErrorType::InternalError));
        };
        let Target { path, query } = Target::parse(session.req_header().raw_path());
        let rest = context.plan.path(path.get(prefix..).unwrap_or_default());
        let target = request_target::onto(&on.node().fhir.url().path, rest, context.plan.query(query));
        request_head::rewrite(head, &target, on.node().fhir.host(), token)?;
        tracing::mark_request(head, session.req_header().version, context)?;
        context.plan.apply(head)?;
        request_links::begin(session, head, context)?;
        if context.reads_answer(&session.req_header().method) {
            head.remove_header(&ACCEPT_ENCODING);
        }
        Ok(())
    }

    /// The caller's body, or what goes to OpenEMR in its place.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut RequestContext,
    ) -> pingora::Result<()> {
        context.plan.replace_body(body, end_of_stream);
        context.body_sent = context.body_sent.saturating_add(body.as_ref().map_or(0, Bytes::len));
        if context.body_sent > context.runtime.config.limits.request_body {
            // The request is cut off, and cannot be taken for whole: neither its length nor its last chunk is reached.
            return Err(fail(context, Failure::BodyTooLarge));
        }
        request_links::pass(body, end_of_stream, context);
        Ok(())
    }

    /// What OpenEMR's answer is, before anything of it goes on.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        context: &mut RequestContext,
    ) -> pingora::Result<()> {
        if head.status.is_informational() {
            return Ok(());
        }
        context.upstream_time = context.sent_upstream.map(|sent| sent.elapsed());
        upstream::after_head(head, context);
        tracing::mark_answer(head)?;
        if let Err(failure) = response_head::check(head, context) {
            return Err(fail(context, failure));
        }
        if context.repairs().read_bodies() || context.plan.search.is_some() {
            context.decoder = Decoder::after_head(head);
        }
        let (ends_by_itself, status) = (response_head::ends_by_itself(head), head.status);
        let has_no_body = response_head::has_no_body(context.method_sent(session), head);
        recovery::after_head(session, head, context)?;
        // A request that goes there again keeps its place.
        if has_no_body {
            context.leave_openemr();
        }
        let can_be_a_refusal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
        if ends_by_itself && (status.is_success() || (can_be_a_refusal && context.held.is_some())) {
            context.json_end = Some(Completeness::default());
        }
        Ok(())
    }

    /// A body whose end HTTP does not tell must not be taken for whole when it was cut. A refusal is read before it is
    /// sent.
    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut RequestContext,
    ) -> pingora::Result<Option<Duration>> {
        if let Some(decoder) = &mut context.decoder {
            match decoder.unpack(body.as_deref().unwrap_or_default(), end_of_stream) {
                Ok(plain) => *body = (!plain.is_empty()).then_some(plain),
                Err(_) => return Err(fail(context, Failure::CutShort)),
            }
        }
        if let Some(json_end) = &mut context.json_end {
            json_end.feed(body.as_deref().unwrap_or_default());
            if end_of_stream && !json_end.is_complete() {
                return Err(fail(context, Failure::CutShort));
            }
        }
        recovery::after_body(session, body, end_of_stream, context)?;
        if end_of_stream {
            context.leave_openemr();
        }
        Ok(None)
    }

    /// What comes back to the caller.
    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        context: &mut RequestContext,
    ) -> pingora::Result<()> {
        self.let_go_when_draining(session);
        if context.held.is_some() {
            return Ok(());
        }
        body::prepare(session, head, context)
    }

    /// The body on its way to the caller.
    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut RequestContext,
    ) -> pingora::Result<Option<Duration>> {
        if session.req_header().method == Method::HEAD {
            // It went out as a GET.
            *body = None;
        }
        context.body.pass(body, end_of_stream);
        Ok(None)
    }

    /// An HTTP/2 answer that ends with trailers: its body ended before them. They are nothing that FHIR knows.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut HeaderMap,
        context: &mut RequestContext,
    ) -> pingora::Result<Option<Bytes>> {
        let mut last = None;
        context.body.pass(&mut last, true);
        Ok(Some(last.unwrap_or_default()))
    }

    /// No connection: is there another address, or another node?
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        context: &mut RequestContext,
        mut error: Box<Error>,
    ) -> Box<Error> {
        upstream::after_failed_connect(peer, context, &mut error);
        error
    }

    /// A broken connection, or an answer that is not wanted: may the request be sent again?
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut RequestContext,
        client_reused: bool,
    ) -> Box<Error> {
        if context.recovery.take_again() {
            error.set_retry(true);
            return error;
        }
        let broken = upstream::Broken {
            method: &session.req_header().method,
            was_pooled: client_reused,
            answer_begun: context.upstream_time.is_some() || session.response_written().is_some(),
            body_is_whole: !session.as_ref().retry_buffer_truncated(),
            was_refused: upstream::was_refused(&error),
        };
        upstream::after_broken_connection(broken, context, &mut error);
        error
    }

    /// Nothing more can be done: the caller gets an OperationOutcome, unless he is gone or has a part of an answer.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut RequestContext) -> FailToProxy {
        if recovery::send_early(session, error, context).await {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let verdict = context.failure.map(Failure::verdict).or_else(|| failure::verdict(error));
        account::report(error, context, verdict.is_some());
        session.set_keepalive(None);
        let can_answer = session.response_written().is_none_or(|head| head.status.is_informational());
        let error_code = verdict.as_ref().map_or(0, |verdict| verdict.status);
        if let Some(verdict) = verdict.filter(|_| can_answer) {
            // The caller may be gone by now; the log line below says what he should have seen.
            let _ = answer::send(answer::of_verdict(&verdict, context), session, context).await;
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// One line. An answer that was held back to its end goes out first: this is the first phase after it.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut RequestContext) {
        recovery::send_held(session, context).await;
        http2::after_request(session, error);
        if access_log::is_on() {
            access_log::write(&account::access_line(session, error.is_some(), context));
        }
    }

    /// Pingora's own summary has the query in it.
    fn request_summary(&self, _session: &Session, context: &RequestContext) -> String {
        format!("request {}", context.id)
    }

    /// `report` has said it, without what Pingora's message can quote.
    fn suppress_error_log(&self, _session: &Session, _context: &RequestContext, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _context: &RequestContext,
        _error: &Error,
        _log_context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Gateway {
    /// All that comes before a request is sent: may it pass, does the gateway answer it itself, what goes to OpenEMR in place of
    /// what the caller sent, the site's token, and its turn.
    async fn prepare(&self, session: &mut Session, context: &mut RequestContext) -> Result<Option<Answer>, Stop> {
        if admission::is_allowed(context)
            && let Some(answer) = cors::answer(session, context)
        {
            return Ok(Some(answer));
        }
        admission::admit(session, context)?;
        if let Some(answer) = exports::answer(session, context, &self.exports).await? {
            return Ok(Some(answer));
        }
        repair::plan(session, context).await?;
        if let Some(answer) = metadata::answer(session, context).await? {
            return Ok(Some(answer));
        }
        admission::take_token(context).await?;
        request_links::map_query(session, context).await;
        search::plan(session, context).await??;
        request_links::map_body(session, context).await?;
        queue::take_turn(session, context).await??;
        Ok(answer_here(session, context, self.lifecycle.is_draining()).await)
    }

    /// On the way out every answer is the last of its connection: the next one is another process's.
    fn let_go_when_draining(&self, session: &mut Session) {
        if self.lifecycle.is_draining() {
            session.set_keepalive(None);
        }
    }
}

async fn answer_here(session: &Session, context: &RequestContext, draining: bool) -> Option<Answer> {
    let head = session.req_header();
    let runtime = &context.runtime;
    match context.route {
        Route::Fhir { .. } => None,
        Route::Health => Some(local::health(&head.method, &runtime.sites)),
        Route::Ready => Some(local::ready(&head.method, &runtime.sites, runtime.config.ready, draining)),
        Route::Jwks(site) => runtime.sites.get(site).map(|site| local::jwks(&head.method, site)),
        Route::Token => Some(match local::token_question(&head.method, Target::parse(head.raw_path()), &runtime.sites) {
            Ok(question) => local::token(question, &runtime.sites, context.trace.is_local(), runtime.config.token_exposure).await,
            Err(answer) => answer,
        }),
        Route::NotFound => Some(local::not_found()),
    }
}

fn fail(context: &mut RequestContext, failure: Failure) -> Box<Error> {
    context.failure = Some(failure);
    Error::new_in(ErrorType::new("Refused"))
}
