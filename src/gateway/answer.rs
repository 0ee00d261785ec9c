//! Answers that the gateway writes itself: the local routes' and every error's.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use serde::Serialize;

use crate::fhir::operation_outcome::{Issue, OperationOutcome};
use crate::gateway::body::content_length;
use crate::gateway::context::RequestContext;
use crate::gateway::cors;
use crate::gateway::failure::Verdict;
use crate::gateway::route::Route;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// How long a body that nobody wants is still read, so that its sender sees the answer before a reset.
const LINGER: Duration = Duration::from_secs(2);
/// A body up to this, in bytes, is read to its end for the sake of its connection.
const SHORT: u64 = 64 * 1024;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    content_type: HeaderValue,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

#[derive(Serialize)]
struct PlainError<'a> {
    error: &'a str,
    message: &'a str,
}

impl Answer {
    /// An answer with a body that is ready.
    #[must_use]
    pub fn new(status: u16, content_type: &'static str, body: Bytes) -> Self {
        Self { status, content_type: HeaderValue::from_static(content_type), fields: Vec::new(), body }
    }

    /// An answer that has no body by its status (204, 304).
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self::new(status, "", Bytes::new())
    }

    /// JSON that is not to be kept by anybody.
    #[must_use]
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status, content_type: JSON, fields: vec![(CACHE_CONTROL, NO_STORE)], body: Bytes::from(body) }
    }

    /// An error on a local route.
    #[must_use]
    pub fn error(status: u16, error: &str, message: &str) -> Self {
        Self::json(status, &PlainError { error, message })
    }

    /// 405: the path is known, the method is not.
    #[must_use]
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        Self::error(405, "method_not_allowed", "This path takes other methods; see Allow.")
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// What a verdict looks like on this route: an OperationOutcome where FHIR is spoken, in the format that the caller
    /// accepts, and plain JSON elsewhere.
    #[must_use]
    pub fn of_verdict(verdict: &Verdict, context: &RequestContext) -> Self {
        let answer = match context.route {
            Route::Fhir { .. } => {
                let format = context.negotiated.errors;
                let outcome = OperationOutcome::of(Issue::error(verdict.code, verdict.text.as_str()));
                let body = outcome.of_request(&context.id.to_string()).write(format);
                Self::new(verdict.status, format.content_type(), Bytes::from(body)).with(CACHE_CONTROL, NO_STORE)
            }
            Route::Health | Route::Ready | Route::Jwks(_) | Route::Token | Route::NotFound => {
                Self::error(verdict.status, error_word(verdict.status), &verdict.text)
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

    /// One more field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Sends it. A HEAD request gets the head alone.
    ///
    /// # Errors
    /// A caller who is gone.
    pub async fn send(self, session: &mut Session, context: &RequestContext) -> pingora::Result<()> {
        let mut head = ResponseHeader::build(self.status, Some(self.fields.len() + 4))?;
        let has_none = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !has_none {
            head.insert_header(CONTENT_TYPE, self.content_type)?;
            head.insert_header(CONTENT_LENGTH, self.body.len())?;
        }
        head.insert_header("x-request-id", context.id.header_value())?;
        for (name, value) in self.fields {
            head.insert_header(name, value)?;
        }
        cors::mark(session, &mut head, context)?;
        let body_is_left = !session.is_body_done() && !drain_short_body(session).await;
        if body_is_left {
            session.set_keepalive(None);
        }
        let head_only = has_none || session.req_header().method == Method::HEAD;
        session.write_response_header(Box::new(head), head_only).await?;
        if !head_only {
            session.write_response_body(Some(self.body), true).await?;
        }
        if body_is_left {
            linger(session).await;
        }
        Ok(())
    }
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
