//! Sends the answers that the gateway writes itself: the local routes' and every error's.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, EXPECT, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::proxy::Session;

use crate::fhir::operation_outcome::{Issue, OperationOutcome};
use crate::gateway::context::RequestContext;
use crate::gateway::cors;
use crate::gateway::failure::Verdict;
use crate::gateway::route::Route;
use crate::http::answer::Answer;
use crate::http::fields::content_length;
use crate::http::set_field::SetField;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// How long a body that nobody wants is still read, so that its sender sees the answer before a reset.
const LINGER: Duration = Duration::from_secs(2);
/// A body up to this, in bytes, is read to its end for the sake of its connection.
const SHORT: u64 = 64 * 1024;

/// What a verdict looks like on this route: an OperationOutcome where FHIR is spoken, in the format that the caller
/// accepts, and plain JSON elsewhere.
#[must_use]
pub fn of_verdict(verdict: &Verdict, context: &RequestContext) -> Answer {
    let status = StatusCode::from_u16(verdict.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = match context.route {
        Route::Fhir { .. } => {
            let format = context.negotiated.errors;
            let outcome = OperationOutcome::of(Issue::error(verdict.code, verdict.text.as_str()));
            let body = outcome.of_request(&context.id.to_string()).write(format);
            Answer::new(status, format.content_type(), Bytes::from(body)).with(CACHE_CONTROL, NO_STORE)
        }
        Route::Health | Route::Ready | Route::Jwks(_) | Route::Token | Route::NotFound => {
            Answer::error(status, error_word(verdict.status), &verdict.text)
        }
    };
    let answer = match verdict.retry_after {
        Some(seconds) => answer.with(RETRY_AFTER, HeaderValue::from(seconds)),
        None => answer,
    };
    match verdict.allow.and_then(|allowed| HeaderValue::from_str(&allowed.to_string()).ok()) {
        Some(allowed) => answer.with(ALLOW, allowed),
        None => answer,
    }
}

/// Sends an answer of the gateway's own. A HEAD request gets the head alone.
///
/// # Errors
/// The client is gone.
pub async fn send(answer: Answer, session: &mut Session, context: &RequestContext) -> pingora::Result<()> {
    let (mut head, body) = answer.into_parts();
    head.set(&X_REQUEST_ID, context.id.header_value());
    cors::mark(session, &mut head, context);
    let body_is_left = !session.is_body_done() && !drain_short_body(session).await;
    if body_is_left {
        session.set_keepalive(None);
    }
    let body = body.filter(|_| session.req_header().method != Method::HEAD);
    session.write_response_header(head, body.is_none()).await?;
    if let Some(body) = body {
        session.write_response_body(Some(body), true).await?;
    }
    if body_is_left {
        linger(session).await;
    }
    Ok(())
}

/// Reads a short body that nobody wants, so that its connection can go on. False when it does not go on anyway, when there is
/// more of the body, or it does not come.
async fn drain_short_body(session: &mut Session) -> bool {
    if session.get_keepalive().is_none() {
        return false;
    }
    if content_length(&session.req_header().headers).is_none_or(|length| length > SHORT) || session.get_header(EXPECT).is_some() {
        return false;
    }
    matches!(tokio::time::timeout(LINGER, session.drain_request_body()).await, Ok(Ok(_)))
}

/// Reads what is left of a body that nobody wants. A caller who waits for "100 Continue" will not send it any more.
pub async fn linger(session: &mut Session) {
    if session.get_header(EXPECT).is_none() {
        let _ = tokio::time::timeout(LINGER, session.drain_request_body()).await;
    }
}

fn error_word(status: u16) -> &'static str {
    match status {
        400 => "bad_request",
        403 => "forbidden",
        404 => "not_found",
        408 => "request_timeout",
        413 => "body_too_large",
        414 => "url_too_long",
        431 => "head_too_large",
        503 => "unavailable",
        _ => "failed",
    }
}
