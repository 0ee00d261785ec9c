//! Reads the body of a request before the request goes on: the one place that does.
//!
//! A client that waits for "100 Continue" before it sends its body (RFC 9110 section 10.1.1) gets it here, because OpenEMR,
//! who would say it, is not asked before the body is known.
//!
//! Decision: `docs/decisions/17-request-bodies.md`.

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::EXPECT;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use tokio::time::timeout;

use crate::config::Limits;
use crate::gateway::pace::Pace;
use crate::http::fields::content_length;

/// The most of a body, in bytes, that Pingora keeps for another try.
pub(super) const RETRY_BUFFER: usize = 64 * 1024;
/// The most bytes that one read of a client's connection gives: the size of an HTTP/2 frame, too.
pub(crate) const LONGEST_READ: usize = 16 * 1024;
/// The most bytes that one piece of a body has: a read, behind the longest beginning of a chunk that Pingora keeps.
const LONGEST_PIECE: usize = LONGEST_READ + 8 * 1024;

/// What of a body was read before the request goes on.
#[derive(Debug)]
pub(super) enum Ahead {
    /// All of it.
    Whole(Bytes),
    /// As much as Pingora keeps; the rest comes while the request is in flight.
    Begun,
}

/// The body is longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Whether the client waits for "100 Continue" before it sends its body. HTTP/1.0 does not know it.
#[must_use]
pub(super) fn awaits_continue(session: &Session) -> bool {
    session.req_header().version != Version::HTTP_10 && session.get_header(EXPECT).is_some()
}

/// Reads a body whole, up to `most` bytes. Pingora keeps up to [`RETRY_BUFFER`] of it, and sends that. A body that was read
/// before is given again.
///
/// # Errors
/// The client is gone or too slow; the inner: the body is too long.
pub(super) async fn read(session: &mut Session, most: usize, limits: &Limits) -> pingora::Result<Result<Bytes, TooLong>> {
    if declared(session).is_some_and(|length| length > most as u64) {
        return Ok(Err(TooLong));
    }
    if session.is_body_done() {
        return Ok(Ok(kept(session)));
    }
    begin(session).await?;
    within(limits, expected(session, most), read_whole(session, most)).await
}

/// Reads as much of a body as Pingora keeps, and no piece more, because it would then keep nothing.
///
/// # Errors
/// The client is gone or too slow.
pub(super) async fn read_kept(session: &mut Session, limits: &Limits) -> pingora::Result<Ahead> {
    if !session.is_body_done() {
        begin(session).await?;
        within(limits, expected(session, RETRY_BUFFER), read_pieces(session)).await?;
    }
    Ok(if session.is_body_done() { Ahead::Whole(kept(session)) } else { Ahead::Begun })
}

async fn begin(session: &mut Session) -> pingora::Result<()> {
    session.as_mut().enable_retry_buffering();
    if awaits_continue(session) {
        session.as_mut().write_continue_response().await.map_err(|error| error.into_down())?;
    }
    Ok(())
}

/// Ends a read that takes longer than `read_timeout` and what so many bytes need at the least rate: a client that sends its
/// body byte by byte has no longer for all of them than that.
async fn within<T>(limits: &Limits, most: usize, read: impl Future<Output = pingora::Result<T>>) -> pingora::Result<T> {
    let longest = limits.read_timeout + Pace::time_for(most, limits.least_rate);
    let read = timeout(longest, read).await;
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

async fn read_pieces(session: &mut Session) -> pingora::Result<()> {
    let is_short = declared(session).is_some_and(|length| length <= RETRY_BUFFER as u64);
    let mut length = 0;
    while is_short || length + LONGEST_PIECE <= RETRY_BUFFER {
        match session.as_mut().read_request_body().await? {
            Some(piece) => length += piece.len(),
            None => break,
        }
    }
    Ok(())
}

fn declared(session: &Session) -> Option<u64> {
    content_length(&session.req_header().headers)
}

/// How much of the body is read.
fn expected(session: &Session, most: usize) -> usize {
    declared(session).and_then(|length| usize::try_from(length).ok()).map_or(most, |length| length.min(most))
}

fn kept(session: &Session) -> Bytes {
    session.as_ref().get_retry_buffer().unwrap_or_default()
}
