//! Requests that share an answer of OpenEMR's: identical GETs of a client that are there at the same time.
//!
//! Shared is OpenEMR's answer as the gateway has received it. Every request puts it through its own filters, and has its own access
//! line and its own record. A follower waits without a permit to be in flight; where its leader fails, it asks for itself.
//!
//! Decision: `docs/decisions/46-asked-once.md`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use log::debug;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tokio::time::timeout;

use crate::fhir::interaction::Kind;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::{Destination, FhirCall, FhirKind};
use crate::gateway::stop::{Step, Stop};
use crate::gateway::while_there::while_there;
use crate::gateway::{answer_body, response_head, shared_answer, shared_key};
use crate::http::answer::Answer;
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
    match enter(session, call, fhir, attempt, shared_key::of_request).await? {
        Joined::Asks(leader) => {
            attempt.leader = leader;
            Ok(())
        }
        Joined::Has(shared) => Err(answer(session, call, fhir, &shared)?.into()),
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
    fhir.site.config.answers.share_answers
        && fhir.kind == FhirKind::Proxied
        && (is_search || is_read)
        && fhir.interaction.resource_type != Some("Binary")
        && fhir.plan.body.is_none()
        && session.req_header().method == Method::GET
        && session.is_body_empty()
}

/// Makes what the client gets of a shared answer.
fn answer(session: &Session, call: &Call, fhir: &mut FhirCall, shared: &SharedAnswer) -> Result<Answer, Stop> {
    let (mut head, body) = answer_body::whole(session, shared.head.clone(), shared.body.clone(), call, fhir)?;
    if call.caller.client.is_some() {
        response_head::keep_private(&mut head);
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
    context.answer.shared = None;
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
    }
}
