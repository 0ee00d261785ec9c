//! Sends an answer that was buffered, once the exchange with OpenEMR has ended.

use http::Method;
use pingora::Error;
use pingora::proxy::Session;

use crate::gateway::answer_body;
use crate::gateway::attempt::Attempt;
use crate::gateway::buffered_answer::{BufferedAnswer, Purpose, WholeAnswer};
use crate::gateway::call::Call;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::{Destination, FhirCall};
use crate::gateway::due::NotDue;
use crate::gateway::recording::{self, Ending};
use crate::gateway::stop::Stop;
use crate::gateway::{error_answer, recovery, rejection_answer, send, wire, write_answer};
use crate::http::fields::set_length;

/// Sends the buffered answer when the exchange ended because it came before its request was whole. False when it ended
/// otherwise; a buffered answer is then dropped.
pub(super) async fn after_early_end(session: &mut Session, error: &Error, context: &mut RequestContext) -> bool {
    context.answer.held = None;
    let Some(buffered) = context.answer.buffered.take().filter(|_| recovery::ended_early(error)) else { return false };
    if let Destination::Fhir(fhir) = &mut context.destination {
        // The client may be gone by now; there is nobody to tell.
        let _ = send(session, buffered, &context.call, fhir, &context.attempt).await;
    }
    true
}

/// Sends the buffered answer after its end, if there is one.
pub(super) async fn after_end(session: &mut Session, context: &mut RequestContext) {
    if context.answer.held.take().is_some_and(|held| held.came().is_none()) {
        // An HTTP/2 answer ended with its head.
        let _ = rejection_answer::send(session, NotDue::Nothing.into(), context).await;
        return;
    }
    let Some(buffered) = context.answer.buffered.take() else { return };
    let Destination::Fhir(fhir) = &mut context.destination else { return };
    let RequestContext { call, attempt, answer, .. } = context;
    // Where Pingora showed no body, the refusal was judged from the head alone, and is not repeated any more.
    let is_refusal = !buffered.is_judged() && buffered.status() == http::StatusCode::UNAUTHORIZED;
    let judged = if is_refusal { recovery::after_unauthorized(session, false, fhir, attempt, answer) } else { Ok(()) };
    // The client may be gone by now; there is nobody to tell.
    let _ = match judged {
        Err(Stop::Rejected(rejection)) => {
            answer.reason = Some(rejection.reason);
            let answer = rejection_answer::of_fhir(rejection, call);
            recording::own_answer(session, call, fhir, &answer);
            send::answer(session, answer, call, fhir.site.cors.as_ref()).await
        }
        Ok(()) | Err(Stop::Answered(_) | Stop::Gone(_)) => send(session, buffered, call, fhir, attempt).await,
    };
}

/// Sends a whole answer through the same filters as one that was not buffered.
async fn send(
    session: &mut Session,
    buffered: BufferedAnswer,
    call: &Call,
    fhir: &mut FhirCall,
    attempt: &Attempt,
) -> pingora::Result<()> {
    let WholeAnswer { mut head, body, purpose } = buffered.into_whole(attempt.token_text());
    session.set_ignore_info_resp(false);
    let body = match purpose {
        Purpose::Unchanged => body,
        Purpose::Error => {
            let body = write_answer::of_unknown_id(&mut head, body, call, fhir).await;
            error_answer::translate(&mut head, &body, call, fhir.interaction)
        }
        Purpose::Created => write_answer::of_create(session.req_header(), &mut head, body, call, fhir).await,
    };
    set_length(&mut head, body.len());
    let mut filters = answer_body::prepare(session, &mut head, call, fhir, false);
    let mut body = Some(body);
    filters.pass(&mut body, true);
    recording::progress(session, call, fhir, &mut filters, true);
    let body = body.unwrap_or_default();
    set_length(&mut head, body.len());
    let body_is_left = !session.is_body_done();
    if body_is_left {
        session.set_keepalive(None);
    }
    let head_only = session.req_header().method == Method::HEAD;
    let bytes = if head_only { 0 } else { body.len() };
    recording::answered(session, call, fhir, Ending { status: Some(head.status), bytes, is_whole: true });
    session.write_response_header(head, head_only).await?;
    if !head_only {
        wire::set_write_deadline(session, body.len(), false, &call.config().limits);
        session.write_response_body(Some(body), true).await?;
    }
    if body_is_left {
        send::linger(session).await;
    }
    Ok(())
}
