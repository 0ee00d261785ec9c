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
use crate::http::set_field::SetField;
use crate::openemr::error::{self, ErrorAnswer};

/// The most bytes of OpenEMR's own words that go to the log.
const MOST_LOGGED: usize = 4096;

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

/// Returns the OperationOutcome in place of an error's body, and changes the head accordingly. OpenEMR's own words go to the
/// log, at level debug.
pub(super) fn translate(head: &mut ResponseHeader, body: &[u8], call: &Call, interaction: Interaction) -> Bytes {
    let status = head.status.as_u16();
    let words = body.get(..MOST_LOGGED).unwrap_or(body);
    debug!("request {}: OpenEMR answered {status}: {:?}", call.id, String::from_utf8_lossy(words));
    // What is compressed is not read.
    let body = if head.headers.contains_key(CONTENT_ENCODING) { &[][..] } else { body };
    let answer = ErrorAnswer { status, resource_type: interaction.resource_type };
    let outcome = error::outcome(answer, body).of_request(&call.id.to_string());
    let format = call.negotiated.errors;
    for name in &DROPPED {
        head.remove_header(name);
    }
    let status = StatusCode::from_u16(error::status(status)).unwrap_or(StatusCode::BAD_GATEWAY);
    head.set_status(status).expect("a StatusCode is a status");
    head.set(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    head.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Bytes::from(outcome.write(format))
}
