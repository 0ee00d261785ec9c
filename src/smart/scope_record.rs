//! What OpenEMR has shown about the scopes of a token: its 401 means a bad token as well as a missing scope, and its
//! earlier answers tell which.

use arc_swap::ArcSwap;

use crate::smart::scope_need::Need;

/// More needs than this are not kept; the oldest goes.
const MOST: usize = 64;

/// What was served and what was refused, since the granted scope last changed. Readers take no lock.
#[derive(Debug, Default)]
pub struct ScopeRecord {
    seen: ArcSwap<Seen>,
}

#[derive(Debug, Default, Clone)]
struct Seen {
    served: Vec<Need>,
    refused: Vec<Need>,
}

impl ScopeRecord {
    /// Whether a request with this need has succeeded.
    #[must_use]
    pub fn was_served(&self, need: Need) -> bool {
        self.seen.load().served.contains(&need)
    }

    /// Whether brand-new tokens were refused for this need.
    #[must_use]
    pub fn is_refused(&self, need: Need) -> bool {
        self.seen.load().refused.contains(&need)
    }

    /// A request with this need succeeded. Costs one load when that is known.
    pub fn note_served(&self, need: Need) {
        if !self.was_served(need) {
            self.change(|seen| {
                seen.refused.retain(|one| *one != need);
                push(&mut seen.served, need);
            });
        }
    }

    /// A brand-new token was refused for this need, and none had ever been served.
    pub fn note_refused(&self, need: Need) {
        if !self.is_refused(need) {
            self.change(|seen| {
                seen.served.retain(|one| *one != need);
                push(&mut seen.refused, need);
            });
        }
    }

    /// The granted scope is another: nothing is known any more.
    pub fn forget(&self) {
        self.seen.store(std::sync::Arc::default());
    }

    fn change(&self, change: impl Fn(&mut Seen)) {
        self.seen.rcu(|seen| {
            let mut seen = Seen::clone(seen);
            change(&mut seen);
            seen
        });
    }
}

fn push(needs: &mut Vec<Need>, need: Need) {
    if needs.len() >= MOST {
        needs.remove(0);
    }
    if !needs.contains(&need) {
        needs.push(need);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fhir::interaction::Interaction;
    use http::Method;
    use proptest::prelude::*;

    fn need(path: &str) -> Need {
        Need::of(Interaction::of(&Method::GET, path.as_bytes()), path.as_bytes()).unwrap()
    }

    #[test]
    fn a_success_takes_a_refusal_back() {
        let record = ScopeRecord::default();
        let (patient, goal) = (need("/Patient"), need("/Goal"));
        record.note_refused(patient);
        assert!(record.is_refused(patient) && !record.was_served(patient) && !record.is_refused(goal));
        record.note_served(patient);
        assert!(!record.is_refused(patient) && record.was_served(patient));
        record.forget();
        assert!(!record.is_refused(patient) && !record.was_served(patient));
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
        fn it_is_bounded_and_never_says_both(notes in proptest::collection::vec((0_usize..20, 0_usize..4, any::<bool>()), 0..400)) {
            let record = ScopeRecord::default();
            for (index, kind, served) in notes {
                let name = TYPES.get(index).unwrap();
                let (method, path) = match kind {
                    0 => (Method::GET, format!("/{name}")),
                    1 => (Method::GET, format!("/{name}/1")),
                    2 => (Method::POST, format!("/{name}")),
                    _ => (Method::PUT, format!("/{name}/1")),
                };
                let need = Need::of(Interaction::of(&method, path.as_bytes()), path.as_bytes()).unwrap();
                if served { record.note_served(need) } else { record.note_refused(need) }
                prop_assert_eq!((record.was_served(need), record.is_refused(need)), (served, !served));
                let seen = record.seen.load();
                prop_assert!(seen.served.len() <= MOST && seen.refused.len() <= MOST);
            }
        }
    }
}
