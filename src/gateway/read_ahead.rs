//! Reads the body of a request before the request goes on: the one place that does.
//!
//! A client that waits for "100 Continue" before it sends its body (RFC 9110 section 10.1.1) gets it here, because OpenEMR,
//! who would say it, is not asked before the body is known.
//!
//! Decision: `docs/decisions/17-request-bodies.md`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::EXPECT;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use tokio::time::timeout;

use crate::http::fields::content_length;

/// The most of a body, in bytes, that Pingora keeps for another try.
pub(super) const RETRY_BUFFER: usize = 64 * 1024;

/// The body is longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Whether the head declares a body that Pingora keeps whole.
#[must_use]
pub(super) fn is_kept(session: &Session) -> bool {
    content_length(&session.req_header().headers).is_some_and(|length| length <= RETRY_BUFFER as u64)
}

/// Whether the client waits for "100 Continue" before it sends its body. HTTP/1.0 does not know it.
#[must_use]
pub(super) fn awaits_continue(session: &Session) -> bool {
    session.req_header().version != Version::HTTP_10 && session.get_header(EXPECT).is_some()
}

/// Reads a body whole, up to `most` bytes, within `within`. Pingora keeps up to [`RETRY_BUFFER`] of it, and sends that.
///
/// A body takes a packet or two: a client that sends it byte by byte has no longer for all of them than another client
/// has for one. A body that was read before is given again.
///
/// # Errors
/// The client is gone or too slow; the inner: the body is too long.
pub(super) async fn read(session: &mut Session, most: usize, within: Duration) -> pingora::Result<Result<Bytes, TooLong>> {
    if content_length(&session.req_header().headers).is_some_and(|length| length > most as u64) {
        return Ok(Err(TooLong));
    }
    if session.is_body_done() {
        return Ok(Ok(session.as_ref().get_retry_buffer().unwrap_or_default()));
    }
    session.as_mut().enable_retry_buffering();
    if awaits_continue(session) {
        session.as_mut().write_continue_response().await.map_err(|error| error.into_down())?;
    }
    let read = timeout(within, read_whole(session, most)).await;
    let read = read.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "reading a body ahead"));
    read.map_err(|error| error.into_down())
}

async fn read_whole(session: &mut Session, most: usize) -> pingora::Result<Result<Bytes, TooLong>> {
    let mut body = BytesMut::new();
    while let Some(piece) = session.as_mut().read_request_body().await? {
        if body.len() + piece.len() > most {
            return Ok(Err(TooLong));
        }
        body.extend_from_slice(&piece);
    }
    Ok(Ok(body.freeze()))
}
