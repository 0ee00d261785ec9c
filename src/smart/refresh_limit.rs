//! The limits on token exchanges that callers cause: a token bucket, and a daily ceiling. Pure: times are passed in.
//!
//! Decision: `docs/decisions/06-token-life.md`.

use std::time::{Duration, Instant};

use crate::config::RefreshLimit;

/// A bucket that holds up to `burst` refreshes and gets one more each `every`.
///
/// Kept as one instant (the "generic cell rate algorithm"): when the bucket will be full again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    limit: RefreshLimit,
    full_at: Instant,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub(super) fn new(limit: RefreshLimit, now: Instant) -> Self {
        Self { limit, full_at: now }
    }

    /// Takes one refresh out.
    ///
    /// # Errors
    /// An empty bucket: how long until it holds one again.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + self.limit.every;
        let room = self.limit.every.saturating_mul(self.limit.burst.max(1));
        match (full_at - now).checked_sub(room) {
            None | Some(Duration::ZERO) => {
                self.full_at = full_at;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

/// A day, for [`DailyCeiling`].
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The ceiling on forced refreshes: so many in the 24 hours that begin with the first of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct DailyCeiling {
    most: u32,
    ends: Option<Instant>,
    taken: u32,
}

impl DailyCeiling {
    /// A ceiling under which there is room.
    #[must_use]
    pub(super) fn new(limit: RefreshLimit) -> Self {
        Self { most: limit.daily, ends: None, taken: 0 }
    }

    /// Checks that there is room for one more.
    ///
    /// # Errors
    /// There is none: how long until there is.
    pub(super) fn check(&self, now: Instant) -> Result<(), Duration> {
        match self.ends {
            Some(ends) if now < ends && self.taken >= self.most => Err(ends - now),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts one.
    pub(super) fn take(&mut self, now: Instant) {
        if self.ends.is_none_or(|ends| now >= ends) {
            (self.ends, self.taken) = (Some(now + DAY), 0);
        }
        self.taken = self.taken.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: RefreshLimit = RefreshLimit { every: Duration::from_secs(1), burst: 5, daily: 3 };

    #[test]
    fn a_burst_then_one_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::new(LIMIT, start);
        for _ in 0..5 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(start + Duration::from_millis(400)), Err(Duration::from_millis(600)));
        assert_eq!(bucket.take(start + Duration::from_secs(1)), Ok(()));
        assert_eq!(bucket.take(start + Duration::from_secs(1)), Err(Duration::from_secs(1)));
    }

    #[test]
    fn a_long_rest_fills_it_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(LIMIT, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| bucket.take(later).is_ok()).count(), 5);
    }

    #[test]
    fn a_day_begins_with_its_first_refresh() {
        let start = Instant::now() + Duration::from_secs(1000);
        let mut ceiling = DailyCeiling::new(LIMIT);
        for minute in 0..3 {
            let now = start + Duration::from_secs(60 * minute);
            assert_eq!(ceiling.check(now), Ok(()));
            ceiling.take(now);
        }
        assert_eq!(ceiling.check(start + Duration::from_secs(180)), Err(DAY - Duration::from_secs(180)));
        assert_eq!(ceiling.check(start + DAY - Duration::from_secs(1)), Err(Duration::from_secs(1)));
        assert_eq!(ceiling.check(start + DAY), Ok(()));
        ceiling.take(start + DAY * 3);
        assert_eq!(ceiling.check(start + DAY * 3), Ok(()));
    }

    proptest! {
        #[test]
        fn no_window_has_more_than_its_share(
            every in 1_u64..5_000, burst in 1_u32..20, gaps in proptest::collection::vec(0_u64..3_000, 1..200),
        ) {
            let limit = RefreshLimit { every: Duration::from_millis(every), burst, daily: 100 };
            let mut now = Instant::now();
            let mut bucket = Bucket::new(limit, now);
            let mut taken: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                match bucket.take(now) {
                    Ok(()) => taken.push(now),
                    // The promise holds: when it says, and not a moment before.
                    Err(wait) => {
                        let mut early = bucket;
                        prop_assert!(early.take(now + wait - Duration::from_nanos(1)).is_err());
                        let mut on_time = bucket;
                        prop_assert!(on_time.take(now + wait).is_ok());
                    }
                }
            }
            for (index, first) in taken.iter().enumerate() {
                for (count, last) in taken.iter().skip(index).enumerate() {
                    let share = u128::from(burst) + (*last - *first).as_millis() / u128::from(every);
                    prop_assert!((count as u128) < share, "{} in {:?}", count + 1, *last - *first);
                }
            }
        }
    }
}
