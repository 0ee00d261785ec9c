//! Who may use the gateway: by its address, and by its credentials.
//!
//! Decisions: `docs/decisions/18-proxies.md`, `docs/decisions/38-credentials.md`.

use std::sync::Arc;

use http::StatusCode;
use log::info;
use pingora::proxy::Session;

use crate::access::caller::Caller;
use crate::access::policy::Policy;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::credentials::{self, NotKnown};
use crate::gateway::destination::{Destination, LocalRoute};
use crate::gateway::peer_certificate;
use crate::gateway::recording;
use crate::gateway::stop::Step;
use crate::http::forwarded::client::Client;

/// The client's address is in none of `access.allow_from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client's address is not in access.allow_from")]
pub(super) struct NotAllowed;

impl From<NotAllowed> for Rejection {
    fn from(_: NotAllowed) -> Self {
        Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, Reason::Address, "This address may not use the gateway.")
    }
}

/// Checks the client's address.
///
/// # Errors
/// It may not use the gateway.
pub(super) fn check(call: &Call, destination: &Destination) -> Result<(), NotAllowed> {
    if call.config().access.allow_from.allows(client(call, destination)) { Ok(()) } else { Err(NotAllowed) }
}

/// The client, as far as its address is concerned.
#[must_use]
pub(super) fn client(call: &Call, destination: &Destination) -> Client {
    match (destination, call.trace.hops.proxy_itself()) {
        // The health checks of a proxy have no client.
        (Destination::Local(LocalRoute::Health | LocalRoute::Ready), Some(proxy)) => Client::At(proxy),
        _ => call.trace.client(),
    }
}

/// Whether a request needs a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// It does, unless the configuration has a policy for callers without.
    Yes,
    /// Everybody may read it; a credential that is shown must be good all the same.
    No,
    /// Nobody looks at credentials: a load balancer must get its answer, whatever it sends and whoever is down.
    Never,
}

impl Due {
    fn of(destination: &Destination) -> Self {
        match destination {
            Destination::Fhir(fhir) if fhir.is_public() => Self::No,
            // At its token endpoint a client authenticates in the body.
            Destination::Local(LocalRoute::Health | LocalRoute::Ready | LocalRoute::Jwks(_) | LocalRoute::SmartToken(_)) => {
                Self::Never
            }
            Destination::Fhir(_)
            | Destination::Local(LocalRoute::Token(_))
            | Destination::NotFound
            | Destination::Unsafe { .. } => Self::Yes,
        }
    }
}

/// Finds out who the caller is, by its credentials. Where no client is configured nobody looks at them.
///
/// # Errors
/// There are none where some are due, or they are not good.
pub(super) async fn authenticate(session: &Session, call: &mut Call, destination: &Destination) -> Step {
    match identify(session, call, destination).await {
        Ok(caller) => {
            call.caller = caller;
            Ok(())
        }
        Err(why) => {
            info!(request_id:% = call.id; "{why}");
            recording::credential_refused(session, call, destination, why);
            Err(Rejection::from(why).into())
        }
    }
}

async fn identify(session: &Session, call: &Call, destination: &Destination) -> Result<Caller, NotKnown> {
    let clients = &call.config().access.clients;
    let due = Due::of(destination);
    if !clients.is_empty()
        && due != Due::Never
        && let Some(caller) = credentials::caller(session, call, destination).await?
    {
        return Ok(caller);
    }
    match &clients.anonymous {
        Some(policy) => Ok(Caller::anonymous(Arc::clone(policy))),
        None if due == Due::Yes && peer_certificate::facts(session).is_some() => Err(NotKnown::Certificate),
        None if due == Due::Yes => Err(NotKnown::Missing),
        None => Ok(Caller::anonymous(Policy::nothing())),
    }
}
