//! The rules of a policy, compiled: what they permit of each type.

use std::sync::OnceLock;

use crate::access::line::Line;
use crate::access::rule::{Letter, Letters, Rule};
use crate::fhir::criteria::{Criteria, definition};

/// What the rules of a policy permit, by type.
#[derive(Debug, Default)]
pub(crate) struct RuleTable {
    /// Of the types that no rule names.
    others: TypeRules,
    /// Of the types that one names, sorted by name.
    named: Vec<(&'static str, TypeRules)>,
}

/// What the rules permit of one type.
#[derive(Debug, Default)]
pub(crate) struct TypeRules {
    /// The letters that some rule has.
    letters: Letters,
    /// The letters that a rule without constraints has.
    free: Letters,
    /// The rules with constraints.
    limited: Vec<LimitedRule>,
    /// The letters of each rule, and where it is written.
    lines: Vec<(Letters, Line)>,
    /// What is added to searches that no rule without constraints permits.
    narrowing: Vec<(String, String)>,
}

/// A rule with constraints.
#[derive(Debug)]
struct LimitedRule {
    letters: Letters,
    criteria: Criteria,
}

/// How far the rules permit an interaction with a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Not at all.
    Nothing,
    /// With the resources that meet constraints.
    Some,
    /// With all resources.
    All,
}

impl RuleTable {
    /// Compiles rules.
    #[must_use]
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut names: Vec<_> = rules.iter().filter_map(|rule| rule.resource_type).collect();
        names.sort_unstable();
        names.dedup();
        let of_all = |rule: &&Rule| rule.resource_type.is_none();
        Self {
            others: TypeRules::new(rules.iter().filter(of_all)),
            named: names
                .into_iter()
                .map(|name| (name, TypeRules::new(rules.iter().filter(|rule| rule.is_about(name)))))
                .collect(),
        }
    }

    /// What is permitted of a type.
    #[must_use]
    pub(crate) fn of(&self, resource_type: &str) -> &TypeRules {
        let found = self.named.binary_search_by(|(name, _)| (*name).cmp(resource_type)).ok();
        found.and_then(|at| self.named.get(at)).map_or(&self.others, |(_, rules)| rules)
    }

    /// What is permitted of every type, by wildcards alone.
    #[must_use]
    pub(crate) fn of_every_type(&self) -> &TypeRules {
        &self.others
    }
}

impl TypeRules {
    fn new<'a>(rules: impl Iterator<Item = &'a Rule>) -> Self {
        let mut all = Self::default();
        let mut searchable = Vec::new();
        for rule in rules {
            if rule.constraints.is_empty() {
                all.free = all.free.or(rule.letters);
            } else if let Some(criteria) = rule.criteria() {
                all.limited.push(LimitedRule { letters: rule.letters, criteria });
                if rule.letters.has(Letter::Search) {
                    searchable.push(rule);
                }
            } else {
                // What cannot be tested is permitted by nobody.
                continue;
            }
            all.letters = all.letters.or(rule.letters);
            all.lines.push((rule.letters, rule.line.clone()));
        }
        all.narrowing = narrowing(&searchable);
        all
    }

    /// How far an interaction is permitted.
    #[must_use]
    pub(crate) fn extent(&self, letter: Letter) -> Extent {
        match (self.free.has(letter), self.letters.has(letter)) {
            (true, _) => Extent::All,
            (false, true) => Extent::Some,
            (false, false) => Extent::Nothing,
        }
    }

    /// The tests of which a resource must meet one, where the extent is [`Extent::Some`].
    pub(crate) fn tests(&self, letter: Letter) -> impl Iterator<Item = &Criteria> {
        self.limited.iter().filter(move |rule| rule.letters.has(letter)).map(|rule| &rule.criteria)
    }

    /// Where the rules that permit an interaction are written.
    pub(crate) fn lines(&self, letter: Letter) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |(letters, _)| letters.has(letter)).map(|(_, line)| line)
    }

    /// The parameters that are added to a search for a type, where its extent is [`Extent::Some`], with decoded values. There are
    /// none where the rules cannot be said by parameters that the type has: the test of the answer is enough.
    pub(crate) fn narrowing(&self, resource_type: &str) -> impl Iterator<Item = &(String, String)> {
        self.narrowing.iter().filter(move |(name, _)| definition::of(resource_type, name).is_some())
    }
}

/// What rules with constraints say as parameters of one search.
fn narrowing(rules: &[&Rule]) -> Vec<(String, String)> {
    match rules {
        [rule] => rule.constraints.iter().map(|constraint| (constraint.name.clone(), constraint.value.clone())).collect(),
        [first, ..] => {
            let single = |rule: &&Rule| match rule.constraints.as_slice() {
                [only] if first.constraints.first().is_some_and(|first| first.name == only.name) => Some(only.value.clone()),
                _ => None,
            };
            let values: Option<Vec<String>> = rules.iter().map(single).collect();
            let name = first.constraints.first().map(|constraint| constraint.name.clone());
            values.zip(name).map(|(values, name)| (name, values.join(","))).into_iter().collect()
        }
        [] => Vec::new(),
    }
}

/// The compiled rules of a policy, made when they are first asked for. A copy begins without them, because its rules may change.
#[derive(Debug, Default)]
pub(crate) struct Compiled(OnceLock<RuleTable>);

impl Compiled {
    /// The table of these rules.
    pub(crate) fn of(&self, rules: &[Rule]) -> &RuleTable {
        self.0.get_or_init(|| RuleTable::new(rules))
    }
}

impl Clone for Compiled {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Policies are compared by their rules.
impl PartialEq for Compiled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Compiled {}
