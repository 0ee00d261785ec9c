//! The test of the resources in an answer, or in the body of a write, for a client that may not see or write them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::access::belonging::{Wanted, is_wanted};
use crate::access::caller::{Caller, PatientsOf};
use crate::access::compartment;
use crate::access::rule::Letter;
use crate::access::table::Extent;
use crate::fhir::criteria::Illegible;
use crate::fhir::resource_test::{Permitted, ResourceTest};
use crate::fhir::resource_type;

/// The test of a caller's policy and patients.
#[derive(Debug)]
struct PolicyTest {
    caller: Caller,
    /// What is done with resources.
    letter: Letter,
    /// The type that a search is for: its resources are searched, and the others in the answer are read.
    searched: Option<&'static str>,
    bases: Vec<String>,
    /// How many resources were not permitted until now.
    refused: AtomicU64,
    /// Whether types alone are tested.
    types_alone: bool,
}

/// Makes the test for what a caller does with resources. `bases`: the addresses of this server, with which references may begin.
#[must_use]
pub(crate) fn permitted(caller: &Caller, letter: Letter, bases: &[String]) -> Permitted {
    PolicyTest::of(caller, letter, bases).shared()
}

/// Makes the test of the answer to a search for a type: its resources need the letter `s`, and those that are included `r`.
#[must_use]
pub(crate) fn permitted_of_search(caller: &Caller, searched: &'static str, bases: &[String]) -> Permitted {
    PolicyTest { searched: Some(searched), ..PolicyTest::of(caller, Letter::Read, bases) }.shared()
}

/// Makes the test of the answer to a search of a caller that may have all resources of the types that it may have: their types alone are
/// tested.
#[must_use]
pub(crate) fn permitted_types(caller: &Caller, searched: &'static str) -> Permitted {
    PolicyTest { searched: Some(searched), types_alone: true, ..PolicyTest::of(caller, Letter::Read, &[]) }.shared()
}

impl PolicyTest {
    fn of(caller: &Caller, letter: Letter, bases: &[String]) -> Self {
        let (caller, bases, refused) = (caller.clone(), bases.to_vec(), AtomicU64::new(0));
        Self { caller, letter, searched: None, bases, refused, types_alone: false }
    }

    fn shared(self) -> Permitted {
        Permitted(Arc::new(self))
    }

    /// `is_of_known_patient`: it belongs to a patient whose data the caller may have.
    fn test(&self, resource_type: &str, resource: &[u8], is_of_known_patient: bool) -> Result<bool, Illegible> {
        if self.caller.policy.is_everything {
            return Ok(true);
        }
        let letter = self.letter_for(resource_type);
        let rules = self.caller.policy.table().of(resource_type);
        let list = match self.caller.patients() {
            PatientsOf::Unknown => return Ok(false),
            PatientsOf::Listed(list) if !is_of_known_patient => Some(list),
            PatientsOf::Listed(_) | PatientsOf::All => None,
        };
        let extent = rules.extent(letter);
        if extent == Extent::Nothing
            || resource_type::known(resource_type.as_bytes()).is_none()
            || (list.is_some() && compartment::is_of_anything(resource_type))
        {
            return Ok(false);
        }
        let wanted = Wanted { resource_type, list, bases: &self.bases, alone: self.is_of_a_write() };
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

    fn letter_for(&self, resource_type: &str) -> Letter {
        if self.searched == Some(resource_type) { Letter::Search } else { self.letter }
    }

    fn is_of_a_write(&self) -> bool {
        matches!(self.letter, Letter::Create | Letter::Update | Letter::Delete)
    }

    fn counted(&self, tested: Result<bool, Illegible>) -> Result<bool, Illegible> {
        if tested == Ok(false) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        tested
    }
}

impl ResourceTest for PolicyTest {
    fn permits(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible> {
        self.counted(self.test(resource_type, resource, false))
    }

    fn permits_about_permitted(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible> {
        self.counted(self.test(resource_type, resource, true))
    }

    fn permits_type(&self, resource_type: &str) -> bool {
        let letter = self.letter_for(resource_type);
        let has_rule = || self.caller.policy.table().of(resource_type).extent(letter) != Extent::Nothing;
        let is_known = || resource_type::known(resource_type.as_bytes()).is_some();
        // What OpenEMR says of the search is of no type that a policy is about.
        let is_permitted = self.caller.policy.is_everything || resource_type == "OperationOutcome" || (is_known() && has_rule());
        self.refused.fetch_add(u64::from(!is_permitted), Ordering::Relaxed);
        is_permitted
    }

    fn is_of_types_alone(&self) -> bool {
        self.types_alone
    }

    fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}
