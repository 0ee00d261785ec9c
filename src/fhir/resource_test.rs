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

    /// The same for a resource that is about permitted ones alone, as a Provenance can be: to which patient it belongs is known then.
    ///
    /// # Errors
    /// It cannot be read, so that nobody knows.
    fn permits_about_permitted(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible>;

    /// Whether a resource may be of this type.
    fn permits_type(&self, resource_type: &str) -> bool;

    /// Whether [`Self::permits_type`] is all that there is to test.
    fn is_of_types_alone(&self) -> bool;

    /// How many resources were not permitted until now.
    fn refused(&self) -> u64;
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
