//! Search criteria that are tested on a resource: what FHIR R4 means by a search parameter, its modifier and its value ("Search",
//! 3.1.1).
//!
//! Decision: `docs/decisions/36-search-criteria.md`.

pub(crate) mod criterion;
mod date;
pub(crate) mod definition;
pub(crate) mod json;
pub(crate) mod members;
mod reference;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod values;

use crate::fhir::criteria::criterion::Findings;
use crate::fhir::criteria::json::Json;
use crate::fhir::json::located::Needle;
use crate::fhir::json::outline;

pub(crate) use criterion::Criterion;
pub use json::Illegible;

/// The criteria of one search: a resource must meet each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Criteria {
    criteria: Vec<Criterion>,
    /// The members of a resource that they look at.
    members: Vec<Needle>,
}

impl Criteria {
    /// Adds a criterion.
    pub(crate) fn and(&mut self, criterion: Criterion) {
        for element in &criterion.definition.elements {
            if !self.members.iter().any(|member| member.name() == element.first.name) {
                self.members.push(Needle::new(element.first.name));
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
        let mut values = vec![None; self.members.len()];
        members::each(resource, |written, value| {
            let Some(number) = self.number(written)? else { return Ok(()) };
            match values.get_mut(number).ok_or(Illegible)?.replace(value) {
                None => Ok(()),
                Some(_) => Err(Illegible),
            }
        })?;
        self.are_met_by_members(&values)
    }

    /// The members of a resource that they look at.
    pub(crate) fn members(&self) -> &[Needle] {
        &self.members
    }

    /// Whether a resource meets all of them, whose [`Criteria::members`] have these values, or are not there.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(crate) fn are_met_by_members(&self, values: &[Option<&[u8]>]) -> Result<bool, Illegible> {
        let mut findings = vec![Findings::default(); self.criteria.len()];
        for (member, value) in self.members.iter().zip(values) {
            let Some(value) = value.map(Json::read).transpose()? else { continue };
            let mut each = findings.iter_mut().zip(&self.criteria);
            each.try_for_each(|(findings, criterion)| findings.look_at(criterion, member.name(), &value))?;
        }
        Ok(findings.iter().zip(&self.criteria).all(|(findings, criterion)| findings.conclude(criterion)))
    }

    /// The number of the member of this name, as it is written, where it is looked at.
    fn number(&self, written: &[u8]) -> Result<Option<usize>, Illegible> {
        let number = |name: &[u8]| self.members.iter().position(|member| member.name().as_bytes() == name);
        if memchr::memchr(b'\\', written).is_none() {
            return Ok(number(written));
        }
        Ok(number(outline::unescaped(written).ok_or(Illegible)?.as_bytes()))
    }
}
