//! The patients of a caller whose policy takes them from a Group at OpenEMR.

use std::time::Duration;

use crate::access::patients::Patients;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::site::patient_groups::Members;

/// When it is worth asking again whose data a client may have.
const AGAIN: Duration = Duration::from_secs(5);

/// Finds out whose data the caller may have, where its policy names a Group; not for what everybody may read.
///
/// # Errors
/// There is no such Group, or its members are not known, so that the caller gets nothing.
pub(super) async fn resolve(call: &mut Call, fhir: &FhirCall) -> Result<(), Rejection> {
    let Patients::Group(id) = &call.caller.policy.patients else { return Ok(()) };
    if fhir.is_public() {
        return Ok(());
    }
    match fhir.site.patient_group(id).await {
        Members::Known(list) => {
            call.caller.found = Some(list);
            Ok(())
        }
        Members::NoGroup => {
            let text = "The Group that has the patients of this client is not there, or no longer.";
            Err(Rejection::by_policy(text))
        }
        Members::Unknown => {
            let text = "The Group that has the patients of this client cannot be read at the moment.";
            Err(Rejection::unavailable(Reason::OwnRequest, AGAIN, text))
        }
    }
}
