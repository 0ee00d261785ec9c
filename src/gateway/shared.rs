//! Requests that share an answer of OpenEMR's: identical GETs of a client that are there at the same time, and pages of one walk.
//!
//! Shared is OpenEMR's answer as the gateway has received it. Every request puts it through its own filters, and has its own access
//! line and its own record. A follower waits without a permit to be in flight; where its leader fails, it asks for itself.
//!
//! Decision: `docs/decisions/46-asked-once.md`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, Method, StatusCode};
use log::debug;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tokio::time::timeout;

use crate::fhir::interaction::Kind;
use crate::gateway::answer_body::Whole;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::{Destination, FhirCall, FhirKind};
use crate::gateway::stop::{Step, Stop};
use crate::gateway::while_there::while_there;
use crate::gateway::{answer_body, queue, response_head, shared_answer, shared_key};
use crate::http::answer::Answer;
use crate::http::fields::members;
use crate::http::parts::edit_response;
use crate::openemr::search::terms::Window;
use crate::site::flights::{Entry, Key, Leader, SharedAnswer};
use crate::site::prepared::Site;

/// How many others a request follows that fail, before it goes alone.
const MOST_FAILED: usize = 2;

/// What a request does that may share an answer.
#[derive(Debug)]
pub(super) enum Joined {
    /// It asks OpenEMR; where there is a leader's part, others may wait for the answer.
    Asks(Option<Leader>),
    /// It has the answer.
    Has(Arc<SharedAnswer>),
}

/// Answers a request with the answer to an identical one that is at OpenEMR already; otherwise lets others follow this one. Every
/// other request passes.
///
/// # Errors
/// [`Stop::Answered`] with the shared answer; a filter refuses that, or the client is gone.
pub(super) async fn join(session: &mut Session, call: &Call, fhir: &mut FhirCall, attempt: &mut Attempt) -> Step {
    if !may_share(session, fhir) {
        return Ok(());
    }
    if let Some(kept) = kept_set(session, call, fhir, attempt, || shared_key::of_walk(session, call, fhir)) {
        return Err(answer(session, call, fhir, &kept).await?.into());
    }
    if !fhir.site.config.answers.share_answers {
        return Ok(());
    }
    match enter(session, call, fhir, attempt, shared_key::of_request).await? {
        Joined::Asks(leader) => {
            attempt.leader = leader;
            Ok(())
        }
        Joined::Has(shared) => Err(answer(session, call, fhir, &shared).await?.into()),
    }
}

/// Joins the reads of a resource that has to be tested, which the gateway makes itself.
///
/// # Errors
/// The client is gone.
pub(super) async fn join_read(
    session: &mut Session,
    call: &Call,
    fhir: &FhirCall,
    attempt: &mut Attempt,
) -> Result<Joined, Stop> {
    match fhir.site.config.answers.share_answers {
        true => enter(session, call, fhir, attempt, shared_key::of_tested_read).await,
        false => Ok(Joined::Asks(None)),
    }
}

/// The whole set that OpenEMR has sent for an earlier page of the same walk, if it is kept. Otherwise the one that it sends now may be.
/// A first page is always asked for, and so is one that shall be fresh; both end what is kept of their walk: who begins a search gets
/// what is there now. `key`: what makes walks the same.
///
/// Decision: `docs/decisions/61-pages.md`.
pub(super) fn kept_set(
    session: &Session,
    call: &Call,
    fhir: &FhirCall,
    attempt: &mut Attempt,
    key: impl FnOnce() -> Option<Key>,
) -> Option<Arc<SharedAnswer>> {
    let pages = &fhir.site.kept_pages;
    let is_kept = pages.is_on() && session.req_header().method == Method::GET;
    let page = fhir.plan.search.as_ref()?.page.filter(|_| is_kept)?;
    let begins_anew = page.offset == 0 || shall_be_fresh(&session.req_header().headers);
    let is_whole = page.window == Window::Whole;
    let key = if begins_anew || is_whole { key()? } else { return None };
    let kept = if begins_anew { None } else { pages.find(&key, Instant::now()) };
    if begins_anew {
        pages.drop_walk(&key);
    }
    match &kept {
        Some(_) => attempt.is_shared = true,
        None if is_whole => attempt.collected = Some(pages.collect(key, queue::client(call, &fhir.site))),
        None => {}
    }
    kept
}

/// Whether the client wants no answer that is kept (RFC 9111 section 5.2.1).
fn shall_be_fresh(fields: &HeaderMap) -> bool {
    let is = |member: &[u8]| [&b"no-cache"[..], b"no-store", b"max-age=0"].iter().any(|word| member.eq_ignore_ascii_case(word));
    fields.get_all(CACHE_CONTROL).iter().flat_map(members).any(is)
}

/// Follows an identical request, or leads. `key`: what makes requests identical; `None` where that cannot be told.
async fn enter(
    session: &mut Session,
    call: &Call,
    fhir: &FhirCall,
    attempt: &mut Attempt,
    key: impl Fn(&Session, &Call, &FhirCall) -> Option<Key>,
) -> Result<Joined, Stop> {
    let until = Instant::now() + patience(&fhir.site);
    for _ in 0..MOST_FAILED {
        let Some(key) = key(session, call, fhir) else { break };
        let follower = match fhir.site.flights.enter(key) {
            Entry::Leader(leader) => return Ok(Joined::Asks(Some(leader))),
            Entry::Alone => break,
            Entry::Follower(follower) => follower,
        };
        debug!(request_id:% = call.id; "waits for the answer to an identical one");
        let left = until.saturating_duration_since(Instant::now());
        let wait = async { Ok(timeout(left, follower.answer()).await.ok().flatten()) };
        if let Some(shared) = while_there(session, wait).await? {
            attempt.is_shared = true;
            return Ok(Joined::Has(shared));
        }
        // The token that the request came with may have expired by now.
        if let Some(newer) = fhir.site.token.usable(Instant::now()) {
            attempt.token = Some(newer);
        }
    }
    Ok(Joined::Asks(None))
}

/// How long a request waits for the answer to another one: as long as that may wait and take.
fn patience(site: &Site) -> Duration {
    site.config.upstream.in_flight.queue_timeout + site.config.upstream.timeouts.read
}

/// Whether the answer to a request may be shared: a GET of resources that goes to OpenEMR. Documents and files of exports are long
/// and asked for once.
fn may_share(session: &mut Session, fhir: &FhirCall) -> bool {
    let is_search = matches!(fhir.interaction.kind, Kind::Search | Kind::SearchSystem | Kind::SearchCompartment);
    let is_read = matches!(
        fhir.interaction.kind,
        Kind::Read | Kind::VersionRead | Kind::HistoryInstance | Kind::HistoryType | Kind::HistorySystem
    );
    fhir.kind == FhirKind::Proxied
        && (is_search || is_read)
        && fhir.interaction.resource_type != Some("Binary")
        && fhir.plan.body.is_none()
        && session.req_header().method == Method::GET
        && session.is_body_empty()
}

/// Makes what the client gets of a shared answer.
async fn answer(session: &mut Session, call: &Call, fhir: &mut FhirCall, shared: &SharedAnswer) -> Result<Answer, Stop> {
    let Whole { mut head, body, .. } = answer_body::whole(session, shared.head.clone(), shared.body.clone(), call, fhir).await?;
    if call.caller.client.is_some() {
        edit_response(&mut head, |head| response_head::keep_private(&mut head.headers));
    }
    Ok(Answer::of(head, body))
}

/// Shares a resource that the gateway has read itself: what the client gets of its head is not OpenEMR's.
pub(super) fn land(leader: Option<Leader>, body: &Bytes) {
    let landing = leader.and_then(Leader::close);
    if let Some(landing) = landing.filter(|_| body.len() <= shared_answer::MOST) {
        let head = ResponseHeader::build(StatusCode::OK, None).expect("a StatusCode is a status");
        landing.land(SharedAnswer { head, body: body.clone() });
    }
}

/// Lets those who wait for the answer to this request go, because there is none for them.
pub(super) fn fail(session: &Session, context: &mut RequestContext) {
    context.attempt.leader = None;
    context.attempt.collected = None;
    context.answer.shared = None;
    context.answer.kept = None;
    if let Destination::Fhir(fhir) = &context.destination
        && context.attempt.sent.is_some()
    {
        note_write(session, fhir);
    }
}

/// Notes that a request which may change something is sent, or has ended: no answer from before it is shared with a request that
/// comes after it.
pub(super) fn note_write(session: &Session, fhir: &FhirCall) {
    if !fhir.is_repeatable(&session.req_header().method) {
        fhir.site.flights.writes().note();
        fhir.site.kept_pages.drop_all();
    }
}
