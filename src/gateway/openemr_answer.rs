//! OpenEMR's answer as Pingora shows it, before anything of it goes on to the client.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::json::completeness::Completeness;
use crate::fhir::rejection::Rejection;
use crate::fhir::root::Root;
use crate::gateway::attempt::Attempt;
use crate::gateway::destination::FhirCall;
use crate::gateway::due::{self, Due, NotDue};
use crate::gateway::exchange::Exchange;
use crate::gateway::held_answer::HeldAnswer;
use crate::gateway::response_head::{self, BadAnswer};
use crate::gateway::stop::Step;
use crate::gateway::{export_file, kept_page, recovery, shared, shared_answer, trace, upstream};
use crate::http::decoder::{Decoder, UnknownCoding};
use crate::http::token_text::holds_token;
use crate::nodes::cause::Unusable;

/// A bad answer, and what mends the configuration that led to it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Explained(String);

/// Takes the head of an answer: does it go on, and how is its body read?
///
/// # Errors
/// A rejection, or an error that makes Pingora try again.
pub(super) fn head(session: &mut Session, head: &mut ResponseHeader, exchange: &mut Exchange<'_>) -> Step {
    let Exchange { call, fhir, attempt, answer } = exchange;
    attempt.note_answered(head.status);
    shared::note_write(session, fhir);
    upstream::after_head(head, attempt);
    trace::mark_answer(head);
    let limit = call.config().limits.response_head;
    response_head::check(head, limit, fhir).map_err(|bad| explained(bad, head, attempt))?;
    response_head::keep_known(head, attempt.token_text());
    if fhir.test().is_some() {
        response_head::keep_untelling(head);
    }
    let has_no_body = response_head::has_no_body(fhir.method_sent(&session.req_header().method), head);
    let must_be_read = fhir.repairs().read_bodies() || fhir.plan.search.is_some();
    if must_be_read || call.runtime.trail.is_on() {
        answer.decoder = match Decoder::after_head(head) {
            Ok(decoder) => decoder,
            // The trail says that it could not read the answer.
            Err(UnknownCoding) if !must_be_read => None,
            Err(UnknownCoding) if has_no_body || response_head::is_translated(head, fhir) => None,
            Err(UnknownCoding) => return Err(BadAnswer::Coding.into()),
        };
    }
    export_file::check(head, fhir)?;
    let due = due(head, has_no_body, fhir, fhir.method_sent(&session.req_header().method))?;
    let (ends_by_itself, status) = (response_head::ends_by_itself(head), head.status);
    recovery::after_head(session, head, fhir, attempt, answer)?;
    // A request that is tried again keeps its permit.
    if has_no_body {
        attempt.end();
    }
    let can_be_a_refusal = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
    if ends_by_itself && (status.is_success() || (can_be_a_refusal && answer.buffered.is_some())) {
        answer.completeness = Some(Completeness::default());
    }
    answer.shared = shared_answer::begin(head, has_no_body, attempt);
    answer.kept = kept_page::begin(head, has_no_body, attempt);
    match (due, &answer.buffered) {
        (Some(due), None) => answer.held = Some(HeldAnswer::begin(session, head, due)),
        (due, _) => answer.due = due,
    }
    Ok(())
}

/// Decides what the body behind this head must be, and that nothing is no answer where that is known already. `None` where
/// anything may come.
fn due(head: &mut ResponseHeader, has_no_body: bool, fhir: &FhirCall, sent: &Method) -> Result<Option<Due>, NotDue> {
    let is_searched = fhir.plan.search.is_some();
    if !fhir.repairs().errors && !is_searched {
        return Ok(None);
    }
    // Its status says that the resource was created.
    if head.status == StatusCode::CREATED && fhir.plan.search.is_none() {
        return Ok(None);
    }
    let Some(due) = Due::of(head, fhir.interaction, sent, is_searched)? else { return Ok(None) };
    if has_no_body {
        return due.judge(Root::Empty).map(|_| None);
    }
    if matches!(due, Due::Resource | Due::ResourceOf(_)) && due::media_type_is_open(head) {
        response_head::name_json(head);
    }
    Ok(Some(due))
}

/// The rejection of an answer that is none of FHIR's, with what mends the configuration that led to it.
fn explained(bad: BadAnswer, head: &ResponseHeader, attempt: &Attempt) -> Rejection {
    let (BadAnswer::Page | BadAnswer::Redirect, Some(on)) = (bad, &attempt.node) else { return bad.into() };
    let has_token = |value: &str| holds_token(value.as_bytes(), attempt.token_text());
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !has_token(value));
    let answer = Unusable { status: head.status, location: text(LOCATION), content_type: text(CONTENT_TYPE), body: &[] };
    let place = on.node().fhir.place();
    let explained = place.explain_answer(answer).to_string();
    let cause = explained.strip_prefix(&format!("{}: ", place.url)).unwrap_or(&explained);
    Rejection::from(bad).because(Explained(format!("{bad}: {cause}")))
}

/// Takes a piece of the body. A body whose end HTTP does not tell must not be taken for whole when it was cut; a buffered one
/// is kept.
///
/// # Errors
/// A rejection, or an error that makes Pingora try again.
pub(super) fn body(session: &mut Session, piece: &mut Option<Bytes>, end_of_stream: bool, exchange: &mut Exchange<'_>) -> Step {
    let Exchange { fhir, attempt, answer, .. } = exchange;
    if let Some(decoder) = &mut answer.decoder {
        let plain = decoder.unpack(piece.as_deref().unwrap_or_default(), end_of_stream);
        let plain = plain.map_err(|error| BadAnswer::NotDecodable(error.kind()))?;
        *piece = (!plain.is_empty()).then_some(plain);
    }
    if let Some(completeness) = &mut answer.completeness {
        completeness.feed(piece.as_deref().unwrap_or_default());
        if end_of_stream && !completeness.is_complete() {
            return Err(BadAnswer::CutShort.into());
        }
    }
    if let Some(held) = &mut answer.held {
        held.take(piece, end_of_stream)?;
    }
    recovery::after_body(session, piece, end_of_stream, fhir, attempt, answer)?;
    shared_answer::take(&mut answer.shared, piece.as_ref(), end_of_stream);
    kept_page::take(&mut answer.kept, piece.as_ref());
    if end_of_stream {
        if let (Some(due), Some(buffered)) = (answer.due, &answer.buffered) {
            due.judge(buffered.root())?;
        }
        attempt.end();
    }
    Ok(())
}
