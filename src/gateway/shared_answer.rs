//! An answer of OpenEMR's that others wait for, while it passes.

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use pingora::http::ResponseHeader;

use crate::gateway::attempt::Attempt;
use crate::gateway::kept_body::KeptBody;
use crate::site::flights::{Landing, SharedAnswer};

/// The longest body that is shared, in bytes.
pub(super) const MOST: usize = 1024 * 1024;

/// What has come of such an answer. Dropped, it lets the others ask for themselves.
#[derive(Debug)]
pub(super) struct SharedPieces {
    landing: Landing,
    head: ResponseHeader,
    body: KeptBody,
}

/// Takes the head of OpenEMR's answer: from now on nobody can join. It is kept for those who have, if it may be shared.
#[must_use]
pub(super) fn begin(head: &ResponseHeader, has_no_body: bool, attempt: &mut Attempt) -> Option<SharedPieces> {
    let landing = attempt.leader.take()?.close()?;
    may_be_shared(head, has_no_body).then(|| SharedPieces { landing, head: head.clone(), body: KeptBody::default() })
}

/// Whether others can get the answer with this head.
#[must_use]
pub(super) fn may_be_shared(head: &ResponseHeader, has_no_body: bool) -> bool {
    head.status == StatusCode::OK && !has_no_body && head.headers.contains_key(CONTENT_TYPE)
}

/// Keeps a piece of the body, and gives the answer to those who wait for it at its end. One that is too long is dropped.
pub(super) fn take(shared: &mut Option<SharedPieces>, piece: Option<&Bytes>, end_of_stream: bool) {
    let Some(known) = shared else { return };
    known.body.push(piece.cloned().unwrap_or_default());
    let is_too_long = known.body.len() > MOST;
    if let Some(SharedPieces { landing, head, mut body }) = shared.take_if(|_| is_too_long || end_of_stream)
        && !is_too_long
    {
        landing.land(SharedAnswer { head, body: body.take() });
    }
}
