//! What a limit says of one request.

use std::time::Duration;

use crate::limits::rate::Quota;

/// What a rate says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    /// The rate.
    pub(crate) quota: Quota,
    /// Whether the request is within it.
    pub(crate) is_admitted: bool,
    /// How many more requests would be, at once.
    pub(crate) remaining: u32,
    /// How long it takes until there is one more than `remaining`.
    pub(crate) next: Duration,
}

/// A time in nanoseconds; one that is too long is as long as can be reckoned with.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

impl Admission {
    /// What is said where a bucket of this rate is full after `missing`, the request included if it was admitted.
    #[must_use]
    pub(crate) fn of(quota: Quota, is_admitted: bool, missing: Duration) -> Self {
        let (missing, interval, window) = (nanos(missing), nanos(quota.interval()).max(1), nanos(quota.window()));
        let free = window.saturating_sub(missing) / interval;
        Self {
            quota,
            is_admitted,
            remaining: u32::try_from(free).unwrap_or(u32::MAX),
            next: Duration::from_nanos(missing.saturating_add((free + 1).saturating_mul(interval)).saturating_sub(window)),
        }
    }
}
