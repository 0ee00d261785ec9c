//! The way in to OpenEMR: no more requests at once than it can take.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::time::{Duration, Instant};

use log::debug;
use pingora::proxy::Session;

use crate::fhir::interaction::Kind;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::rate;
use crate::gateway::stop::Step;
use crate::limits::class::Class;
use crate::nodes::in_flight::{Entry, Flow, Ticket, Waited};
use crate::site::prepared::Site;

/// Why a request gets no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPermit {
    /// As many requests wait for OpenEMR as may; there may be room after this long.
    #[error("the wait queue, or the client's part of it, is full (in_flight.queue, in_flight.most_of_a_client)")]
    QueueFull(Duration),
    /// The client's requests wait for too long already; fewer may wait after this long.
    #[error("the client's queue does not get shorter (in_flight.queue_target)")]
    CutOff(Duration),
    /// No permit came within this long.
    #[error("no permit within {} ms (in_flight.queue_timeout)", .0.as_millis())]
    TimedOut(Duration),
}

impl From<NoPermit> for Rejection {
    fn from(none: NoPermit) -> Self {
        match none {
            NoPermit::QueueFull(wait) => {
                Self::unavailable(Reason::QueueFull, wait, "OpenEMR is busy, and too many requests wait for it already.")
            }
            NoPermit::CutOff(wait) => {
                Self::unavailable(Reason::QueueCut, wait, "OpenEMR is busy, and too many of your requests wait for it already.")
            }
            NoPermit::TimedOut(wait) => {
                Self::unavailable(Reason::QueueTimeout, wait, "OpenEMR is busy: the request waited for its turn too long.")
            }
        }
        .because(none)
    }
}

/// Acquires the permit to be in flight, unless the request has it; waits in the queue while the site is at its limit. As much
/// of the body as Pingora keeps has been read by then.
///
/// # Errors
/// The site's rate is used up, the queue is full, the wait took too long, or the client is gone.
pub(super) async fn enter(session: &mut Session, call: &Call, fhir: &FhirCall, attempt: &mut Attempt) -> Step {
    if attempt.permit.is_some() {
        return Ok(());
    }
    rate::check_site(call, fhir).await?;
    let in_flight = fhir.site.nodes.in_flight();
    let (flow, class, now) = (flow(call, fhir), class(fhir), Instant::now());
    let has_been_in = attempt.refused_token.renewals > 0;
    let entry = if has_been_in { in_flight.return_to(flow, class, now) } else { in_flight.enter(flow, class, now) };
    let ticket = match entry {
        Entry::Admitted(permit) => {
            attempt.permit = Some(permit);
            return Ok(());
        }
        Entry::Full => return Err(NoPermit::QueueFull(in_flight.free_in(flow, now)).into()),
        Entry::Queued(ticket) => ticket,
    };
    debug!(request_id:% = call.id; "waits until OpenEMR has room");
    let waited = turn_or_hang_up(session, ticket).await;
    attempt.note_queued(now);
    match waited? {
        Waited::Admitted(permit) => attempt.permit = Some(permit),
        Waited::CutOff => return Err(NoPermit::CutOff(in_flight.free_in(flow, Instant::now())).into()),
        // Its own wait is what is known best.
        Waited::TimedOut => return Err(NoPermit::TimedOut(in_flight.configured().queue_timeout).into()),
    }
    // The token that the request came with may have expired by now.
    if let Some(newer) = fhir.site.token.usable(Instant::now()) {
        attempt.token = Some(newer);
    }
    Ok(())
}

/// Who shares OpenEMR with others by this request: its client, or the exports, whose files are theirs.
fn flow(call: &Call, fhir: &FhirCall) -> Flow {
    if fhir.interaction.kind == Kind::Export || fhir.plan.own_file.is_some() {
        return Flow::Exports;
    }
    client(call, &fhir.site)
}

/// The client of a request, as it shares the site's OpenEMR with others.
#[must_use]
pub(super) fn client(call: &Call, site: &Site) -> Flow {
    site.nodes.in_flight().client(call.caller.client.as_deref(), call.trace.client().address())
}

/// What it is that OpenEMR is asked for.
fn class(fhir: &FhirCall) -> Class {
    Class::of(fhir.interaction, fhir.plan.form.as_deref().unwrap_or(fhir.query_sent()))
}

/// Waits for a turn. A client that hangs up meanwhile is noticed, unless a part of its body is still to be read.
async fn turn_or_hang_up(session: &mut Session, ticket: Ticket) -> pingora::Result<Waited> {
    if !session.is_body_done() {
        return Ok(ticket.wait().await);
    }
    tokio::select! {
        waited = ticket.wait() => Ok(waited),
        // Behind the end of a body there is nothing to read but the end of the connection.
        gone = session.as_mut().read_body_or_idle(true) => gone.map(|_| Waited::TimedOut).map_err(|error| error.into_down()),
    }
}
