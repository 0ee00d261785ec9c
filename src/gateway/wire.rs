//! The wire checks: what can be refused from the head of a request alone, on every route.
//!
//! Decision: `docs/decisions/11-paths.md`.

use http::header::UPGRADE;
use http::uri::Scheme;
use http::{Method, StatusCode};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::config::Limits;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::cors::METHODS;
use crate::gateway::destination::Destination;
use crate::gateway::http2;
use crate::gateway::pace::{self, Pace};
use crate::gateway::request_head::{self, BadField};
use crate::http::fields::{content_length, members};
use crate::http::request_target::UnsafeTarget;

/// What is wrong with the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadHead {
    /// HTTP has the method, and FHIR does not: TRACE, whose answer would repeat the token, and CONNECT.
    #[error("the request's method is TRACE or CONNECT")]
    MethodNotAllowed,
    /// HTTP does not know the method (RFC 9110 section 9.1).
    #[error("the request has an unknown method")]
    UnknownMethod,
    /// The request target is longer than `limits.request_target`.
    #[error("the request target is longer than limits.request_target")]
    TargetTooLong,
    /// The head is larger than `limits.request_head`.
    #[error("the head is larger than limits.request_head")]
    TooLarge,
    /// The head has more field lines than `limits.header_fields`.
    #[error("the head has more field lines than limits.header_fields")]
    TooManyFields,
    /// The declared body is larger than `limits.request_body`.
    #[error("the body is larger than limits.request_body")]
    BodyTooLarge,
    /// The request asks for another protocol.
    #[error("the request asks for another protocol")]
    Upgrade,
    /// Servers could differ on what the request target means.
    #[error("{0}")]
    UnsafeTarget(#[from] UnsafeTarget),
    /// OpenEMR would read a field otherwise than the gateway.
    #[error("{0}")]
    Field(#[from] BadField),
}

impl From<BadHead> for Rejection {
    fn from(bad: BadHead) -> Self {
        match bad {
            BadHead::MethodNotAllowed => Self::method_not_allowed("The gateway does not take this method.", METHODS),
            BadHead::UnknownMethod => {
                let text = "The gateway does not know this method.";
                Self {
                    allow: Some(Box::new(METHODS)),
                    ..Self::new(StatusCode::NOT_IMPLEMENTED, IssueCode::NotSupported, Reason::NotSupported, text)
                }
            }
            BadHead::TargetTooLong => Self::new(
                StatusCode::URI_TOO_LONG,
                IssueCode::TooLong,
                Reason::HeadTooLarge,
                "The request's URL is longer than the gateway takes. A search can be sent as POST to _search.",
            ),
            BadHead::TooLarge => Self::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                IssueCode::TooLong,
                Reason::HeadTooLarge,
                "The request's head is larger than the gateway takes.",
            ),
            BadHead::TooManyFields => Self::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                IssueCode::TooLong,
                Reason::HeadTooLarge,
                "The request has more header fields than the gateway takes.",
            ),
            BadHead::BodyTooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                IssueCode::TooLong,
                Reason::BodyTooLarge,
                "The request's body is larger than the gateway takes.",
            ),
            BadHead::Upgrade => Self::new(
                StatusCode::BAD_REQUEST,
                IssueCode::NotSupported,
                Reason::NotSupported,
                "The gateway does not switch protocols.",
            ),
            BadHead::UnsafeTarget(reason) => Self::invalid(Reason::UnsafeTarget, format!("The request was refused: {reason}.")),
            BadHead::Field(bad) => bad.into(),
        }
    }
}

/// Sets how long a client's connection may take.
pub(super) fn set_deadlines(session: &mut Session, limits: &Limits) {
    session.set_read_timeout(Some(limits.read_timeout));
    // A client of HTTP/1.1 that stops reading is noticed on its connection.
    let write_timeout = session.is_http2().then_some(limits.write_timeout);
    session.set_write_timeout(write_timeout);
    if session.get_keepalive().is_some() {
        // No end of Pingora's own: the guard of the connection ends the wait for the next request.
        session.set_keepalive(Some(0));
    }
    session.set_pipelining_enabled(true);
}

/// Sets how long an HTTP/2 client may take to make room for bytes of an answer: a stream can wait although its connection does not.
/// `holds_permit`: OpenEMR is held up.
pub(super) fn set_write_deadline(session: &mut Session, unsent: usize, holds_permit: bool, limits: &Limits) {
    if session.is_http2() {
        let grace = if holds_permit { limits.write_timeout.min(pace::GRACE) } else { limits.write_timeout };
        session.set_write_timeout(Some(grace + Pace::time_for(unsent, limits.least_rate)));
    }
}

/// Checks the head of a request.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(session: &Session, limits: &Limits, destination: &Destination) -> Result<(), BadHead> {
    check_method(&session.req_header().method)?;
    check_sizes(session, limits)?;
    if let Destination::Unsafe { reason, .. } = destination {
        return Err((*reason).into());
    }
    if destination.fhir().is_none() {
        return Ok(());
    }
    if asks_for_another_protocol(session.req_header()) {
        return Err(BadHead::Upgrade);
    }
    Ok(request_head::check(session.req_header())?)
}

/// Checks what Pingora does not show of the request target.
///
/// # Errors
/// It is of another scheme than http, or has a fragment.
pub(super) fn check_target(session: &Session) -> Result<(), UnsafeTarget> {
    // HTTP/2 has the scheme apart.
    if session.req_header().uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(UnsafeTarget::Form);
    }
    let Some(http1) = session.as_http1() else { return Ok(()) };
    let head = http1.get_headers_raw_bytes();
    let mut lines = head.trim_ascii_start().split(|byte| *byte == b'\n');
    match lines.next().and_then(|line| memchr::memchr(b'#', line)) {
        Some(_) => Err(UnsafeTarget::Fragment),
        None => Ok(()),
    }
}

/// Lets FHIR's six methods pass, and OPTIONS.
fn check_method(method: &Method) -> Result<(), BadHead> {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => Ok(()),
        Method::TRACE | Method::CONNECT => Err(BadHead::MethodNotAllowed),
        _ => Err(BadHead::UnknownMethod),
    }
}

/// What a request's head says of its size. HTTP/2 has its own bound on heads, and no raw bytes.
fn check_sizes(session: &Session, limits: &Limits) -> Result<(), BadHead> {
    let head = session.req_header();
    if head.raw_path().len() > limits.request_target {
        return Err(BadHead::TargetTooLong);
    }
    if http2::head_size(session) > limits.request_head {
        return Err(BadHead::TooLarge);
    }
    if !u32::try_from(head.headers.len()).is_ok_and(|count| count <= limits.header_fields) {
        return Err(BadHead::TooManyFields);
    }
    match content_length(&head.headers) {
        Some(length) if length > limits.request_body as u64 => Err(BadHead::BodyTooLarge),
        Some(_) | None => Ok(()),
    }
}

/// A request to switch protocols. `h2c` is only an offer (Java's client makes it on every request), which is not taken.
fn asks_for_another_protocol(head: &RequestHeader) -> bool {
    let mut protocols = head.headers.get_all(UPGRADE).iter().flat_map(members);
    protocols.any(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case(b"h2c"))
}
