//! What search parameters select by: their kinds, and the elements that they look at.

use crate::fhir::capabilities::ParameterType;

/// What a search parameter of one type selects by (FHIR R4, `SearchParameter`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// The type; `Resource` for any.
    pub(crate) resource_type: &'static str,
    /// The name.
    pub(crate) name: &'static str,
    /// The kind.
    pub(crate) kind: ParameterType,
    /// The elements, each by the names of members from the resource on, with dots between them.
    pub(crate) paths: &'static [&'static str],
}

static TABLE: [Definition; 1] =
    [Definition { resource_type: "Encounter", name: "status", kind: ParameterType::Token, paths: &["status"] }];

/// Returns the definition of a type's parameter; `None` where the gateway cannot test it.
#[must_use]
pub(crate) fn of(resource_type: &str, name: &str) -> Option<&'static Definition> {
    TABLE.iter().find(|one| one.name == name && matches!(one.resource_type, of if of == resource_type || of == "Resource"))
}
