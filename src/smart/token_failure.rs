//! The token exchanges that have failed since one succeeded, for the operator.

use jiff::Timestamp;

/// Exchanges that failed, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenFailure {
    /// When the first of them failed.
    pub(crate) since: Timestamp,
    /// When the latest one did.
    pub(crate) at: Timestamp,
    /// How many there were.
    pub(crate) count: u32,
    /// Why the latest one failed, with what mends it.
    pub(crate) cause: String,
}

impl TokenFailure {
    /// The failure after `earlier`, if that has not been overcome.
    #[must_use]
    pub(super) fn after(earlier: Option<&Self>, at: Timestamp, cause: String) -> Self {
        let since = earlier.map_or(at, |earlier| earlier.since);
        Self { since, at, count: earlier.map_or(0, |earlier| earlier.count).saturating_add(1), cause }
    }
}
