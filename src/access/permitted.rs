//! The test of the resources in an answer, or in the body of a write, for a client that may not see or write them all.

use std::sync::Arc;

use crate::access::caller::{Caller, PatientsOf};
use crate::access::rule::Letter;
use crate::fhir::criteria::Illegible;
use crate::fhir::resource_test::{Permitted, ResourceTest};

/// The test of a caller's policy.
#[derive(Debug)]
struct PolicyTest {
    caller: Caller,
    /// What is done with resources of the type that the request is about.
    letter: Letter,
    resource_type: Box<str>,
}

/// Makes the test for what a caller does with resources of a type. Resources of other types, which a search includes, are read.
#[must_use]
pub(crate) fn permitted(caller: &Caller, letter: Letter, resource_type: &str) -> Permitted {
    Permitted(Arc::new(PolicyTest { caller: caller.clone(), letter, resource_type: resource_type.into() }))
}

impl ResourceTest for PolicyTest {
    fn permits(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible> {
        // Which patients a resource belongs to is not found out here yet, so that none is known to be of a listed one.
        if !matches!(self.caller.patients(), PatientsOf::All) {
            return Ok(false);
        }
        let letter = if *resource_type == *self.resource_type { self.letter } else { Letter::Read };
        for rule in self.caller.policy.rules_of(resource_type, letter) {
            let Some(criteria) = rule.criteria(resource_type) else { continue };
            if criteria.is_empty() || criteria.are_met_by(resource)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
