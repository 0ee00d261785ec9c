//! Sends whole answers to the client: the gateway's own, and OpenEMR's that were buffered.

use std::time::Duration;

use http::Method;
use http::header::EXPECT;
use pingora::proxy::Session;

use crate::gateway::call::Call;
use crate::gateway::trace::X_REQUEST_ID;
use crate::gateway::{cors, rate, wire};
use crate::http::answer::Answer;
use crate::http::answer_protection::protect;
use crate::http::fields::content_length;
use crate::http::parts::edit_response;
use crate::site::cors::Policy;

/// How long a body that nobody wants is still read, so that its sender sees the answer before a reset.
const LINGER: Duration = Duration::from_secs(2);
/// A body up to this, in bytes, is read to its end for the sake of its connection.
const SHORT: u64 = 64 * 1024;

/// Sends an answer of the gateway's own. A HEAD request gets the head alone.
///
/// # Errors
/// The client is gone.
pub(super) async fn answer(session: &mut Session, answer: Answer, call: &Call, policy: Option<&Policy>) -> pingora::Result<()> {
    let (mut head, body) = answer.into_parts();
    edit_response(&mut head, |head| {
        head.headers.insert(&X_REQUEST_ID, call.id.header_value());
        rate::mark(&mut head.headers, call);
        protect(head);
        cors::mark(session.req_header(), head, policy);
    });
    let body_is_left = !session.is_body_done() && !drain_short_body(session).await;
    if body_is_left {
        session.set_keepalive(None);
    }
    let body = body.filter(|_| session.req_header().method != Method::HEAD);
    session.write_response_header(head, body.is_none()).await?;
    if let Some(body) = body {
        wire::set_write_deadline(session, body.len(), false, &call.config().limits);
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

/// Reads what is left of a body that nobody wants. A client that waits for "100 Continue" will not send it any more.
pub(super) async fn linger(session: &mut Session) {
    if session.get_header(EXPECT).is_none() {
        let _ = tokio::time::timeout(LINGER, session.drain_request_body()).await;
    }
}
