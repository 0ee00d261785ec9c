//! Who may use the gateway: by its address, and by its credentials.
//!
//! Decision: `docs/decisions/18-proxies.md`.

use http::StatusCode;
use pingora::proxy::Session;

use crate::access::caller::Caller;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::{Destination, LocalRoute};
use crate::gateway::own_tokens;
use crate::gateway::stop::Step;
use crate::http::forwarded::client::Client;

/// The client's address is in none of `access.allow_from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client's address is not in access.allow_from")]
pub(super) struct NotAllowed;

impl From<NotAllowed> for Rejection {
    fn from(_: NotAllowed) -> Self {
        Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, "This address may not use the gateway.")
    }
}

/// Checks the client's address.
///
/// # Errors
/// It may not use the gateway.
pub(super) fn check(call: &Call, destination: &Destination) -> Result<(), NotAllowed> {
    let client = match (destination, call.trace.hops.proxy_itself()) {
        // The health checks of a proxy have no client.
        (Destination::Local(LocalRoute::Health | LocalRoute::Ready), Some(proxy)) => Client::At(proxy),
        _ => call.trace.client(),
    };
    if call.config().access.allow_from.allows(client) { Ok(()) } else { Err(NotAllowed) }
}

/// Finds out who the caller is, by its credentials.
///
/// # Errors
/// There are none where some are due, or they are not good.
pub(super) async fn authenticate(session: &Session, call: &mut Call, destination: &Destination) -> Step {
    if matches!(destination, Destination::Local(LocalRoute::SmartToken(_))) {
        // The client authenticates in the body.
        return Ok(());
    }
    if let Some(caller) = own_tokens::caller(&session.req_header().headers, call, destination)? {
        call.caller = caller;
        return Ok(());
    }
    if let Some(policy) = call.config().access.clients.anonymous.clone() {
        call.caller = Caller::anonymous(policy);
    }
    Ok(())
}
