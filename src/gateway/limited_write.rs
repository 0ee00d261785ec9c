//! A write of a client that may not write every resource of the type: the gateway tests what is sent, and what is there.

use pingora::proxy::Session;
use serde::de::IgnoredAny;

use crate::fhir::interaction::Kind;
use crate::fhir::resource_test::Permitted;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::limit::NotPermitted;
use crate::gateway::stop::Step;
use crate::gateway::while_there::while_there;
use crate::gateway::{limited_read, outgoing, request_body};

/// Reads and tests the resource in the body. Every other request passes.
///
/// # Errors
/// It is none that the client may write, or too long to be tested; the client is gone.
pub(super) async fn check_body(session: &mut Session, call: &Call, fhir: &mut FhirCall) -> Step {
    let is_meant = matches!(fhir.interaction.kind, Kind::Create | Kind::Update);
    let Some(Permitted(test)) = fhir.test().filter(|_| is_meant).cloned() else { return Ok(()) };
    session.as_mut().enable_retry_buffering();
    outgoing::check_body(session, call, fhir).await?;
    request_body::take(session, &call.config().limits, fhir).await?;
    outgoing::check_resource(fhir)?;
    let body = match &fhir.plan.read {
        Some(body) => body.clone(),
        None if session.is_body_empty() => return Err(NotPermitted::IllegibleBody.into()),
        None => return Err(NotPermitted::TooLong.into()),
    };
    // What is no JSON could be read in another way by OpenEMR.
    serde_json::from_slice::<IgnoredAny>(&body).map_err(|_| NotPermitted::IllegibleBody)?;
    let resource_type = fhir.interaction.resource_type.unwrap_or_default();
    match test.permits(resource_type, &body).map_err(|_| NotPermitted::IllegibleBody)? {
        true => Ok(()),
        false => Err(NotPermitted::Body.into()),
    }
}

/// Reads and tests the resource that is to be changed or deleted. Every other request passes.
///
/// # Errors
/// There is none that the client may write, or OpenEMR cannot be asked; the client is gone.
pub(super) async fn check_existing(session: &mut Session, call: &Call, fhir: &FhirCall) -> Step {
    let Some(test) = fhir.test() else { return Ok(()) };
    if fhir.plan.limit.as_ref().is_some_and(|limit| limit.tests_existing) {
        while_there(session, limited_read::permitted(call, fhir, test, None)).await?;
    }
    Ok(())
}
