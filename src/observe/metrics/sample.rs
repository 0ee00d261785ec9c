//! One value of a family.

use super::family::Family;
use super::histogram::Counted;

/// A value with its labels, in the order in which the family declares them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(super) family: Family,
    pub(super) labels: Vec<String>,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(f64),
    Durations(Counted),
}

impl Sample {
    /// A count.
    #[must_use]
    pub(crate) fn count(family: Family, labels: Vec<String>, count: u64) -> Self {
        Self::number(family, labels, count as f64)
    }

    /// A number.
    #[must_use]
    pub(crate) fn number(family: Family, labels: Vec<String>, number: f64) -> Self {
        Self { family, labels, value: Value::Number(number) }
    }

    /// What a histogram has counted.
    #[must_use]
    pub(super) fn durations(family: Family, labels: Vec<String>, counted: Counted) -> Self {
        Self { family, labels, value: Value::Durations(counted) }
    }
}
