//! The request repairs: what OpenEMR does not understand is changed, and what it does not do is refused in FHIR's words.
//!
//! Decision: `docs/decisions/17-request-bodies.md`.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use pingora::proxy::Session;
use tokio::time::timeout;

use crate::fhir::format_parameters;
use crate::fhir::interaction::Kind;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::negotiation;
use crate::gateway::stop::Step;
use crate::openemr::breakages::{self, Measured};
use crate::openemr::offered;

/// How long a request waits for the CapabilityStatement that says whether it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// The client wants a format that OpenEMR does not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client accepts no JSON of FHIR R4")]
pub(super) struct NotAcceptable;

impl From<NotAcceptable> for Rejection {
    fn from(_: NotAcceptable) -> Self {
        let text =
            "OpenEMR speaks FHIR R4 in JSON alone: ask for application/fhir+json, without fhirVersion or with fhirVersion=4.0.";
        Self::new(StatusCode::NOT_ACCEPTABLE, IssueCode::NotSupported, Reason::NotAcceptable, text)
    }
}

/// Plans what goes to OpenEMR in place of what it does not understand.
///
/// # Errors
/// What OpenEMR does not do, and a format that it does not write.
pub(super) async fn plan(session: &Session, call: &Call, fhir: &mut FhirCall) -> Step {
    let (repairs, head) = (fhir.repairs(), session.req_header());
    if repairs.head && head.method == Method::HEAD {
        fhir.plan.method = Some(Method::GET);
    }
    if repairs.trailing_slash
        && let Some(without) = fhir.path().strip_suffix(b"/").filter(|without| !without.is_empty())
    {
        fhir.plan.path = Some(without.to_vec());
    }
    if repairs.content {
        // A document may be of a type that a resource may not.
        if !call.negotiated.acceptable && !negotiation::negotiated(head, Some(fhir.interaction)).acceptable {
            return Err(NotAcceptable.into());
        }
        // In a search, `_pretty` is for what makes the Bundle.
        let is_search = fhir.interaction.kind == Kind::Search;
        fhir.plan.query = format_parameters::without(fhir.query(), !(is_search && repairs.search));
    }
    if repairs.search && fhir.interaction.kind == Kind::Read {
        refuse_broken_reads(fhir).await?;
    }
    if repairs.interactions {
        offered::check_method(&head.method, fhir.interaction)?;
        if matches!(head.method, Method::GET | Method::HEAD) && offered::is_by_post_alone(fhir.interaction) {
            // Its parameters stay in the query, where OpenEMR reads them.
            fhir.plan.method = Some(Method::POST);
            fhir.plan.body = Some(Bytes::new());
        }
        refuse_what_is_not_offered(&head.method, fhir).await?;
    }
    Ok(())
}

/// Refuses a read on which OpenEMR fails.
async fn refuse_broken_reads(fhir: &FhirCall) -> Step {
    let Some(resource_type) = fhir.interaction.resource_type.filter(|name| breakages::reads_may_fail(name)) else {
        return Ok(());
    };
    let capabilities = timeout(PATIENCE, fhir.site.capabilities()).await.ok().flatten();
    Ok(Measured::of(capabilities.as_deref()).check_read(resource_type)?)
}

/// Refuses what OpenEMR's CapabilityStatement does not announce. Where there is none, everything passes.
async fn refuse_what_is_not_offered(method: &Method, fhir: &FhirCall) -> Step {
    if !offered::needs_capabilities(fhir.interaction) {
        return Ok(());
    }
    // Without a CapabilityStatement the request passes.
    match timeout(PATIENCE, fhir.site.capabilities()).await.ok().flatten() {
        Some(capabilities) => Ok(offered::check(method, fhir.path(), fhir.interaction, &capabilities)?),
        None => Ok(()),
    }
}
