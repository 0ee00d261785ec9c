//! Towards OpenEMR: which node and which connection a try gets, and what becomes of a connection that fails.
//!
//! Decision: `docs/decisions/02-repeated-requests.md`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::Version;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};

use crate::fhir::interaction::Kind;
use crate::gateway::attempt::Attempt;
use crate::gateway::availability::Unreachable;
use crate::gateway::context::RequestContext;
use crate::gateway::destination::{Destination, FhirCall};
use crate::gateway::http2;
use crate::gateway::repeat::{Broken, NodeState, RepeatAt, may_repeat, repeat_at, was_refused};
use crate::nodes::NodeLease;
use crate::nodes::breaker::Health;
use crate::nodes::cause::is_no_connection;

/// Groups from here up belong to single connections, below to sites.
static NEXT_FRESH_GROUP: AtomicU64 = AtomicU64::new(1 << 32);

/// The peer of the next try of a request in this version of HTTP, at its node; where it has none, one is chosen. A request
/// that met a dead connection gets one that no other request has used: in a group of its own, the pool has none to offer.
///
/// # Errors
/// All nodes are ejected, or none of their names has ever been resolved.
pub(super) fn peer(version: Version, fhir: &FhirCall, attempt: &mut Attempt) -> Result<HttpPeer, Unreachable> {
    let site = &fhir.site;
    attempt.begun = Some(Instant::now());
    if attempt.node.is_none() {
        attempt.node = Some(NodeLease::take(&site.nodes, attempt.tried, Instant::now())?);
    }
    let mut peer = loop {
        let on = attempt.node.as_ref().ok_or(Unreachable::NoAddress)?;
        attempt.latest_node = Some(on.index());
        match on.node().fhir.peer() {
            Some(peer) => break peer,
            None => give_up_node(attempt, true),
        }
    };
    if attempt.repeats > 0 {
        peer.group_key = NEXT_FRESH_GROUP.fetch_add(1, Ordering::Relaxed);
    }
    if fhir.interaction.kind == Kind::Export {
        peer.options.read_timeout = Some(site.config.upstream.timeouts.export);
    }
    // Pingora would answer a client of HTTP/1.0 in chunks, and in HTTP/2 end a request without a body before the form.
    if site.config.upstream.connections.http2 && version != Version::HTTP_10 && !fhir.plan.adds_form {
        http2::offer(&mut peer);
    }
    Ok(peer)
}

/// After a connection that did not come about: tries the node's next address, then the next node, each once. Nothing
/// has been sent, so any request may go there.
pub(super) fn after_failed_connect(peer: &HttpPeer, attempt: &mut Attempt, error: &mut Error) {
    let Some(on) = &attempt.node else { return error.set_retry(false) };
    let origin = &on.node().fhir;
    origin.avoid(peer);
    attempt.failed_connects += 1;
    if attempt.failed_connects >= origin.address_count() {
        give_up_node(attempt, is_no_connection(error));
    }
    error.set_retry(attempt.node.is_some());
}

/// Moves on to a node that the request has not tried, if there is one.
fn give_up_node(attempt: &mut Attempt, is_its_fault: bool) {
    attempt.failed_connects = 0;
    let on = attempt.node.take();
    attempt.node = on.and_then(|on| on.unreachable(is_its_fault, &mut attempt.tried, Instant::now()));
}

/// The head of OpenEMR's answer has come: the node is alive, and what it took tells how busy OpenEMR is.
pub(super) fn after_head(head: &ResponseHeader, attempt: &mut Attempt) {
    match (&attempt.permit, attempt.upstream_time) {
        // The client has sent its body meanwhile, as fast as it liked.
        (Some(permit), Some(took)) if attempt.body_pace.is_some() => permit.kept(took),
        (Some(permit), Some(took)) => permit.answered(took, head.status),
        _ => {}
    }
    if let Some(on) = &mut attempt.node {
        on.answered(attempt.upstream_time, head.status.is_server_error());
    }
}

/// Decides whether a request is sent again after its exchange failed.
pub(super) fn decide_repeat(session: &Session, client_reused: bool, context: &mut RequestContext, error: &mut Error) {
    if context.attempt.take_try_again() {
        return error.set_retry(true);
    }
    let (attempt, fhir) = (&context.attempt, context.destination.fhir());
    if let Some(permit) = attempt.permit.as_ref().filter(|_| is_silence(error) && attempt.body_pace.is_none()) {
        permit.timed_out(attempt.sent.map(|sent| sent.elapsed()).unwrap_or_default());
    }
    // A 100 of the gateway's own is no part of the answer.
    let body_is_begun = fhir.is_some_and(|fhir| fhir.plan.body_is_begun);
    // What a client may repeat may be none of OpenEMR's to repeat.
    let clients = &session.req_header().method;
    let method = fhir.map_or(clients, |fhir| fhir.method_sent(clients)).clone();
    let is_answer = |head: &ResponseHeader| !(body_is_begun && head.status.is_informational());
    let broken = Broken {
        method: &method,
        was_pooled: client_reused,
        answer_begun: attempt.upstream_time.is_some() || session.response_written().is_some_and(is_answer),
        body_is_whole: !session.as_ref().retry_buffer_truncated(),
        was_refused: was_refused(error),
    };
    after_broken_connection(broken, context, error);
}

/// Whether OpenEMR took too long.
fn is_silence(error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout)
}

/// After a connection that broke: repeats a request once, if nobody can notice. Apache closes idle connections, and
/// each after a hundred requests, so that a pooled one can die while a request is written to it; and of several
/// nodes one can die.
fn after_broken_connection(broken: Broken<'_>, context: &mut RequestContext, error: &mut Error) {
    error.set_retry(false);
    let RequestContext { destination: Destination::Fhir(fhir), attempt, rejection: None, .. } = context else { return };
    let is_theirs = *error.esource() == ErrorSource::Upstream;
    if !is_theirs || attempt.repeats > 0 || !may_repeat(broken, fhir.interaction) {
        return;
    }
    let Some(on) = &attempt.node else { return };
    let mut others = attempt.tried;
    others.add(on.index());
    let state = NodeState {
        is_silent: matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout),
        is_healthy: on.node().health() == Health::Healthy,
        has_others: fhir.site.nodes.has_another(others),
    };
    match repeat_at(broken.was_pooled || broken.was_refused, state) {
        None => return,
        Some(RepeatAt::SameNode) => {}
        Some(RepeatAt::AnotherNode) => {
            attempt.tried = others;
            attempt.node = None;
            attempt.failed_connects = 0;
        }
    }
    attempt.repeats += 1;
    error.set_retry(true);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::runtime::Runtime;
    use http::Method;
    use std::sync::Arc;

    #[test]
    fn an_error_without_a_node_is_never_retried() {
        let mut context = RequestContext::new(Arc::new(Runtime::without_sites()), None);
        let broken =
            Broken { method: &Method::GET, was_pooled: true, answer_begun: false, body_is_whole: true, was_refused: false };
        for mut error in [Error::new_up(ErrorType::ReadError), Error::new_down(ErrorType::ReadError)] {
            after_broken_connection(broken, &mut context, &mut error);
            assert!(!error.retry());
        }
    }
}
