//! What became of a resource on its way to OpenEMR.

use crate::fhir::operation_outcome::Issue;

/// How a resource was changed.
#[derive(Debug, Default)]
pub(super) struct Adapted {
    /// What the client is told.
    pub(super) notes: Vec<Issue>,
    /// Whether something was lost by it, as the client agreed to.
    pub(super) is_lossy: bool,
}
