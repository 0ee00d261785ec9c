//! The steps so far, and who watches them.

use crate::diagnosis::outcome::{Finding, Outcome, Step};

/// Whoever shows the steps as they are taken.
pub(crate) trait Watcher: Send {
    /// A step begins: what is done, as in *get an access token*.
    fn begins(&mut self, did: &str);

    /// A step has ended.
    fn ended(&mut self, outcome: &Outcome);
}

/// A walk from the configuration to a patient.
pub(crate) struct Walk<'w> {
    watcher: &'w mut dyn Watcher,
    site: Option<String>,
    outcomes: Vec<Outcome>,
}

/// A step that has begun.
#[must_use]
pub(crate) struct Begun {
    step: Step,
    did: String,
}

impl<'w> Walk<'w> {
    /// A walk that has no steps yet.
    #[must_use]
    pub(crate) fn new(watcher: &'w mut dyn Watcher) -> Self {
        Self { watcher, site: None, outcomes: Vec::new() }
    }

    /// Counts the steps from now on for this site.
    pub(super) fn enter(&mut self, site: &str) {
        self.site = Some(site.to_owned());
    }

    /// Counts the steps from now on for the gateway as a whole.
    pub(crate) fn leave(&mut self) {
        self.site = None;
    }

    /// Begins a step.
    pub(crate) fn begin(&mut self, step: Step, did: impl Into<String>) -> Begun {
        let did = did.into();
        self.watcher.begins(&did);
        Begun { step, did }
    }

    /// Ends a step.
    pub(crate) fn end(&mut self, begun: Begun, finding: Finding) {
        let outcome = Outcome { step: begun.step, site: self.site.clone(), did: begun.did, finding };
        self.watcher.ended(&outcome);
        self.outcomes.push(outcome);
    }

    /// Records a step that is not taken because of another one.
    pub(crate) fn skip(&mut self, step: Step, did: impl Into<String>, because: Step) {
        let begun = self.begin(step, did);
        self.end(begun, Finding::skipped(because));
    }

    /// The steps so far.
    #[must_use]
    pub(crate) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The steps that were taken.
    #[must_use]
    pub(crate) fn into_outcomes(self) -> Vec<Outcome> {
        self.outcomes
    }
}
