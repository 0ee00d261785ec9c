//! Search criteria that are tested on a resource: what FHIR R4 means by a search parameter, its modifier and its value ("Search",
//! 3.1.1).

#![allow(dead_code, unreachable_pub)]

pub(crate) mod criterion;
pub(crate) mod definition;

pub use criterion::Criterion;

/// The criteria of one search: a resource must meet each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Criteria(Vec<Criterion>);

/// The bytes are no JSON object of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a resource cannot be read")]
pub struct Illegible;

impl Criteria {
    /// Adds a criterion.
    pub(crate) fn and(&mut self, criterion: Criterion) {
        self.0.push(criterion);
    }

    /// Whether every resource meets them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a resource, a whole JSON object, meets all of them.
    ///
    /// # Errors
    /// The resource cannot be read, so that nobody knows.
    pub fn are_met_by(&self, resource: &[u8]) -> Result<bool, Illegible> {
        let resource = serde_json::from_slice(resource).map_err(|_| Illegible)?;
        Ok(self.0.iter().all(|criterion| criterion.is_met_by(&resource)))
    }
}
