//! The conditions of a write (RFC 9110 section 13.1; FHIR R4, "RESTful API", 3.1.0.4.1 and 3.1.0.8.1). OpenEMR ignores them, and
//! would overwrite what the client meant to keep.
//!
//! Decision: `docs/decisions/33-conditional-create.md`.

use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use tokio::time::timeout;

use crate::fhir::if_none_exist::IF_NONE_EXIST;
use crate::fhir::interaction::Kind;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::destination::FhirCall;
use crate::gateway::stop::Step;

/// How long a conditional write waits for the CapabilityStatement, where that is not known.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a conditional write is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCondition {
    /// The server has no versions to compare with; with the name of the field.
    #[error("{0} on a server without versions")]
    Unversioned(&'static str),
    /// The resource exists, or cannot be created by an update.
    #[error("If-None-Match: * on an update")]
    CreateByUpdate,
    /// If-None-Exist on something else than a create.
    #[error("If-None-Exist without a create")]
    WithoutCreate,
}

impl From<BadCondition> for Rejection {
    fn from(bad: BadCondition) -> Self {
        let failed = |text: String| Self::new(StatusCode::PRECONDITION_FAILED, IssueCode::Conflict, Reason::Precondition, text);
        match bad {
            BadCondition::Unversioned(field) => failed(format!(
                "OpenEMR has no versions of this resource, so {field} cannot be met, and nothing was changed. To overwrite the \
                 resource whatever its state is, leave {field} out."
            )),
            BadCondition::CreateByUpdate => failed(
                "If-None-Match: * asks for a resource that does not exist, and OpenEMR creates none by PUT. Nothing was changed; to \
                 create a resource, use POST."
                    .to_owned(),
            ),
            BadCondition::WithoutCreate => Self::invalid(Reason::Precondition, "If-None-Exist is for a create alone: POST to the resource type."),
        }
    }
}

/// Refuses a write whose condition OpenEMR would ignore. One that its CapabilityStatement announces is sent on.
///
/// # Errors
/// The condition that cannot be met.
pub(super) async fn check(fields: &HeaderMap, fhir: &FhirCall) -> Step {
    let kind = fhir.interaction.kind;
    if !fhir.repairs().writes || !kind.is_write() {
        return Ok(());
    }
    if kind != Kind::Create && fields.contains_key(&IF_NONE_EXIST) {
        return Err(BadCondition::WithoutCreate.into());
    }
    let Some(condition) = condition(fields) else { return Ok(()) };
    let capabilities = timeout(PATIENCE, fhir.site.capabilities()).await.ok().flatten();
    let known = capabilities.as_ref().zip(fhir.interaction.resource_type).and_then(|(all, name)| all.types.get(name));
    let is_announced = known.is_some_and(|known| match condition {
        BadCondition::CreateByUpdate => known.versioned || known.update_create,
        BadCondition::Unversioned(_) | BadCondition::WithoutCreate => known.versioned,
    });
    if is_announced { Ok(()) } else { Err(condition.into()) }
}

/// The first condition that needs more than OpenEMR has. `If-Match: *` needs nothing: OpenEMR updates only what exists.
fn condition(fields: &HeaderMap) -> Option<BadCondition> {
    let is_any = |value: &HeaderValue| value.as_bytes().trim_ascii() == b"*";
    if fields.get_all(IF_MATCH).iter().any(|value| !is_any(value)) {
        return Some(BadCondition::Unversioned("If-Match"));
    }
    match fields.get(IF_NONE_MATCH) {
        Some(value) if is_any(value) => return Some(BadCondition::CreateByUpdate),
        Some(_) => return Some(BadCondition::Unversioned("If-None-Match")),
        None => {}
    }
    fields.contains_key(IF_UNMODIFIED_SINCE).then_some(BadCondition::Unversioned("If-Unmodified-Since"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::HeaderName;

    #[test]
    fn a_condition_that_needs_a_version_is_found() {
        for (name, value, expected) in [
            ("if-match", "W/\"999\"", Some(BadCondition::Unversioned("If-Match"))),
            ("if-match", "*", None),
            ("if-match", "*, \"1\"", Some(BadCondition::Unversioned("If-Match"))),
            ("if-none-match", " * ", Some(BadCondition::CreateByUpdate)),
            ("if-none-match", "\"1\"", Some(BadCondition::Unversioned("If-None-Match"))),
            ("if-unmodified-since", "x", Some(BadCondition::Unversioned("If-Unmodified-Since"))),
            ("if-modified-since", "x", None),
        ] {
            let mut fields = HeaderMap::new();
            fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
            assert_eq!(condition(&fields), expected, "{name}: {value}");
        }
    }
}
