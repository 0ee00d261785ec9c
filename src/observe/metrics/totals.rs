//! What has been counted since the start of the process, as sums for the history of the last hour.

use super::histogram::BUCKETS;
use super::table::CLASSES;

/// Counts of requests by the class of their status.
pub(super) type ByClass = [u64; CLASSES.len()];
/// Counts of durations by the bucket of a histogram.
pub(super) type ByBucket = [u64; BUCKETS];

/// Sums over all sites.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    /// Requests to the FHIR API.
    pub(super) requests: ByClass,
    /// How long these took.
    pub(super) durations: ByBucket,
    /// How long OpenEMR took for its part of them.
    pub(super) upstream: ByBucket,
    /// Requests to the FHIR API by the number of the client; the last is for those without a name.
    pub(super) clients: Vec<ByClass>,
    /// Requests whose client did not get what it asked for, by the number of the reason.
    pub(super) reasons: Vec<u64>,
}

/// What came to `before` until `after`. Counters never go down; should one seem to, nothing came.
#[must_use]
pub(super) fn since<const N: usize>(before: &[u64; N], after: &[u64; N]) -> [u64; N] {
    let mut difference = *after;
    for (after, before) in difference.iter_mut().zip(before) {
        *after = after.saturating_sub(*before);
    }
    difference
}

/// Adds counts to others, place by place.
pub(super) fn add(counts: &[u64], to: &mut [u64]) {
    for (sum, count) in to.iter_mut().zip(counts) {
        *sum += count;
    }
}
