//! When a request is sent again after its connection broke, and where to: pure decisions.
//!
//! Decision: `docs/decisions/02-repeated-requests.md`.

use http::Method;
use pingora::{Error, ErrorType};

use crate::fhir::interaction::{Interaction, is_repeatable};

/// How a connection broke on which a request had been sent, or was being sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken<'a> {
    /// The method with which it goes to OpenEMR.
    pub(super) method: &'a Method,
    /// Whether the connection had served another request before.
    pub(super) was_pooled: bool,
    /// Whether anything of an answer came.
    pub(super) answer_begun: bool,
    /// Whether all of the body that was read so far can be sent again.
    pub(super) body_is_whole: bool,
    /// Whether OpenEMR's web server said that it has not looked at the request (RFC 9113 section 8.7).
    pub(super) was_refused: bool,
}

/// What is known of the node whose connection broke.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeState {
    /// Nothing came, but the connection stood.
    pub(super) is_silent: bool,
    /// The node is healthy, as far as is known.
    pub(super) is_healthy: bool,
    /// The site has another node that can be tried.
    pub(super) has_others: bool,
}

/// Where a request goes a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RepeatAt {
    AnotherNode,
    SameNode,
}

/// Whether the server has said that it did not process the request: it refused the stream, ended the connection before it,
/// or wants HTTP/1.1.
#[must_use]
pub(super) fn was_refused(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::H2Error | ErrorType::H2Downgrade) && error.retry()
}

/// Whether nobody can notice that the request is sent again.
#[must_use]
pub(super) fn may_repeat(broken: Broken<'_>, interaction: Interaction) -> bool {
    !broken.answer_begun && broken.body_is_whole && (broken.was_refused || is_repeatable(broken.method, Some(interaction)))
}

/// Whether there is a better connection for a second try. A node that is merely slow keeps its request, or a slow search
/// would be worked on twice; one that turned out to be dead meanwhile does not. A fresh connection to the only node
/// that breaks is OpenEMR's own trouble.
#[must_use]
pub(super) fn repeat_at(was_pooled: bool, state: NodeState) -> Option<RepeatAt> {
    match state {
        NodeState { is_silent: true, is_healthy: true, .. } => None,
        NodeState { has_others: true, .. } => Some(RepeatAt::AnotherNode),
        NodeState { is_silent: false, has_others: false, .. } if was_pooled => Some(RepeatAt::SameNode),
        NodeState { has_others: false, .. } => None,
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
        fn search() -> Interaction {
            Interaction::of(&Method::GET, b"/Patient")
        }
        fn may(method: &Method, path: &str) -> bool {
            may_repeat(broken(method, false, true), Interaction::of(method, path.as_bytes()))
        }
        let refused = Broken { was_refused: true, ..broken(&Method::POST, false, true) };
        assert!(may_repeat(refused, search()) && !may_repeat(Broken { body_is_whole: false, ..refused }, search()));
        assert!(may(&Method::GET, "/Patient") && may(&Method::POST, "/Patient/_search"));
        assert!(!may(&Method::POST, "/Patient") && !may(&Method::PUT, "/Patient/1") && !may(&Method::GET, "/Patient/$export"));
        assert!(!may_repeat(broken(&Method::GET, true, true), search()), "the caller has seen a part of the answer");
        assert!(!may_repeat(broken(&Method::GET, false, false), search()), "a part of the body is gone");
    }

    #[test]
    fn a_second_try_goes_where_it_can_succeed() {
        let state = |is_silent, is_healthy, has_others| NodeState { is_silent, is_healthy, has_others };
        for (was_pooled, seen, expected) in [
            (true, state(false, true, false), Some(RepeatAt::SameNode)),
            // Its own trouble.
            (false, state(false, true, false), None),
            (false, state(false, true, true), Some(RepeatAt::AnotherNode)),
            (true, state(false, false, true), Some(RepeatAt::AnotherNode)),
            // Slow.
            (true, state(true, true, true), None),
            (true, state(true, true, false), None),
            // Found dead while the request waited.
            (false, state(true, false, true), Some(RepeatAt::AnotherNode)),
            (true, state(true, false, false), None),
        ] {
            assert_eq!(repeat_at(was_pooled, seen), expected, "{was_pooled} {seen:?}");
        }
    }
}
