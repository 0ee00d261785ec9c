//! The decision on a request.

use std::fmt;

use crate::access::caller::Caller;
use crate::access::line::Line;
use crate::access::question::Question;
use crate::fhir::resource_test::Permitted;

/// The decision on a request, and the lines of the configuration that it rests on.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    /// What is decided.
    pub(crate) verdict: Verdict,
    /// The lines: of the rules that permit, or of the policy that has none.
    pub(crate) by: Vec<Line>,
}

/// What is decided.
#[derive(Debug, Clone)]
pub(crate) enum Verdict {
    /// It goes on as it came.
    Allow,
    /// These parameters (name and decoded value) are added to the search, and every resource of the answer is tested.
    Narrow(Vec<(String, String)>, Permitted),
    /// Every resource of the answer, or that of the body, is tested.
    Check(Permitted),
    /// It is refused without asking OpenEMR.
    Refuse(Refusal),
}

/// Why a request is refused. The text names scopes and grants, never a value of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 403: a scope is missing, such as `system/Observation.r`.
    Scope(String),
    /// 403: the policy has no word for it, or the patient is not on the list.
    Forbidden(String),
    /// 400: it cannot be decided, because it cannot be read.
    Unclear(String),
    /// 404: nothing is there, for nobody.
    NotFound,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => write!(f, "The scope {scope} is missing."),
            Self::Forbidden(text) | Self::Unclear(text) => f.write_str(text),
            Self::NotFound => f.write_str("There is no such type of resource."),
        }
    }
}

/// Decides on a request.
#[must_use]
pub(crate) fn decide(caller: &Caller, question: &Question<'_>) -> Decision {
    let _ = question;
    let by = vec![caller.policy.line.clone()];
    match caller.policy.is_everything {
        true => Decision { verdict: Verdict::Allow, by },
        false => Decision { verdict: Verdict::Refuse(Refusal::Forbidden("The policy permits nothing.".to_owned())), by },
    }
}
