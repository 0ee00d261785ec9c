//! Policies: what a client may do. Whatever no rule permits is refused.

use std::sync::{Arc, LazyLock};

use crate::access::grants::{ExportGrant, LocalGrants, OperationGrant};
use crate::access::line::Line;
use crate::access::patients::Patients;
use crate::access::rule::{Letter, Rule};
use crate::fhir::export_level::Level;

/// What a client may do. Rules widen each other; the constraints within one narrow it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Policy {
    /// The name, or the client's where the policy stands in the client itself.
    pub(crate) name: String,
    /// Where it is written.
    pub(crate) line: Line,
    /// The SMART scopes.
    pub(crate) rules: Vec<Rule>,
    /// The patients.
    pub(crate) patients: Patients,
    /// The bulk exports.
    pub(crate) export: Vec<ExportGrant>,
    /// The operations.
    pub(crate) operations: Vec<OperationGrant>,
    /// The sites, by name; `None` is every site.
    pub(crate) sites: Option<Vec<String>>,
    /// The gateway's own routes.
    pub(crate) local: LocalGrants,
    /// Whether everything is permitted, so that nothing need be decided.
    pub(crate) is_everything: bool,
}

impl Policy {
    /// The policy of callers on this machine where no client is configured: everything is permitted.
    #[must_use]
    pub(crate) fn everything() -> Arc<Self> {
        let local = LocalGrants { force_refresh: true, token: true };
        let line = Line { key: "access (no clients are configured)".to_owned(), number: None };
        Arc::new(Self { name: "everything".to_owned(), line, local, is_everything: true, ..Self::default() })
    }

    /// The policy of callers of whom nothing is known yet: nothing is permitted. Every request begins with it.
    #[must_use]
    pub(crate) fn nothing() -> Arc<Self> {
        static NOTHING: LazyLock<Arc<Policy>> =
            LazyLock::new(|| Arc::new(Policy { name: "nothing".to_owned(), ..Policy::default() }));
        Arc::clone(&NOTHING)
    }

    /// Whether it permits bulk exports of a level.
    #[must_use]
    pub(crate) fn may_export(&self, level: &Level) -> bool {
        self.is_everything || self.export.iter().any(|grant| grant.permits(level))
    }

    /// Whether an export may hold resources of a type: those that can be both searched and read, as far as constraints let them.
    #[must_use]
    pub(crate) fn may_export_type(&self, resource_type: &str) -> bool {
        let has = |letter| self.rules_of(resource_type, letter).next().is_some();
        self.is_everything || (has(Letter::Read) && has(Letter::Search))
    }

    /// The same policy, narrowed to what the scopes of a token permit as well. A token never widens it.
    #[must_use]
    pub(crate) fn narrowed_to(&self, scopes: &[Rule]) -> Self {
        if self.is_everything {
            let export = vec![ExportGrant::System, ExportGrant::Patient, ExportGrant::AnyGroup];
            return Self { rules: scopes.to_vec(), export, is_everything: false, ..self.clone() };
        }
        let both = |rule: &Rule| scopes.iter().filter_map(|scope| rule.and(scope)).collect::<Vec<_>>();
        Self { rules: self.rules.iter().flat_map(both).collect(), ..self.clone() }
    }

    /// The rules that permit an interaction with resources of a type, perhaps not with all of them.
    pub(crate) fn rules_of<'a>(&'a self, resource_type: &'a str, letter: Letter) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.is_of(resource_type, letter))
    }

    /// Whether an interaction is permitted with all resources of every type.
    #[must_use]
    pub(crate) fn is_of_every_type(&self, letter: Letter) -> bool {
        self.rules.iter().any(|rule| rule.resource_type.is_none() && rule.letters.has(letter) && rule.constraints.is_empty())
    }
}
