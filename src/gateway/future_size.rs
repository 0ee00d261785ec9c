//! How much memory the future of a request takes. Pingora boxes the future of each phase: it is allocated and moved for every request,
//! whatever becomes of it. What few requests need is boxed where it begins, so that the others do not keep room for it.
//!
//! Decision: `docs/decisions/60-hot-path.md`.

use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use crate::gateway::context::RequestContext;
use crate::gateway::stop::Stop;
use crate::gateway::{Gateway, buffered_send, end};

/// The size of a future that is made with these, in bytes.
fn size<'a, F: Future>(_: impl FnOnce(&'a Gateway, &'a mut Session, &'a mut RequestContext) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn no_phase_keeps_room_for_what_few_requests_need() {
    for (phase, size) in [
        ("request_filter", size(|gateway, session, context| gateway.plan(session, context))),
        ("its end", size(|_, session, context| end(session, Stop::Gone(Error::new_in(ErrorType::InternalError)), context))),
        ("logging", size(|_, session, context| buffered_send::after_end(session, context))),
    ] {
        assert!(size <= 8 * 1024, "{phase}: {size} bytes");
    }
    assert!(size_of::<<Gateway as pingora::proxy::ProxyHttp>::CTX>() <= 16);
}
