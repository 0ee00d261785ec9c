//! The test of the resources in an answer, or in the body of a write, for a client that may not see or write them all.

use std::sync::Arc;

use crate::access::caller::Caller;
use crate::access::rule::Letter;
use crate::fhir::criteria::Illegible;
use crate::fhir::resource_test::{Permitted, ResourceTest};

/// The test of a caller's policy and patients.
#[derive(Debug)]
struct PolicyTest {
    caller: Caller,
    letter: Letter,
    bases: Vec<String>,
}

/// Makes the test for what a caller does with resources. `bases`: the addresses of this server, with which references may begin.
#[must_use]
pub(crate) fn permitted(caller: &Caller, letter: Letter, bases: &[String]) -> Permitted {
    Permitted(Arc::new(PolicyTest { caller: caller.clone(), letter, bases: bases.to_vec() }))
}

impl ResourceTest for PolicyTest {
    fn permits(&self, _resource_type: &str, _resource: &[u8]) -> Result<bool, Illegible> {
        Ok(self.caller.policy.is_everything)
    }
}
