//! OpenEMR's informational answers (1xx, RFC 9110 section 15.2): a client gets the one that it waits for, and no other.
//!
//! Decision: `docs/decisions/30-framing.md`.

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::gateway::response_head::BadAnswer;
use crate::gateway::stop::Step;

/// Lets pass "100 Continue" without its fields, once, to a client of HTTP/1.1 that waits for it. All others are dropped: Pingora
/// ignores the status that is put in their place.
///
/// # Errors
/// OpenEMR switches to another protocol, which no request asks for.
pub(super) fn pass(session: &mut Session, head: &mut ResponseHeader) -> Step {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(BadAnswer::OtherProtocol.into());
    }
    session.set_ignore_info_resp(true);
    let goes_on = head.status == StatusCode::CONTINUE && session.response_written().is_none();
    let status = if goes_on { StatusCode::CONTINUE } else { StatusCode::EARLY_HINTS };
    *head = ResponseHeader::build(status, Some(0)).expect("a StatusCode is a status");
    Ok(())
}
