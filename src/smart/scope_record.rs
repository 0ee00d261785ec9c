//! The scopes that OpenEMR granted, and refuses even to new tokens.
//!
//! OpenEMR's 401 means a bad token as well as a missing scope. A scope that was once found to be the cause costs no more
//! exchanges.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::scopes::required::RequiredScope;

/// How many refused scopes are kept; the oldest goes first.
const MOST: usize = 64;

/// The scopes that were refused since the granted scope last changed. Readers take no lock.
#[derive(Debug, Default)]
pub(crate) struct ScopeRecord {
    refused: ArcSwap<Vec<RequiredScope>>,
}

impl ScopeRecord {
    /// Whether new tokens were refused for want of this scope.
    #[must_use]
    pub(crate) fn is_refused(&self, need: RequiredScope) -> bool {
        self.refused.load().contains(&need)
    }

    /// Whether nothing was refused, which is so nearly always.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.refused.load().is_empty()
    }

    /// Records that a request that needs this scope succeeded.
    pub(crate) fn note_served(&self, need: RequiredScope) {
        if self.is_refused(need) {
            self.change(|refused| refused.retain(|one| *one != need));
        }
    }

    /// Records that a new token was refused for want of this scope.
    pub(crate) fn note_refused(&self, need: RequiredScope) {
        self.change(|refused| {
            if !refused.contains(&need) {
                if refused.len() >= MOST {
                    refused.remove(0);
                }
                refused.push(need);
            }
        });
    }

    /// Forgets everything: another scope was granted.
    pub(crate) fn forget(&self) {
        self.refused.store(Arc::default());
    }

    fn change(&self, change: impl Fn(&mut Vec<RequiredScope>)) {
        self.refused.rcu(|refused| {
            let mut refused = Vec::clone(refused);
            change(&mut refused);
            refused
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::interaction::Interaction;
    use http::Method;
    use proptest::prelude::*;

    fn need(path: &str) -> RequiredScope {
        RequiredScope::of(Interaction::of(&Method::GET, path.as_bytes()), path.as_bytes()).unwrap()
    }

    #[test]
    fn a_success_takes_a_refusal_back() {
        let record = ScopeRecord::default();
        let (patient, goal) = (need("/Patient"), need("/Goal"));
        record.note_refused(patient);
        record.note_refused(goal);
        assert!(record.is_refused(patient) && record.is_refused(goal));
        record.note_served(patient);
        assert!(!record.is_refused(patient) && record.is_refused(goal));
        record.forget();
        assert!(!record.is_refused(goal));
    }

    const TYPES: [&str; 20] = [
        "Account",
        "Binary",
        "CarePlan",
        "CareTeam",
        "Condition",
        "Coverage",
        "Device",
        "Encounter",
        "Goal",
        "Group",
        "Immunization",
        "List",
        "Location",
        "Medication",
        "Observation",
        "Organization",
        "Patient",
        "Person",
        "Procedure",
        "Provenance",
    ];

    proptest! {
        #[test]
        fn it_is_bounded_and_knows_the_last_word(notes in proptest::collection::vec((0_usize..20, 0_usize..4, any::<bool>()), 0..400)) {
            let record = ScopeRecord::default();
            for (index, kind, served) in notes {
                let name = TYPES.get(index).unwrap();
                let (method, path) = match kind {
                    0 => (Method::GET, format!("/{name}")),
                    1 => (Method::GET, format!("/{name}/1")),
                    2 => (Method::POST, format!("/{name}")),
                    _ => (Method::PUT, format!("/{name}/1")),
                };
                let need = RequiredScope::of(Interaction::of(&method, path.as_bytes()), path.as_bytes()).unwrap();
                if served { record.note_served(need) } else { record.note_refused(need) }
                prop_assert_eq!(record.is_refused(need), !served);
                prop_assert!(record.refused.load().len() <= MOST);
            }
        }
    }
}
