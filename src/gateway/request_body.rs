//! The body of a request before the request waits for its permit: a permit is not held for a body that does not come.
//!
//! Decision: `docs/decisions/17-request-bodies.md`.

use std::time::{Duration, Instant};

use http::header::TRANSFER_ENCODING;
use http::{Method, StatusCode};
use pingora::proxy::Session;

use crate::config::Limits;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::attempt::Attempt;
use crate::gateway::destination::FhirCall;
use crate::gateway::pace::Pace;
use crate::gateway::read_ahead::{self, Ahead};
use crate::gateway::stop::Step;
use crate::gateway::wire::BadHead;
use crate::http::fields::content_length;

/// The longest body, in bytes, that is dropped where there should be none.
const MOST_DROPPED: usize = 8 * 1024;

/// The method has no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the method has no body")]
struct NoBody;

impl From<NoBody> for Rejection {
    fn from(_: NoBody) -> Self {
        Self::invalid(Reason::Malformed, "A request with this method has no body.")
    }
}

/// The client sends its body more slowly than it must while it holds a permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body comes more slowly than limits.least_rate")]
pub(super) struct TooSlow;

impl From<TooSlow> for Rejection {
    fn from(_: TooSlow) -> Self {
        let text = "The request's body did not arrive in time.";
        Self::new(StatusCode::REQUEST_TIMEOUT, IssueCode::Timeout, Reason::RequestTimeout, text)
    }
}

/// Reads the body as far as Pingora keeps it. A body that is whole by then goes to OpenEMR with its length, which PHP behind
/// Apache needs; that of a method without one is read, and does not go on.
///
/// # Errors
/// A body that is too long, or is long where there should be none; the client is gone, or too slow.
pub(super) async fn take(session: &mut Session, limits: &Limits, fhir: &mut FhirCall) -> Step {
    if session.is_body_empty() {
        return Ok(());
    }
    fhir.plan.body_is_begun = true;
    if has_no_body(&session.req_header().method) {
        read_ahead::read(session, MOST_DROPPED, limits).await?.map_err(|_| NoBody)?;
        return Ok(());
    }
    if let Ahead::Whole(body) = read_ahead::read_kept(session, limits).await? {
        if body.len() > limits.request_body {
            return Err(BadHead::BodyTooLarge.into());
        }
        let head = session.req_header();
        let needs_length = content_length(&head.headers).is_none() || head.headers.contains_key(TRANSFER_ENCODING);
        if needs_length && !fhir.plan.has_body() {
            fhir.plan.body = Some(body.clone());
        }
        fhir.plan.read = Some(body);
    }
    Ok(())
}

/// Counts a piece of a body that is read while the request is in flight; decides how long the next may take. HTTP/2 knows no
/// such deadline: there a body that stops is noticed when OpenEMR's answer is due.
///
/// # Errors
/// The body comes too slowly.
pub(super) fn keep_pace(session: &mut Session, length: usize, attempt: &mut Attempt, limits: &Limits) -> Result<(), TooSlow> {
    let now = Instant::now();
    let pace = attempt.body_pace.get_or_insert_with(|| Pace::new(limits.least_rate, limits.read_timeout, now));
    let left = pace.moved(length, now).ok_or(TooSlow)?;
    session.set_read_timeout(Some(left.max(Duration::from_millis(1))));
    Ok(())
}

/// RFC 9110 section 9.3: content in a request with these methods has no meaning.
fn has_no_body(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::DELETE)
}
