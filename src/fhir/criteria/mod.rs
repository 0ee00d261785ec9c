//! Search criteria that are tested on a resource: what FHIR R4 means by a search parameter, its modifier and its value ("Search",
//! 3.1.1).
//!
//! Decision: `docs/decisions/36-search-criteria.md`.

pub(crate) mod criterion;
mod date;
pub(crate) mod definition;
mod json;
mod reference;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod values;

use crate::fhir::criteria::criterion::Findings;
use crate::fhir::criteria::json::Json;
use crate::fhir::json::outline::{Event, Outline, Shape};

pub(crate) use criterion::Criterion;
pub(crate) use json::Illegible;

/// The criteria of one search: a resource must meet each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Criteria {
    criteria: Vec<Criterion>,
    /// The members of a resource that they look at.
    members: Vec<&'static str>,
}

impl Criteria {
    /// Adds a criterion.
    pub(crate) fn and(&mut self, criterion: Criterion) {
        for element in &criterion.definition.elements {
            if !self.members.contains(&element.first.name) {
                self.members.push(element.first.name);
            }
        }
        self.criteria.push(criterion);
    }

    /// Whether every resource meets them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.criteria.is_empty()
    }

    /// Whether a resource, a whole JSON object, meets all of them.
    ///
    /// # Errors
    /// The resource cannot be read, or a member that is looked at is there twice, so that nobody knows.
    pub fn are_met_by(&self, resource: &[u8]) -> Result<bool, Illegible> {
        let mut findings = vec![Findings::default(); self.criteria.len()];
        let mut seen = vec![false; self.members.len()];
        self.each_member(resource, |number, name, value| {
            if std::mem::replace(seen.get_mut(number).ok_or(Illegible)?, true) {
                return Err(Illegible);
            }
            let value = Json::read(value)?;
            findings
                .iter_mut()
                .zip(&self.criteria)
                .try_for_each(|(findings, criterion)| findings.look_at(criterion, name, &value))
        })?;
        Ok(findings.iter().zip(&self.criteria).all(|(findings, criterion)| findings.conclude(criterion)))
    }

    /// Calls `found` with the number, the name and the value of each member that is looked at.
    fn each_member(
        &self,
        resource: &[u8],
        mut found: impl FnMut(usize, &'static str, &[u8]) -> Result<(), Illegible>,
    ) -> Result<(), Illegible> {
        let (mut outline, mut at, mut depth, mut wanted) = (Outline::default(), 0, 0, None);
        loop {
            let begin = at;
            match outline.next(resource, &mut at).map_err(|_| Illegible)? {
                Some(Event::Value(shape @ Shape::Object)) if depth == 0 => {
                    outline.enter(shape, &mut at).map_err(|_| Illegible)?;
                    depth = 1;
                }
                Some(Event::Value(_)) if depth == 0 => return Err(Illegible),
                Some(Event::Name) => {
                    let name = outline.name();
                    wanted = self.members.iter().copied().enumerate().find(|(_, member)| *member == name);
                }
                Some(Event::Value(shape)) => outline.pass(shape),
                Some(Event::Passed { is_end: false }) => return Err(Illegible),
                Some(Event::Passed { is_end: true }) => {
                    if let Some((number, name)) = wanted.take() {
                        found(number, name, resource.get(begin..at).ok_or(Illegible)?)?;
                    }
                }
                Some(Event::Closed) => {}
                None if outline.has_ended() => return Ok(()),
                None => return Err(Illegible),
            }
        }
    }
}
