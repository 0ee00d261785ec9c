//! Policies: what a client may do. Whatever no rule permits is refused.

use std::sync::{Arc, LazyLock};

use crate::access::grants::{ExportGrant, LocalGrants, OperationGrant};
use crate::access::line::Line;
use crate::access::patients::Patients;
use crate::access::rule::{Constraint, Letter, Letters, Rule};
use crate::access::table::{Compiled, Extent, RuleTable};
use crate::fhir::export_level::Level;
use crate::limits::client_limits::ClientLimits;

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
    /// How often, and how many at once, each client that has it may ask.
    pub(crate) limits: ClientLimits,
    /// Whether everything is permitted, so that nothing need be decided.
    pub(crate) is_everything: bool,
    /// The rules by type.
    pub(crate) compiled: Compiled,
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

    /// The rules by type. They are compiled once.
    #[must_use]
    pub(crate) fn table(&self) -> &RuleTable {
        self.compiled.of(&self.rules)
    }

    /// Whether it permits bulk exports of a level.
    #[must_use]
    pub(crate) fn may_export(&self, level: &Level) -> bool {
        self.is_everything || self.export.iter().any(|grant| grant.permits(level))
    }

    /// Whether an export may hold resources of a type: those that can be both searched and read, as far as constraints let them.
    #[must_use]
    pub(crate) fn may_export_type(&self, resource_type: &str) -> bool {
        let rules = self.table().of(resource_type);
        self.is_everything || [Letter::Read, Letter::Search].iter().all(|letter| rules.extent(*letter) != Extent::Nothing)
    }

    /// Whether it permits an operation: `None` is the level of the system.
    #[must_use]
    pub(crate) fn may_call(&self, resource_type: Option<&str>, operation: &str) -> bool {
        let is_it = |grant: &OperationGrant| grant.resource_type == resource_type && grant.name == operation;
        self.is_everything || self.operations.iter().any(is_it)
    }

    /// The same policy, narrowed to what the scopes of a token permit as well. A token never widens it.
    ///
    /// SMART has no scopes for the other grants. Exports stay, and hold the types of the scopes; an operation stays where the type
    /// on which it is called can still be read without constraints.
    #[must_use]
    pub(crate) fn narrowed_to(&self, scopes: &[Rule]) -> Self {
        let everything = Rule { resource_type: None, letters: Letters::all(), constraints: Vec::new(), line: self.line.clone() };
        let own = if self.is_everything { std::slice::from_ref(&everything) } else { &self.rules };
        let mut rules: Vec<Rule> = Vec::new();
        for rule in own.iter().flat_map(|own| scopes.iter().filter_map(|scope| both(own, scope))) {
            if !rules.iter().any(|known| covers(known, &rule)) {
                rules.retain(|known| !covers(&rule, known));
                rules.push(rule);
            }
        }
        let mut narrowed =
            Self { rules, operations: Vec::new(), is_everything: false, compiled: Compiled::default(), ..self.clone() };
        let table = narrowed.table();
        let is_readable = |grant: &&OperationGrant| {
            let rules = grant.resource_type.map_or(table.of_every_type(), |name| table.of(name));
            rules.extent(Letter::Read) == Extent::All
        };
        narrowed.operations = self.operations.iter().filter(is_readable).cloned().collect();
        narrowed
    }
}

/// What two rules permit alike; `None` where that is nothing.
fn both(rule: &Rule, scope: &Rule) -> Option<Rule> {
    let resource_type = match (rule.resource_type, scope.resource_type) {
        (Some(one), Some(other)) if one != other => return None,
        (one, other) => one.or(other),
    };
    let letters = rule.letters.and(scope.letters);
    let mut constraints = rule.constraints.clone();
    let new = |constraint: &&Constraint| !rule.constraints.contains(constraint);
    constraints.extend(scope.constraints.iter().filter(new).cloned());
    (!letters.is_empty()).then(|| Rule { resource_type, letters, constraints, line: rule.line.clone() })
}

/// Whether one rule alone permits all that another one does.
fn covers(rule: &Rule, other: &Rule) -> bool {
    (rule.resource_type.is_none() || rule.resource_type == other.resource_type)
        && other.letters.and(rule.letters) == other.letters
        && rule.constraints.iter().all(|constraint| other.constraints.contains(constraint))
}
