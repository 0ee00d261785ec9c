//! The least rate at which a client must send its body, or read its answer, while it holds a permit: pure.
//!
//! Decision: `docs/decisions/17-request-bodies.md`.

use std::time::{Duration, Instant};

/// The longest time in which nothing needs to move.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// In seconds: more than anything here takes, and a sum of clock and duration that never overflows.
const A_DAY: f64 = 86_400.0;

/// How far a client is from being too slow. What it moves faster than it must gives it no more than the grace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes per second.
    rate: usize,
    grace: Duration,
    deadline: Instant,
}

impl Pace {
    /// Begins with the whole grace: 20 s, or `timeout` if that is shorter. `rate`: bytes per second.
    #[must_use]
    pub(crate) fn new(rate: usize, timeout: Duration, now: Instant) -> Self {
        Self::patient(rate, GRACE.min(timeout), now)
    }

    /// Begins with this grace.
    #[must_use]
    pub(crate) fn patient(rate: usize, grace: Duration, now: Instant) -> Self {
        Self { rate, grace, deadline: now + grace }
    }

    /// How long so many bytes may take at `rate` bytes per second.
    #[must_use]
    pub(crate) fn time_for(bytes: usize, rate: usize) -> Duration {
        Duration::from_secs_f64((bytes as f64 / rate.max(1) as f64).min(A_DAY))
    }

    /// Counts bytes that have moved; gives the time in which more must. `None`: the client is too slow.
    pub(crate) fn moved(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        self.deadline = (self.deadline + Self::time_for(bytes, self.rate)).min(now + self.grace);
        (now <= self.deadline).then(|| self.left(now))
    }

    /// The time in which more must move.
    #[must_use]
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_client_at_the_least_rate_is_never_too_slow_and_one_at_half_of_it_always(
            rate in 1_usize..100_000, seconds in 1_u64..10
        ) {
            let start = Instant::now();
            let pace_at = |rate_sent: f64| {
                let mut pace = Pace::new(rate, GRACE, start);
                (1..=100_u64).all(|step| {
                    let bytes = (rate_sent * seconds as f64).ceil() as usize;
                    pace.moved(bytes, start + Duration::from_secs(step * seconds)).is_some()
                })
            };
            prop_assert!(pace_at(rate as f64));
            prop_assert!(rate < 4 || !pace_at((rate / 2) as f64 - 0.5) || seconds * 50 <= GRACE.as_secs());
        }

        #[test]
        fn nothing_saves_up_more_than_the_grace(bytes in 0_usize..1 << 40, rate in 1_usize..1 << 20) {
            let start = Instant::now();
            let mut pace = Pace::new(rate, GRACE, start);
            prop_assert!(pace.moved(bytes, start).unwrap() <= GRACE);
            prop_assert!(pace.moved(0, start + GRACE + Duration::from_millis(1)).is_none());
        }
    }
}
