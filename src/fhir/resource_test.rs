//! The interface of tests on single resources, which decide what a client may see.

use std::fmt::Debug;
use std::sync::Arc;

use crate::fhir::criteria::Illegible;

/// Decides whether a resource may be shown, or written.
pub trait ResourceTest: Debug + Send + Sync {
    /// Whether a resource of this type, a whole JSON object, may be.
    ///
    /// # Errors
    /// It cannot be read, so that nobody knows.
    fn permits(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible>;
}

/// A test that several steps share.
#[derive(Debug, Clone)]
pub struct Permitted(pub Arc<dyn ResourceTest>);

impl PartialEq for Permitted {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Permitted {}
