//! OpenEMR's answer as it comes in: is it a refusal of the token, must it be buffered, is the request repeated?
//!
//! Decisions: `docs/decisions/02-repeated-requests.md` and `docs/decisions/05-rejected-tokens.md`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::gateway::answer_state::AnswerState;
use crate::gateway::attempt::Attempt;
use crate::gateway::buffered_answer::{self, BufferedAnswer, Purpose, Readable};
use crate::gateway::destination::FhirCall;
use crate::gateway::due;
use crate::gateway::refused_token::{Decision, Refused, Scope, TokenRefused, judge, scope};
use crate::gateway::response_head::{self, BadAnswer};
use crate::gateway::stop::{Step, Stop};
use crate::scopes::required::RequiredScope;
use crate::site::prepared::Site;
use crate::smart::token_cell::Unavailable;

/// How long a request waits for a token in place of one that was refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// The error that ends the exchange when an answer came before its request was whole.
const EARLY: &str = "AnsweredEarly";

/// After the head of OpenEMR's answer: is it a refusal, or could it be one? Buffers what is not sent before its body is known.
///
/// # Errors
/// A rejection, or an error that makes Pingora try again.
pub(super) fn after_head(
    session: &mut Session,
    head: &mut ResponseHeader,
    fhir: &FhirCall,
    attempt: &mut Attempt,
    answer: &mut AnswerState,
) -> Step {
    if head.status.is_success() {
        note_success(fhir, attempt);
        // Whatever comes with a 201: the resource was created, and a page is not shown.
        let is_legible = response_head::is_json(head) || head.status == StatusCode::CREATED || due::media_type_is_open(head);
        let is_buffered = response_head::is_of_a_create(head, fhir) && (is_legible || fhir.plan.limit.is_some());
        return if is_buffered { buffer(session, head, Purpose::Created, fhir, answer) } else { Ok(()) };
    }
    let readable = buffered_answer::readable(head, fhir.method_sent(&session.req_header().method));
    let could_be_the_token = match (head.status, readable) {
        (StatusCode::UNAUTHORIZED, Readable::Plain) if may_be_told_more(session, fhir, attempt) => true,
        (StatusCode::UNAUTHORIZED, _) => {
            after_unauthorized(session, false, fhir, attempt, answer)?;
            false
        }
        (StatusCode::BAD_REQUEST, Readable::Compressed) => {
            ask_uncompressed(&session.req_header().method, fhir, attempt, answer)?;
            false
        }
        (StatusCode::BAD_REQUEST, Readable::Plain) => true,
        _ => false,
    };
    match (response_head::is_translated(head, fhir), could_be_the_token) {
        (true, _) => buffer(session, head, Purpose::Error, fhir, answer),
        (false, true) => buffer(session, head, Purpose::Unchanged, fhir, answer),
        (false, false) => Ok(()),
    }
}

/// Buffers an answer until its end.
fn buffer(session: &mut Session, head: &mut ResponseHeader, purpose: Purpose, fhir: &FhirCall, answer: &mut AnswerState) -> Step {
    let has_no_body = response_head::has_no_body(fhir.method_sent(&session.req_header().method), head);
    answer.buffered = Some(BufferedAnswer::begin(session, head, purpose));
    if has_no_body { end_early(session) } else { Ok(()) }
}

/// Ends the exchange when the client has not sent its whole body: one that waits for this answer first would wait for ever.
fn end_early(session: &mut Session) -> Step {
    if session.is_body_done() { Ok(()) } else { Err(Stop::Gone(Error::new_in(ErrorType::new(EARLY)))) }
}

/// Whether the exchange ended because an answer came before its request was whole.
#[must_use]
pub(super) fn ended_early(error: &Error) -> bool {
    error.etype().as_str() == EARLY
}

/// Whether a 401 is worth reading: its head alone would count against the scope.
fn may_be_told_more(session: &Session, fhir: &FhirCall, attempt: &Attempt) -> bool {
    let decision = attempt.token.as_ref().map(|token| {
        let scope = scope(fhir.need(), &token.scope, &fhir.site.token.scopes);
        judge(scope, false, refused(session, attempt))
    });
    matches!(decision, Some(Decision::ScopeRefused | Decision::Pass))
}

/// After a piece of the body of a buffered answer.
///
/// # Errors
/// A rejection, or an error that makes Pingora try again.
pub(super) fn after_body(
    session: &mut Session,
    piece: &mut Option<Bytes>,
    end_of_stream: bool,
    fhir: &FhirCall,
    attempt: &mut Attempt,
    answer: &mut AnswerState,
) -> Step {
    let Some(buffered) = &mut answer.buffered else { return Ok(()) };
    if !buffered.keep(piece) {
        return Err(BadAnswer::TooLong.into());
    }
    if !end_of_stream {
        return Ok(());
    }
    buffered.note_judged();
    let about_the_token = buffered.rejects_token();
    match buffered.status() {
        StatusCode::UNAUTHORIZED => after_unauthorized(session, about_the_token, fhir, attempt, answer)?,
        // A revoked trust is about no scope.
        StatusCode::BAD_REQUEST if about_the_token => {
            let decision = judge(Scope::Unnamed, true, refused(session, attempt));
            follow(decision, None, &fhir.site, attempt, answer)?;
        }
        _ => {}
    }
    attempt.leave_openemr();
    end_early(session)
}

/// After a 401. `about_the_token`: its body says so.
///
/// # Errors
/// A rejection, or an error that makes Pingora try again.
pub(super) fn after_unauthorized(
    session: &Session,
    about_the_token: bool,
    fhir: &FhirCall,
    attempt: &mut Attempt,
    answer: &mut AnswerState,
) -> Step {
    let Some(token) = &attempt.token else { return Ok(()) };
    let record = &fhir.site.token.scopes;
    let need = fhir.need();
    let scope = scope(need, &token.scope, record);
    let decision = judge(scope, about_the_token, refused(session, attempt));
    if let (Scope::Granted, Decision::ScopeRefused, Some(need)) = (scope, decision, need) {
        record.note_refused(need);
    }
    follow(decision, need, &fhir.site, attempt, answer)
}

fn follow(decision: Decision, need: Option<RequiredScope>, site: &Site, attempt: &mut Attempt, answer: &mut AnswerState) -> Step {
    let refused = attempt.token.as_ref().map_or(0, |token| token.generation);
    match (decision, need) {
        (Decision::Pass, _) | (Decision::NotGranted | Decision::ScopeRefused, None) => Ok(()),
        (Decision::NotGranted, Some(need)) => Err(TokenRefused::NotGranted(need).into()),
        (Decision::ScopeRefused, Some(need)) => Err(TokenRefused::ScopeRefused(need).into()),
        (Decision::Renew, _) => {
            attempt.refused_token.generation = Some(refused);
            Err(try_again(attempt, answer))
        }
        (Decision::RenewForOthers, _) => {
            site.token.report_refused(refused);
            Err(TokenRefused::NotRepeatable.into())
        }
        (Decision::GiveUp, _) => Err(TokenRefused::NewTokensToo.into()),
    }
}

/// After a 400 that cannot be read because it is compressed, and could say that the client's trust was revoked: a safe
/// request is tried again, and asks for an uncompressed answer.
fn ask_uncompressed(method: &Method, fhir: &FhirCall, attempt: &mut Attempt, answer: &mut AnswerState) -> Step {
    if attempt.refused_token.uncompressed || !fhir.is_repeatable(method) {
        return Ok(());
    }
    attempt.refused_token.uncompressed = true;
    Err(try_again(attempt, answer))
}

/// Makes Pingora try again. The next try is a first one: nothing of this answer has gone out.
fn try_again(attempt: &mut Attempt, answer: &mut AnswerState) -> Stop {
    attempt.refused_token.try_again = true;
    attempt.upstream_time = None;
    answer.forget();
    Stop::Gone(Error::new_in(ErrorType::new("Again")))
}

/// Before a try: replaces the token that OpenEMR refused. All requests that it refused share one exchange.
///
/// # Errors
/// There is no new token within five seconds.
pub(super) async fn renew(site: &Site, attempt: &mut Attempt) -> Result<(), TokenRefused> {
    let Some(refused) = attempt.refused_token.generation.take() else { return Ok(()) };
    // A request that waits for a token keeps no other from OpenEMR.
    attempt.leave_openemr();
    let since = Instant::now();
    let token = site.token.replacement(refused, PATIENCE).await;
    attempt.note_token_wait(since);
    attempt.token = Some(token.map_err(|Unavailable { retry_after }| TokenRefused::NoNewToken(retry_after))?);
    attempt.refused_token.renewals += 1;
    Ok(())
}

/// Notes that OpenEMR took the token, and grants what the request needed.
fn note_success(fhir: &FhirCall, attempt: &Attempt) {
    if let Some(token) = &attempt.token {
        token.note_accepted();
    }
    let scopes = &fhir.site.token.scopes;
    if !scopes.is_empty()
        && let Some(need) = fhir.need()
    {
        scopes.note_served(need);
    }
}

/// The request, whose token was refused. It can be sent again if its body is whole in Pingora's retry buffer (64 KiB): a
/// refused request has had no effect, so that no method is excluded.
fn refused(session: &Session, attempt: &Attempt) -> Refused {
    Refused {
        renewals: attempt.refused_token.renewals,
        was_accepted: attempt.token.as_ref().is_some_and(|token| token.was_accepted()),
        can_repeat: !session.retry_buffer_truncated(),
    }
}
