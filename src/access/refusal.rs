//! Why a request is refused.

use std::fmt;

use crate::access::rule::Letter;

/// Why a request is refused. The text names scopes and grants, never a value of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 403: a scope is missing, such as `system/Observation.r`.
    Scope(String),
    /// 403: the policy has no word for it, or the patient is not on the list.
    Forbidden(&'static str),
    /// 400: it cannot be decided, because it cannot be read.
    Unclear(&'static str),
    /// 404: nothing is there, for nobody.
    NotFound,
}

impl Refusal {
    /// A scope for a type is missing; `None`: for every type.
    #[must_use]
    pub(crate) fn scope(resource_type: Option<&str>, letter: Letter) -> Self {
        Self::Scope(format!("system/{}.{letter}", resource_type.unwrap_or("*")))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => write!(f, "The policy of this client does not permit it: the scope {scope} is missing."),
            Self::Forbidden(text) | Self::Unclear(text) => f.write_str(text),
            Self::NotFound => f.write_str("FHIR R4 has no resource type of this name."),
        }
    }
}
