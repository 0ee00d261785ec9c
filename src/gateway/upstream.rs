//! Towards OpenEMR: which connection a try gets, and when a request is sent again.

use std::sync::atomic::{AtomicU64, Ordering};

use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource};

use crate::fhir::interaction::is_repeatable;
use crate::gateway::context::RequestContext;
use crate::origin::Origin;

/// Groups from here up belong to single connections, below to sites.
static NEXT_FRESH_GROUP: AtomicU64 = AtomicU64::new(1 << 32);

/// The peer of the next try. A request that met a dead connection gets one that nobody has used: in a group of
/// its own, the pool has none to offer.
#[must_use]
pub fn peer(origin: &Origin, context: &RequestContext) -> Option<HttpPeer> {
    let mut peer = origin.peer()?;
    if context.repeats > 0 {
        peer.group_key = NEXT_FRESH_GROUP.fetch_add(1, Ordering::Relaxed);
    }
    Some(peer)
}

/// After a connection that did not come about: tries the name's next address, once each. Nothing has been sent,
/// so any request may go there.
pub fn after_failed_connect(origin: &Origin, peer: &HttpPeer, context: &mut RequestContext, error: &mut Error) {
    origin.avoid(peer);
    context.failed_connects += 1;
    error.set_retry(context.failed_connects < origin.address_count());
}

/// After a connection that broke: repeats a request once, if nobody can notice. Apache closes idle connections,
/// and each after a hundred requests; a pooled one can die while a request is written to it.
pub fn after_broken_connection(
    method: &http::Method,
    was_pooled: bool,
    answer_begun: bool,
    context: &mut RequestContext,
    error: &mut Error,
) {
    let is_theirs = *error.esource() == ErrorSource::Upstream;
    let repeat =
        is_theirs && was_pooled && !answer_begun && context.repeats == 0 && context.failure.is_none() && is_repeatable(method);
    error.set_retry(repeat);
    if repeat {
        context.repeats += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Method;
    use pingora::ErrorType;

    fn repeats(method: Method, was_pooled: bool, answer_begun: bool, source: ErrorSource) -> bool {
        let mut context = RequestContext::alone();
        let mut error = Error::new(ErrorType::ReadError);
        error.esource = source;
        after_broken_connection(&method, was_pooled, answer_begun, &mut context, &mut error);
        error.retry()
    }

    #[test]
    fn only_what_nobody_notices_is_sent_again() {
        use ErrorSource::{Downstream, Upstream};
        assert!(repeats(Method::GET, true, false, Upstream));
        assert!(repeats(Method::HEAD, true, false, Upstream));
        assert!(repeats(Method::OPTIONS, true, false, Upstream));
        assert!(!repeats(Method::POST, true, false, Upstream));
        assert!(!repeats(Method::PUT, true, false, Upstream));
        assert!(!repeats(Method::DELETE, true, false, Upstream));
        assert!(!repeats(Method::GET, false, false, Upstream), "a fresh connection that breaks is OpenEMR's own trouble");
        assert!(!repeats(Method::GET, true, true, Upstream), "the caller has seen a part of the answer");
        assert!(!repeats(Method::GET, true, false, Downstream));
    }

    #[test]
    fn nothing_is_sent_three_times() {
        let mut context = RequestContext::alone();
        for expected in [true, false] {
            let mut error = Error::new_up(ErrorType::ReadError);
            after_broken_connection(&Method::GET, true, false, &mut context, &mut error);
            assert_eq!(error.retry(), expected);
        }
        assert_eq!(context.repeats, 1);
    }
}
