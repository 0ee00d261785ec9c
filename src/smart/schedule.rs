//! When to go to the token endpoint next: arithmetic on times that are passed in.

use std::time::{Duration, Instant};

/// The first step of the backoff; each failure doubles it.
const FIRST_STEP: Duration = Duration::from_millis(500);
/// No wait between two attempts is longer.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// No wait after a failure is shorter, however the dice fall.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// A token in hand, as far as the schedule cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// When the request that brought it was sent.
    pub requested_at: Instant,
    /// How long it lives from then.
    pub life: Duration,
}

/// The failures since the last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many in a row; at least one.
    pub in_a_row: u32,
    /// When the last one was known.
    pub last: Instant,
}

/// When to try next.
///
/// Without failures: at once if there is no token, else at 80 % of its life, up to 5 % of it sooner. After
/// failures: exponential backoff with full jitter, 30 s at most. `dice` is uniform in `0.0..1.0`.
#[must_use]
pub fn next_attempt(now: Instant, held: Option<Held>, failures: Option<Failures>, dice: f64) -> Instant {
    let dice = dice.clamp(0.0, 1.0);
    if let Some(failures) = failures {
        let doublings = failures.in_a_row.saturating_sub(1).min(16);
        let step = FIRST_STEP.saturating_mul(1 << doublings).min(LONGEST_STEP);
        return failures.last + step.mul_f64(dice).max(SHORTEST_WAIT);
    }
    match held {
        None => now,
        Some(held) => held.requested_at + held.life.mul_f64(0.8 - 0.05 * dice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_missing_token_is_fetched_at_once() {
        let now = Instant::now();
        assert_eq!(next_attempt(now, None, None, 0.7), now);
    }

    #[test]
    fn a_five_minute_token_is_renewed_after_four_minutes() {
        let at = Instant::now();
        let held = Some(Held { requested_at: at, life: Duration::from_secs(300) });
        assert_eq!(next_attempt(at, held, None, 0.0), at + Duration::from_secs(240));
        assert_eq!(next_attempt(at, held, None, 1.0), at + Duration::from_secs(225));
    }

    #[test]
    fn backoff_doubles_to_its_ceiling() {
        let at = Instant::now();
        let wait = |n| next_attempt(at, None, Some(Failures { in_a_row: n, last: at }), 1.0) - at;
        assert_eq!([wait(1), wait(2), wait(3)], [500, 1000, 2000].map(Duration::from_millis));
        assert_eq!(wait(7), Duration::from_secs(30));
        assert_eq!(wait(u32::MAX), Duration::from_secs(30));
    }

    proptest! {
        #[test]
        fn renewal_lies_between_75_and_80_percent_of_any_life(millis in 2_000_u64..2_592_000_000, dice in 0.0..1.0_f64) {
            let at = Instant::now();
            let life = Duration::from_millis(millis);
            let next = next_attempt(at, Some(Held { requested_at: at, life }), None, dice) - at;
            prop_assert!(next >= life.mul_f64(0.749) && next <= life.mul_f64(0.801));
        }

        #[test]
        fn waits_after_failures_are_bounded(in_a_row in 1_u32.., dice in 0.0..1.0_f64) {
            let at = Instant::now();
            let wait = next_attempt(at, None, Some(Failures { in_a_row, last: at }), dice) - at;
            prop_assert!(wait >= SHORTEST_WAIT && wait <= LONGEST_STEP);
        }
    }
}
