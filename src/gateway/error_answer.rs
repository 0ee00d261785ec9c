//! An error answer of OpenEMR's on its way to the caller: as an OperationOutcome, in the format that he accepts.

use bytes::Bytes;
use http::HeaderName;
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, ETAG,
    EXPIRES, LAST_MODIFIED, LINK, LOCATION, PROXY_AUTHENTICATE, VARY, WWW_AUTHENTICATE,
};
use log::debug;
use pingora::http::ResponseHeader;

use crate::gateway::context::RequestContext;
use crate::openemr::error::{self, ErrorAnswer};

/// So much of OpenEMR's words goes to the log.
const MOST_LOGGED: usize = 4096;

/// What is about the body that OpenEMR sent, or about the gateway's own credentials.
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

/// The OperationOutcome in place of an error's body; makes the head say so. OpenEMR's own words go to the log, at level debug.
///
/// # Errors
/// None in practice: the fields that are set are valid.
pub(super) fn translate(head: &mut ResponseHeader, body: &[u8], context: &RequestContext) -> pingora::Result<Bytes> {
    let status = head.status.as_u16();
    let words = body.get(..MOST_LOGGED).unwrap_or(body);
    debug!("request {}: OpenEMR answered {status}: {:?}", context.id, String::from_utf8_lossy(words));
    // What is compressed is not read.
    let body = if head.headers.contains_key(CONTENT_ENCODING) { &[][..] } else { body };
    let resource_type = context.interaction.and_then(|interaction| interaction.resource_type);
    let outcome = error::outcome(ErrorAnswer { status, resource_type }, body).of_request(&context.id.to_string());
    let format = context.negotiated.errors;
    for name in &DROPPED {
        head.remove_header(name);
    }
    head.set_status(StatusCode::from_u16(error::status(status)).unwrap_or(StatusCode::BAD_GATEWAY))?;
    head.insert_header(CONTENT_TYPE, format.content_type())?;
    head.insert_header(CACHE_CONTROL, "no-store")?;
    Ok(Bytes::from(outcome.write(format)))
}
