//! A write of a client that may not write every resource of the type: the gateway tests what is sent, and what is there.

use pingora::proxy::Session;

use crate::fhir::interaction::Kind;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::limit::NotPermitted;
use crate::gateway::limited_read;
use crate::gateway::stop::Step;
use crate::gateway::while_there::while_there;

/// Tests the resource in the body, and the one that is there already. Every other request passes.
///
/// # Errors
/// One of them is none that the client may write; the body is too long to be tested, or OpenEMR cannot be asked; the client is gone.
pub(super) async fn check(session: &mut Session, call: &Call, fhir: &FhirCall) -> Step {
    let kind = fhir.interaction.kind;
    let (Some(test), Some(resource_type)) = (fhir.test(), fhir.interaction.resource_type) else { return Ok(()) };
    if matches!(kind, Kind::Create | Kind::Update) {
        let body = fhir.plan.body.as_ref().or(fhir.plan.read.as_ref()).ok_or(NotPermitted::TooLong)?;
        if !test.0.permits(resource_type, body).map_err(|_| NotPermitted::IllegibleBody)? {
            return Err(NotPermitted::Body.into());
        }
    }
    if fhir.plan.limit.as_ref().is_some_and(|limit| limit.tests_existing) {
        while_there(session, limited_read::permitted(call, fhir, test, None)).await?;
    }
    Ok(())
}
