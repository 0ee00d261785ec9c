//! What a rejection looks like to the client: an OperationOutcome where FHIR is spoken, in the format that the client accepts,
//! and plain JSON elsewhere.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use pingora::Error;
use pingora::proxy::Session;

use crate::fhir::operation_outcome::{Issue, OperationOutcome};
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::Destination;
use crate::gateway::{credentials, recording, request_log, send, transport};
use crate::http::answer::Answer;

/// The answer to a request for this destination.
#[must_use]
fn of(rejection: Rejection, call: &Call, destination: &Destination) -> Answer {
    match destination {
        Destination::Fhir(_) | Destination::Unsafe { .. } => of_fhir(rejection, call),
        Destination::Local(_) | Destination::NotFound if rejection.on_every_route => of_fhir(rejection, call),
        Destination::Local(_) | Destination::NotFound => {
            let answer = Answer::error(rejection.status, error_word(rejection.status), &rejection.text);
            with_fields(answer, rejection)
        }
    }
}

/// Sends a rejection.
///
/// # Errors
/// The client is gone.
pub(super) async fn send(session: &mut Session, rejection: Rejection, context: &mut RequestContext) -> pingora::Result<()> {
    let RequestContext { call, destination, answer: state, .. } = context;
    state.reason = Some(rejection.reason);
    let rejection = credentials::asked_for(rejection, call);
    let answer = of(rejection, call, destination);
    recording::own_answer_to(session, call, destination, &answer);
    send::answer(session, answer, call, destination.cors()).await
}

/// Tells the client and the log why the exchange with OpenEMR failed. Gives the status of the answer, 0 when the client is
/// gone.
pub(super) async fn after_failure(session: &mut Session, error: &Error, context: &mut RequestContext) -> u16 {
    let body_is_missing = !session.is_body_done();
    let rejection = context.rejection.clone().or_else(|| transport::rejection(error, body_is_missing));
    context.attempt.note_failed();
    context.answer.reason = rejection.as_ref().map(|rejection| rejection.reason);
    request_log::failed(error, context, rejection.is_some());
    let Some(rejection) = rejection else { return 0 };
    let status = rejection.status.as_u16();
    let is_begun = context.answer.begun.is_some();
    if !is_begun && session.response_written().is_none_or(|head| head.status.is_informational()) {
        // The client may be gone by now; the log says what it should have seen.
        let _ = send(session, rejection, context).await;
    }
    status
}

/// The answer to a FHIR request.
#[must_use]
pub(super) fn of_fhir(rejection: Rejection, call: &Call) -> Answer {
    let format = call.negotiated.errors;
    let issue = Issue { expression: rejection.expression.to_vec(), ..Issue::error(rejection.code, rejection.text.as_ref()) };
    let outcome = OperationOutcome::of(issue);
    let body = outcome.of_request(&call.id.to_string()).write(format);
    let answer = Answer::new(rejection.status, format.content_type(), Bytes::from(body));
    with_fields(answer.with(CACHE_CONTROL, HeaderValue::from_static("no-store")), rejection)
}

fn with_fields(answer: Answer, rejection: Rejection) -> Answer {
    let answer = match rejection.retry_after {
        Some(seconds) => answer.with(RETRY_AFTER, HeaderValue::from(seconds)),
        None => answer,
    };
    let answer = match rejection.allow {
        Some(allowed) => answer.with(ALLOW, *allowed),
        None => answer,
    };
    match rejection.challenge {
        Some(challenge) => answer.with(WWW_AUTHENTICATE, *challenge),
        None => answer,
    }
}

fn error_word(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "bad_request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        408 => "request_timeout",
        413 => "body_too_large",
        414 => "url_too_long",
        429 => "too_many_requests",
        431 => "head_too_large",
        501 => "not_implemented",
        503 => "unavailable",
        _ => "failed",
    }
}
