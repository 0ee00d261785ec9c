//! What of a FHIR request is to be recorded, as far as it is known while it goes on.

use crate::access::caller::Caller;
use crate::access::compartment;
use crate::access::decision::{self, Verdict};
use crate::access::line::Line;
use crate::audit::patients::PatientsFound;
use crate::audit::record::{Decision, Text};

/// What of a request is to be recorded, besides what everybody knows of it.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// What was decided, and by which lines of the configuration.
    pub(super) decided: Option<(Decision, Vec<Line>)>,
    /// The patients whom no record has named yet.
    pub(super) patients: Vec<Text>,
    /// How many records of kind `patients` were made.
    pub(super) parts: u64,
    /// How many resources the answer has; `None` where it was not read.
    pub(super) entries: Option<u64>,
    /// Whether there was something that could not be read.
    pub(super) is_illegible: bool,
    /// Whether the record was made.
    pub(super) is_recorded: bool,
}

impl Account {
    /// Takes what the policy as a whole says.
    pub(super) fn permitted_by(&mut self, caller: &Caller) {
        self.decided = Some((Decision::Allowed, vec![caller.policy.line.clone()]));
    }

    /// Takes a decision.
    pub(super) fn decided(&mut self, decision: &decision::Decision) {
        let said = match decision.verdict {
            Verdict::Allow => Decision::Allowed,
            Verdict::Narrow(..) => Decision::Narrowed,
            Verdict::Check(_) => Decision::Tested,
            Verdict::Refuse(_) => Decision::Refused,
        };
        self.decided = Some((said, decision.by.clone()));
    }

    /// Takes the patients of a body that has passed to its end.
    pub(super) fn take(&mut self, mut found: PatientsFound) {
        found.finish();
        self.patients.append(&mut found.take());
        *self.entries.get_or_insert(0) += found.entries();
        self.is_illegible |= !found.is_legible();
    }

    /// Whether the answer may be about patients that nobody knows. `is_data`: it has resources, or is the answer to a write.
    #[must_use]
    pub(super) fn patients_are_unknown(&self, resource_type: Option<&str>, id_is_known: bool, is_data: bool) -> bool {
        let names_one = !self.patients.is_empty() || self.parts > 0 || (resource_type == Some("Patient") && id_is_known);
        let can_have_some = resource_type.is_none_or(|name| compartment::of(name).is_some() || compartment::is_of_anything(name));
        is_data && (self.is_illegible || (!names_one && can_have_some && self.entries != Some(0)))
    }
}
