//! The test of the resources in an answer, or in the body of a write, for a client that may not see or write them all.

use std::sync::Arc;

use crate::access::belonging::{Wanted, is_wanted};
use crate::access::caller::{Caller, PatientsOf};
use crate::access::compartment;
use crate::access::rule::Letter;
use crate::access::table::Extent;
use crate::fhir::criteria::Illegible;
use crate::fhir::resource_test::{Permitted, ResourceTest};

/// The test of a caller's policy and patients.
#[derive(Debug)]
struct PolicyTest {
    caller: Caller,
    /// What is done with resources.
    letter: Letter,
    /// The type that a search is for: its resources are searched, and the others in the answer are read.
    searched: Option<&'static str>,
    bases: Vec<String>,
}

/// Makes the test for what a caller does with resources. `bases`: the addresses of this server, with which references may begin.
#[must_use]
pub(crate) fn permitted(caller: &Caller, letter: Letter, bases: &[String]) -> Permitted {
    Permitted(Arc::new(PolicyTest { caller: caller.clone(), letter, searched: None, bases: bases.to_vec() }))
}

/// Makes the test of the answer to a search for a type: its resources need the letter `s`, and those that are included `r`.
#[must_use]
pub(crate) fn permitted_of_search(caller: &Caller, searched: &'static str, bases: &[String]) -> Permitted {
    let test = PolicyTest { caller: caller.clone(), letter: Letter::Read, searched: Some(searched), bases: bases.to_vec() };
    Permitted(Arc::new(test))
}

impl ResourceTest for PolicyTest {
    fn permits(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible> {
        if self.caller.policy.is_everything {
            return Ok(true);
        }
        let letter = if self.searched == Some(resource_type) { Letter::Search } else { self.letter };
        let rules = self.caller.policy.table().of(resource_type);
        let list = match self.caller.patients() {
            PatientsOf::All => None,
            PatientsOf::Listed(list) => Some(list),
            PatientsOf::Unknown => return Ok(false),
        };
        let extent = rules.extent(letter);
        if extent == Extent::Nothing || (list.is_some() && compartment::is_of_anything(resource_type)) {
            return Ok(false);
        }
        let wanted = Wanted { resource_type, list, bases: &self.bases };
        if extent == Extent::All {
            return is_wanted(resource, &wanted, None);
        }
        for criteria in rules.tests(letter) {
            if is_wanted(resource, &wanted, Some(criteria))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
