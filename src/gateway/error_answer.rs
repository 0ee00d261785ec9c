//! Turns an error of OpenEMR's into an OperationOutcome, in the format that the client accepts.
//!
//! Decision: `docs/decisions/15-errors.md`.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, ETAG,
    EXPIRES, LAST_MODIFIED, LINK, LOCATION, PROXY_AUTHENTICATE, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, StatusCode};
use log::debug;
use pingora::http::ResponseHeader;

use crate::fhir::interaction::Interaction;
use crate::gateway::call::Call;
use crate::http::fields::complete_retry_after;
use crate::http::set_field::SetField;
use crate::openemr::error::{self, ErrorAnswer};

/// The fields that are about the body that OpenEMR sent, or about the gateway's own credentials.
const DROPPED: [HeaderName; 13] = [
    ACCEPT_RANGES,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    LINK,
    LOCATION,
    PROXY_AUTHENTICATE,
    VARY,
    WWW_AUTHENTICATE,
];

/// Returns the OperationOutcome in place of an error's body, and changes the head accordingly. The log says, at level debug, what
/// kind of body it was; never its words, which can be a patient's data or the token.
pub(super) fn translate(head: &mut ResponseHeader, body: &[u8], call: &Call, interaction: Interaction) -> Bytes {
    let status = head.status.as_u16();
    debug!(request_id:% = call.id; "OpenEMR answered {status} with {} of {} bytes", kind(head, body), body.len());
    // What is compressed is not read.
    let body = if head.headers.contains_key(CONTENT_ENCODING) { &[][..] } else { body };
    let answer = ErrorAnswer { status: error::cause(status, body), resource_type: interaction.resource_type };
    let outcome = error::outcome(answer, body).of_request(&call.id.to_string());
    let format = call.negotiated.errors;
    for name in &DROPPED {
        head.remove_header(name);
    }
    let status = StatusCode::from_u16(error::status(answer.status)).unwrap_or(StatusCode::BAD_GATEWAY);
    head.set_status(status).expect("a StatusCode is a status");
    complete_retry_after(head);
    head.set(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    head.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Bytes::from(outcome.write(format))
}

/// Returns what kind of body this is, in words of the gateway's own.
fn kind(head: &ResponseHeader, body: &[u8]) -> &'static str {
    let begins = |text: &[u8]| body.trim_ascii_start().get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    match head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::trim) {
        _ if head.headers.contains_key(CONTENT_ENCODING) => "a compressed body",
        _ if body.is_empty() => "an empty body",
        _ if begins(b"{") || begins(b"[") => "a JSON body",
        _ if begins(b"<!doctype html") || begins(b"<html") => "an HTML page",
        Some(kind) if kind.starts_with("text/html") => "an HTML page",
        _ => "a body",
    }
}
