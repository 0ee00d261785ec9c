//! The way in to OpenEMR: no request goes there while its nodes are out, nor more at once than it can take.

use std::time::Instant;

use log::debug;
use pingora::proxy::Session;

use crate::gateway::context::RequestContext;
use crate::gateway::failure::Failure;
use crate::http::fields::content_length;
use crate::nodes::in_flight::{Entry, Permit, Ticket};

/// What Pingora keeps of a request's body for a second try.
pub(super) const RETRY_BUFFER: u64 = 64 * 1024;

/// Refuses a request at once when no node can be reached.
///
/// # Errors
/// [`Failure::AllOut`].
pub fn refuse_when_all_are_out(context: &RequestContext) -> Result<(), Failure> {
    match context.site().and_then(|site| site.nodes.rejects_for(Instant::now())) {
        Some(wait) => Err(Failure::AllOut(wait)),
        None => Ok(()),
    }
}

/// Takes the right to be in flight, unless the request has it; waits in line where there is no room. A request waits
/// before its body is read, except for a body that Pingora will have kept: that much is read ahead, because it is
/// how a caller who hangs up is noticed.
///
/// # Errors
/// The outer: the caller is gone. The inner: the line is full, or it took too long.
pub async fn take_turn(session: &mut Session, context: &mut RequestContext) -> pingora::Result<Result<(), Failure>> {
    let Some(site) = context.site().filter(|_| context.permit.is_none()) else { return Ok(Ok(())) };
    let in_flight = site.nodes.in_flight();
    let wait = in_flight.limit().queue_timeout;
    let has_been_in = context.recovery.renewals > 0;
    let entry = if has_been_in { in_flight.return_to(Instant::now()) } else { in_flight.enter(Instant::now()) };
    let ticket = match entry {
        Entry::Admitted(permit) => {
            context.permit = Some(permit);
            return Ok(Ok(()));
        }
        Entry::Full => return Ok(Err(Failure::QueueFull(wait))),
        Entry::Queued(ticket) => ticket,
    };
    debug!("request {}: waits until OpenEMR has room", context.id);
    let Some(permit) = turn_or_hang_up(session, ticket).await? else { return Ok(Err(Failure::QueueTimeout(wait))) };
    // The token that it came with may be at its end by now.
    if let Some(newer) = context.site().and_then(|site| site.token.usable(Instant::now())) {
        context.token = Some(newer);
    }
    context.permit = Some(permit);
    Ok(Ok(()))
}

async fn turn_or_hang_up(session: &mut Session, ticket: Ticket) -> pingora::Result<Option<Permit>> {
    if !can_be_watched(session) {
        return Ok(ticket.permit().await);
    }
    session.as_mut().enable_retry_buffering();
    let turn = ticket.permit();
    tokio::pin!(turn);
    loop {
        let is_body_done = session.as_mut().is_body_done();
        tokio::select! {
            permit = &mut turn => return Ok(permit),
            // A piece of the body, which Pingora keeps; or, behind its end, that the caller is gone.
            read = session.as_mut().read_body_or_idle(is_body_done) => drop(read.map_err(|error| error.into_down())?),
        }
    }
}

/// Whether reading ahead loses nothing.
fn can_be_watched(session: &mut Session) -> bool {
    if session.as_mut().is_body_done() {
        return true;
    }
    content_length(&session.req_header().headers).is_some_and(|length| length <= RETRY_BUFFER)
}
