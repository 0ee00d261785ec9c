//! Towards OpenEMR: which node and which connection a try gets, and when a request is sent again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Version};
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};

use crate::fhir::interaction::{Interaction, Kind, is_repeatable};
use crate::gateway::context::RequestContext;
use crate::gateway::failure::Failure;
use crate::gateway::http2;
use crate::nodes::breaker::Health;
use crate::nodes::cause::is_no_connection;
use crate::nodes::{NoNode, NodeLease};

/// Groups from here up belong to single connections, below to sites.
static NEXT_FRESH_GROUP: AtomicU64 = AtomicU64::new(1 << 32);

/// The peer of the next try of a request in this version of HTTP, at its node; where it has none, one is chosen. A request that met a dead
/// connection gets one that nobody has used: in a group of its own, the pool has none to offer.
///
/// # Errors
/// When all nodes are out, or no name of theirs has ever been resolved.
pub fn peer(version: Version, context: &mut RequestContext) -> Result<HttpPeer, Failure> {
    let nodes = &context.site().ok_or(Failure::NoAddress)?.nodes;
    if context.node.is_none() {
        context.node = Some(NodeLease::take(nodes, context.tried, Instant::now()).map_err(|none| match none {
            NoNode::AllOut(wait) => Failure::AllOut(wait),
            // The one that it was to be repeated on has gone out since.
            NoNode::NoneLeft => Failure::AllOut(Duration::ZERO),
        })?);
    }
    let mut peer = loop {
        let Some(on) = &context.node else { return Err(Failure::NoAddress) };
        match on.node().fhir.peer() {
            Some(peer) => break peer,
            None => give_up_node(context, true),
        }
    };
    if context.repeats > 0 {
        peer.group_key = NEXT_FRESH_GROUP.fetch_add(1, Ordering::Relaxed);
    }
    let Some(site) = context.site() else { return Ok(peer) };
    if context.interaction.is_some_and(|interaction| interaction.kind == Kind::Export) {
        peer.options.read_timeout = Some(site.config.timeouts.export);
    }
    // Pingora would answer a caller of HTTP/1.0 in chunks.
    if site.config.connections.http2 && version != Version::HTTP_10 {
        http2::offer(&mut peer);
    }
    Ok(peer)
}

/// After a connection that did not come about: tries the node's next address, then the next node, each once. Nothing
/// has been sent, so any request may go there.
pub fn after_failed_connect(peer: &HttpPeer, context: &mut RequestContext, error: &mut Error) {
    let Some(on) = &context.node else { return error.set_retry(false) };
    let origin = &on.node().fhir;
    origin.avoid(peer);
    context.failed_connects += 1;
    if context.failed_connects >= origin.address_count() {
        give_up_node(context, is_no_connection(error));
    }
    error.set_retry(context.node.is_some());
}

/// Moves on to a node that the request has not tried, if there is one.
fn give_up_node(context: &mut RequestContext, is_its_fault: bool) {
    context.failed_connects = 0;
    let on = context.node.take();
    context.node = on.and_then(|on| on.unreachable(is_its_fault, &mut context.tried, Instant::now()));
}

/// The head of OpenEMR's answer is there: the node is alive.
pub fn after_head(head: &ResponseHeader, context: &mut RequestContext) {
    if let Some(on) = &mut context.node {
        on.answered(context.upstream_time, head.status.is_server_error());
    }
}

/// How a connection broke on which a request had been sent, or was being sent.
#[derive(Debug, Clone, Copy)]
pub struct Broken<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// Whether the connection had served another request before.
    pub was_pooled: bool,
    /// Whether anything of an answer came.
    pub answer_begun: bool,
    /// Whether all of the body that was read so far can be sent again.
    pub body_is_whole: bool,
    /// Whether OpenEMR's web server said that it has not looked at the request (RFC 9113 section 8.7).
    pub was_refused: bool,
}

/// What is known of the node whose connection broke.
#[derive(Debug, Clone, Copy)]
struct Sight {
    /// Nothing came, but the connection stood.
    is_silent: bool,
    is_in: bool,
    has_others: bool,
}

/// Where a request goes a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    ToAnotherNode,
    ToTheSame,
}

/// After a connection that broke: repeats a request once, if nobody can notice. Apache closes idle connections, and
/// each after a hundred requests, so that a pooled one can die while a request is written to it; and of several
/// nodes one can die.
pub fn after_broken_connection(broken: Broken<'_>, context: &mut RequestContext, error: &mut Error) {
    error.set_retry(false);
    let is_theirs = *error.esource() == ErrorSource::Upstream;
    if !is_theirs || context.repeats > 0 || context.failure.is_some() || !may_repeat(broken, context.interaction) {
        return;
    }
    let (Some(on), Some(site)) = (&context.node, context.site()) else { return };
    let mut others = context.tried;
    others.add(on.index());
    let sight = Sight {
        is_silent: matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout),
        is_in: on.node().health() == Health::Healthy,
        has_others: site.nodes.has_another(others),
    };
    match again(broken.was_pooled || broken.was_refused, sight) {
        None => return,
        Some(Again::ToTheSame) => {}
        Some(Again::ToAnotherNode) => {
            context.tried = others;
            context.node = None;
            context.failed_connects = 0;
        }
    }
    context.repeats += 1;
    error.set_retry(true);
}

/// Whether Pingora has heard that the request was not looked at: its stream was refused, or its connection told to end
/// before it, or the server wants HTTP/1.1.
#[must_use]
pub fn was_refused(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::H2Error | ErrorType::H2Downgrade) && error.retry()
}

fn may_repeat(broken: Broken<'_>, interaction: Option<Interaction>) -> bool {
    !broken.answer_begun && broken.body_is_whole && (broken.was_refused || is_repeatable(broken.method, interaction))
}

/// Whether there is a better connection for a second try. A node that is merely slow keeps its request, or a slow search
/// would be worked on twice; one that turned out to be dead meanwhile does not. A fresh connection to the only node
/// that breaks is OpenEMR's own trouble.
fn again(was_pooled: bool, sight: Sight) -> Option<Again> {
    match sight {
        Sight { is_silent: true, is_in: true, .. } => None,
        Sight { has_others: true, .. } => Some(Again::ToAnotherNode),
        Sight { is_silent: false, has_others: false, .. } if was_pooled => Some(Again::ToTheSame),
        Sight { has_others: false, .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_notices_is_sent_again() {
        fn broken(method: &Method, answer_begun: bool, body_is_whole: bool) -> Broken<'_> {
            Broken { method, was_pooled: true, answer_begun, body_is_whole, was_refused: false }
        }
        fn may(method: &Method, path: &str) -> bool {
            may_repeat(broken(method, false, true), Some(Interaction::of(method, path.as_bytes())))
        }
        let refused = Broken { was_refused: true, ..broken(&Method::POST, false, true) };
        assert!(may_repeat(refused, None) && !may_repeat(Broken { body_is_whole: false, ..refused }, None));
        assert!(may(&Method::GET, "/Patient") && may(&Method::POST, "/Patient/_search"));
        assert!(!may(&Method::POST, "/Patient") && !may(&Method::PUT, "/Patient/1") && !may(&Method::GET, "/Patient/$export"));
        assert!(!may_repeat(broken(&Method::GET, true, true), None), "the caller has seen a part of the answer");
        assert!(!may_repeat(broken(&Method::GET, false, false), None), "a part of the body is gone");
    }

    #[test]
    fn a_second_try_goes_where_it_can_succeed() {
        let sight = |is_silent, is_in, has_others| Sight { is_silent, is_in, has_others };
        for (was_pooled, seen, expected) in [
            (true, sight(false, true, false), Some(Again::ToTheSame)),
            // Its own trouble.
            (false, sight(false, true, false), None),
            (false, sight(false, true, true), Some(Again::ToAnotherNode)),
            (true, sight(false, false, true), Some(Again::ToAnotherNode)),
            // Slow.
            (true, sight(true, true, true), None),
            (true, sight(true, true, false), None),
            // Found dead while the request waited.
            (false, sight(true, false, true), Some(Again::ToAnotherNode)),
            (true, sight(true, false, false), None),
        ] {
            assert_eq!(again(was_pooled, seen), expected, "{was_pooled} {seen:?}");
        }
    }

    #[test]
    fn an_error_without_a_node_is_never_retried() {
        let mut context = RequestContext::alone();
        let broken =
            Broken { method: &Method::GET, was_pooled: true, answer_begun: false, body_is_whole: true, was_refused: false };
        for mut error in [Error::new_up(ErrorType::ReadError), Error::new_down(ErrorType::ReadError)] {
            after_broken_connection(broken, &mut context, &mut error);
            assert!(!error.retry());
        }
    }
}
