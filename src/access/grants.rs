//! What policies permit beside SMART scopes: bulk exports, operations, and what the gateway does itself.

use crate::fhir::export_level::Level;

/// Exports that a policy permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExportGrant {
    /// `system`: of everything.
    System,
    /// `patient`: of all patients.
    Patient,
    /// `group`: of any Group.
    AnyGroup,
    /// `Group/7`: of this Group, by its id.
    Group(String),
}

impl ExportGrant {
    /// Whether it permits exports of a level.
    #[must_use]
    pub(crate) fn permits(&self, level: &Level) -> bool {
        match (self, level) {
            (Self::System, Level::System) | (Self::Patient, Level::Patient) | (Self::AnyGroup, Level::Group(_)) => true,
            (Self::Group(granted), Level::Group(asked)) => granted == asked,
            _ => false,
        }
    }
}

/// An operation that a policy permits: `DocumentReference/$docref`, or `$docref` at the level of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationGrant {
    /// The type on which it is called; `None` for the system.
    pub(crate) resource_type: Option<&'static str>,
    /// The name without its `$`.
    pub(crate) name: String,
}

/// What a policy permits of the gateway's own routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LocalGrants {
    /// `force_refresh`: to have a new access token fetched.
    pub(crate) force_refresh: bool,
    /// `token`: to be shown the access token, from this machine alone.
    pub(crate) token: bool,
}
