//! Whether the caller may do what it asks for, and how much of the answer it may see.

use http::StatusCode;
use pingora::proxy::Session;

use crate::access::decision::{Refusal, Verdict, decide as decision};
use crate::access::question::Question;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::stop::Step;

/// Decides on a FHIR request, by the policy of its caller.
///
/// # Errors
/// The policy does not permit it.
pub(super) async fn decide(_session: &mut Session, call: &Call, fhir: &mut FhirCall) -> Step {
    if call.caller.policy.is_everything || fhir.is_public() {
        return Ok(());
    }
    let question = Question {
        site: fhir.site.name(),
        interaction: fhir.interaction,
        path: fhir.path(),
        parameters: Vec::new(),
        if_none_exist: None,
        bases: &[],
    };
    match decision(&call.caller, &question).verdict {
        Verdict::Allow => {}
        Verdict::Narrow(narrowing, permitted) => {
            (fhir.access.narrowing, fhir.access.permitted) = (narrowing, Some(permitted));
        }
        Verdict::Check(permitted) => fhir.access.permitted = Some(permitted),
        Verdict::Refuse(refusal) => return Err(Rejection::from(refusal).into()),
    }
    Ok(())
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Scope(_) | Refusal::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, text),
            Refusal::Unclear(_) => Self::invalid(text),
            Refusal::NotFound => Self::new(StatusCode::NOT_FOUND, IssueCode::NotSupported, text),
        }
    }
}
