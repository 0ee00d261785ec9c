//! The head of an answer that is held back until its body tells that it may go on.
//!
//! Pingora sends a head on before it shows the body. So such a head is replaced by an informational one that is not sent. Once the
//! body is known, the head goes out in front of its first piece: on HTTP/2 at once, on HTTP/1 through Pingora's queue, which
//! takes what is to be sent without waiting for it.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::proxy::Session;

use crate::fhir::body_step::Verdict;
use crate::gateway::answer_state::AnswerState;
use crate::gateway::context::RequestContext;
use crate::gateway::stop::Step;
use crate::gateway::{rejection_answer, request_log};
use crate::http::set_field::SetField;

/// Holds a head back while the filters of its body do not know whether the answer may go on.
pub(super) fn hold(session: &mut Session, head: &mut ResponseHeader, answer: &mut AnswerState) {
    if answer.filters.verdict() != Verdict::Undecided {
        return;
    }
    session.set_ignore_info_resp(true);
    let unsent = ResponseHeader::build(StatusCode::EARLY_HINTS, Some(0)).expect("103 is a status");
    let mut held = Box::new(std::mem::replace(head, unsent));
    // What Pingora does with every head that it sends itself.
    held.set_version(Version::HTTP_11);
    if session.req_header().version != Version::HTTP_10 && !held.headers.contains_key(CONTENT_LENGTH) {
        held.set(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    answer.held = Some(held);
}

/// After a piece of the body has passed its filters: sends the head that was held back, if the answer may go on, and the piece behind
/// it.
///
/// # Errors
/// The answer may not go on. Where its head has gone out, the client sees that it is not whole.
pub(super) fn pass(session: &mut Session, body: &mut Option<Bytes>, end_of_stream: bool, answer: &mut AnswerState) -> Step {
    match answer.filters.verdict() {
        Verdict::Good => {}
        Verdict::Undecided => return Ok(()),
        Verdict::Bad(broken) => return Err(broken.into()),
    }
    if let Some(head) = answer.held.take() {
        match session.as_mut() {
            ServerSession::H2(session) => session.write_response_header(head, false)?,
            ServerSession::H1(session) => {
                session.set_proxy_tasks_enabled(true);
                session.send_proxy_task(HttpTask::Header(head, false));
            }
            ServerSession::Subrequest(_) | ServerSession::Custom(_) => {}
        }
    }
    if let ServerSession::H1(session) = session.as_mut()
        && session.has_pending_proxy_tasks()
    {
        session.send_proxy_task(HttpTask::Body(body.take(), end_of_stream));
    }
    Ok(())
}

/// Sends what waits in the queue after the last piece. A head that is still held back belongs to an answer without a body.
pub(super) async fn after_end(session: &mut Session, has_failed: bool, context: &mut RequestContext) {
    if has_failed {
        return;
    }
    if context.answer.held.take().is_some() {
        context.answer.filters.pass(&mut None, true);
        let Verdict::Bad(broken) = context.answer.filters.verdict() else { return };
        let rejection = broken.into();
        request_log::rejected(&rejection, context);
        // The client may be gone by now; there is nobody to tell.
        let _ = rejection_answer::send(session, rejection, context).await;
    }
    if session.has_pending_downstream_tasks() && session.write_downstream_proxy_tasks().await.is_err() {
        session.set_keepalive(None);
    }
}
