//! The proxy: the life of one request, in the order in which Pingora calls these phases.
//!
//! The phases are in this file, each a few lines that call a named function; the files beside it hold the
//! functions. Nothing else in the crate touches Pingora's `Session`.

pub mod answer;
mod certificates;
pub mod context;
mod drain;
pub mod failure;
mod fixed;
pub mod held_answer;
pub mod lifecycle;
pub mod local;
pub mod queue;
pub mod recovery;
pub mod reload;
pub mod request_head;
pub mod response_head;
pub mod route;
pub mod runtime;
pub mod server;
mod signals;
pub mod site;
mod takeover;
pub mod target;
pub mod upstream;
mod watched;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HOST, UPGRADE};
use http::{Method, Version};
use log::warn;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use crate::config::{Access, Limits};
use crate::fhir::interaction::{Interaction, is_repeatable};
use crate::fhir::json_end::JsonEnd;
use crate::gateway::answer::Answer;
use crate::gateway::context::RequestContext;
use crate::gateway::failure::Failure;
use crate::gateway::lifecycle::Lifecycle;
use crate::gateway::route::Route;
use crate::gateway::runtime::Runtime;
use crate::gateway::target::Target;
use crate::nodes::origin::describe;
use crate::observe::access_log;

/// How long a request waits for a token that is on its way.
const TOKEN_PATIENCE: Duration = Duration::from_secs(5);

/// The proxy.
#[derive(Debug)]
pub struct Gateway {
    /// What requests run on; a reload swaps it.
    pub runtime: Arc<ArcSwap<Runtime>>,
    /// Whether the process is on its way out.
    pub lifecycle: Arc<Lifecycle>,
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
        set_deadlines(session, &context.runtime.limits);
        self.let_go_when_draining(session);
        let target = Target::parse(session.req_header().raw_path());
        context.route = Route::of(target.path, &context.runtime.routes, &context.runtime.sites);
        Ok(())
    }

    /// May it pass? Local routes are answered here; a FHIR request takes its site's token, and waits for its turn.
    async fn request_filter(&self, session: &mut Session, context: &mut RequestContext) -> pingora::Result<bool> {
        let admitted = match admit(session, context) {
            Ok(()) => take_token(context).await,
            Err(failure) => Err(failure),
        };
        let admitted = match admitted {
            Ok(()) => queue::take_turn(session, context).await?,
            Err(failure) => Err(failure),
        };
        let answer = match admitted {
            Err(failure) => Some(Answer::of_verdict(&failure.verdict(), context.route)),
            Ok(()) => answer_here(session, context, self.lifecycle.is_draining()).await,
        };
        match answer {
            Some(answer) => answer.send(session, context).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// A connection to one of OpenEMR's nodes; in place of a token that OpenEMR has refused, another one first.
    async fn upstream_peer(&self, session: &mut Session, context: &mut RequestContext) -> pingora::Result<Box<HttpPeer>> {
        if let Err(failure) = recovery::renew(context).await {
            return Err(fail(context, failure));
        }
        match queue::take_turn(session, context).await?.and_then(|()| upstream::peer(context)) {
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
        let (Route::Fhir { prefix, .. }, Some(on), Some(token)) = (context.route, &context.node, &context.token) else {
            return Err(Error::new_in(ErrorType::InternalError));
        };
        let Target { path, query } = Target::parse(session.req_header().raw_path());
        let rest = path.get(prefix..).unwrap_or_default();
        let target = target::onto(&on.node().fhir.url().path, rest, query);
        request_head::rewrite(head, &target, &on.node().host, token)?;
        // A refusal of what is not tried again for its compression alone must be readable at once.
        if context.recovery.plainly || !is_repeatable(&session.req_header().method, context.interaction) {
            head.remove_header(&ACCEPT_ENCODING);
        }
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
        if response_head::is_page(head, context.interaction) {
            return Err(fail(context, Failure::Page));
        }
        let ends_by_itself = response_head::ends_by_itself(head);
        recovery::after_head(session, head, context)?;
        // A request that goes there again keeps its place.
        if response_head::has_no_body(&session.req_header().method, head) {
            context.leave_openemr();
        }
        if ends_by_itself && (head.status.is_success() || context.held.is_some()) {
            context.json_end = Some(JsonEnd::default());
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
        response_head::rewrite(head, session.req_header().version, context.id)
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
        report(error, context, verdict.is_some());
        session.set_keepalive(None);
        let can_answer = session.response_written().is_none_or(|head| head.status.is_informational());
        let error_code = verdict.as_ref().map_or(0, |verdict| verdict.status);
        if let Some(verdict) = verdict.filter(|_| can_answer) {
            // The caller may be gone by now; the log line below says what he should have seen.
            let _ = Answer::of_verdict(&verdict, context.route).send(session, context).await;
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// One line. An answer that was held back to its end goes out first: this is the first phase after it.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut RequestContext) {
        recovery::send_held(session, context).await;
        if access_log::is_on() {
            access_log::write(&access_line(session, error.is_some(), context));
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
    /// On the way out every answer is the last of its connection: the next one is another process's.
    fn let_go_when_draining(&self, session: &mut Session) {
        if self.lifecycle.is_draining() {
            session.set_keepalive(None);
        }
    }
}

fn set_deadlines(session: &mut Session, limits: &Limits) {
    session.set_read_timeout(Some(limits.read_timeout));
    session.set_write_timeout(Some(limits.write_timeout));
    if session.get_keepalive().is_some() {
        session.set_keepalive(Some(limits.keepalive_timeout.as_secs().max(1)));
    }
    session.set_pipelining_enabled(true);
}

/// Everything that can be refused from the head alone.
fn admit(session: &Session, context: &mut RequestContext) -> Result<(), Failure> {
    if !allows(&context.runtime.access, caller(session)) {
        return Err(Failure::NotAllowed);
    }
    let head_size = session.as_http1().map_or(0, |http1| http1.get_headers_raw_bytes().len());
    if head_size > context.runtime.limits.request_head {
        return Err(Failure::HeadTooLarge);
    }
    if session.req_header().version == Version::HTTP_11 && session.get_header(HOST).is_none() {
        return Err(Failure::NoHost);
    }
    let Route::Fhir { prefix, .. } = context.route else { return Ok(()) };
    if asks_for_another_protocol(session.req_header()) {
        return Err(Failure::Upgrade);
    }
    let Target { path, .. } = Target::parse(session.req_header().raw_path());
    let rest = path.get(prefix..).unwrap_or_default();
    target::check(rest).map_err(Failure::UnsafePath)?;
    context.interaction = Some(Interaction::of(&session.req_header().method, rest));
    queue::refuse_when_all_are_out(context)
}

fn allows(access: &Access, caller: Option<IpAddr>) -> bool {
    match access {
        Access::Open => true,
        Access::AllowFrom(networks) => caller.is_some_and(|address| networks.iter().any(|network| network.contains(&address))),
    }
}

async fn take_token(context: &mut RequestContext) -> Result<(), Failure> {
    let Some(site) = context.site() else { return Ok(()) };
    let token = match site.token.usable(context.started) {
        Some(token) => token,
        None => site.token.wait(TOKEN_PATIENCE).await.map_err(|unavailable| Failure::NoToken(unavailable.retry_after))?,
    };
    context.token = Some(token);
    Ok(())
}

async fn answer_here(session: &Session, context: &RequestContext, draining: bool) -> Option<Answer> {
    let head = session.req_header();
    let runtime = &context.runtime;
    match context.route {
        Route::Fhir { .. } => None,
        Route::Health => Some(local::health(&head.method, &runtime.sites)),
        Route::Ready => Some(local::ready(&head.method, &runtime.sites, runtime.ready, draining)),
        Route::Jwks(site) => runtime.sites.get(site).map(|site| local::jwks(&head.method, site)),
        Route::Token => Some(match local::token_question(&head.method, Target::parse(head.raw_path()), &runtime.sites) {
            Ok(question) => local::token(question, &runtime.sites, caller(session), runtime.token_exposure).await,
            Err(answer) => answer,
        }),
        Route::NotFound => Some(local::not_found()),
    }
}

fn report(error: &Error, context: &RequestContext, caller_is_there: bool) {
    let site = context.site().map_or("-", |site| site.name());
    match context.failure {
        Some(failure) => warn!("request {}: site {site}: {}", context.id, failure.verdict().text),
        None if caller_is_there => warn!("request {}: site {site}: {}", context.id, describe(error)),
        None => log::info!("request {}: site {site}: the caller left: {}", context.id, describe(error)),
    }
}

fn access_line<'a>(session: &'a Session, failed: bool, context: &'a RequestContext) -> access_log::Line<'a> {
    access_log::Line {
        request_id: context.id,
        caller: caller(session),
        method: known_method(&session.req_header().method),
        site: context.site().map(|site| site.name()),
        resource_type: context.interaction.and_then(|interaction| interaction.resource_type),
        status: session.response_written().map(|head| head.status.as_u16()),
        whole: !failed,
        bytes: session.body_bytes_sent(),
        duration: context.started.elapsed(),
        upstream: context.upstream_time,
        retries: context.repeats + context.recovery.renewals,
    }
}

fn fail(context: &mut RequestContext, failure: Failure) -> Box<Error> {
    context.failure = Some(failure);
    Error::new_in(ErrorType::new("Refused"))
}

/// The method's name, unless the caller made it up: what he writes himself is not logged.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}

fn caller(session: &Session) -> Option<IpAddr> {
    // An IPv4 caller of an IPv6 socket is written ::ffff:a.b.c.d there; rules are about a.b.c.d.
    session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip().to_canonical())
}

/// A request to switch protocols. `h2c` is only an offer (Java's client makes it on every request) and is
/// simply not taken.
fn asks_for_another_protocol(head: &RequestHeader) -> bool {
    head.headers.get_all(UPGRADE).iter().any(|protocols| {
        protocols.as_bytes().split(|byte| *byte == b',').any(|protocol| {
            let protocol = protocol.trim_ascii();
            !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c")
        })
    })
}
