//! When to go to the token endpoint next, and who may cause it: decisions on times that are passed in.

use std::time::{Duration, Instant};

use crate::config::RefreshLimit;
use crate::smart::refresh_limit::Bucket;

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

/// Why somebody wishes for a newer token than the one in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Somebody asked for it: `POST /oauth/token?force=true`.
    Forced,
    /// OpenEMR refused the one in hand, or there is none.
    Needed,
}

/// What becomes of such a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// An exchange, now.
    Exchange,
    /// Too many were caused of late: one is allowed after so long.
    Limited(Duration),
    /// The last attempt failed: the next begins after so long, by itself.
    BackingOff(Duration),
}

/// The schedule of one token.
///
/// Without failures, the next attempt is at 80 % of the token's life, up to 5 % of it sooner. After failures:
/// exponential backoff with full jitter, 30 s at most. Wishes come out of a [`Bucket`]; attempts of the schedule do not.
#[derive(Debug, Clone)]
pub struct Schedule {
    next: Instant,
    failures: u32,
    bucket: Bucket,
}

impl Schedule {
    /// A schedule without a token: the first attempt is at once.
    #[must_use]
    pub fn new(limit: RefreshLimit, now: Instant) -> Self {
        Self { next: now, failures: 0, bucket: Bucket::new(limit, now) }
    }

    /// When the next attempt begins unless a wish comes first.
    #[must_use]
    pub fn next_attempt(&self) -> Instant {
        self.next
    }

    /// How many attempts have failed since the last one that succeeded.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Judges a wish that the token in hand does not fulfil.
    pub fn judge(&mut self, reason: Reason, now: Instant) -> Decision {
        // Whom OpenEMR refused is helped by the next attempt; only a person may jump the queue.
        if reason == Reason::Needed && self.failures > 0 && now < self.next {
            return Decision::BackingOff(self.next - now);
        }
        match self.bucket.take(now) {
            Ok(()) => Decision::Exchange,
            Err(wait) => Decision::Limited(wait),
        }
    }

    /// An attempt brought a token. `dice` is uniform in `0.0..1.0`.
    pub fn succeeded(&mut self, held: Held, dice: f64) {
        self.failures = 0;
        self.next = held.requested_at + held.life.mul_f64(0.8 - 0.05 * dice.clamp(0.0, 1.0));
    }

    /// An attempt failed, as was known at `now`. `dice` is uniform in `0.0..1.0`.
    pub fn failed(&mut self, now: Instant, dice: f64) {
        let step = FIRST_STEP.saturating_mul(1 << self.failures.min(16)).min(LONGEST_STEP);
        self.failures = self.failures.saturating_add(1);
        self.next = now + step.mul_f64(dice.clamp(0.0, 1.0)).max(SHORTEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: RefreshLimit = RefreshLimit { every: Duration::from_secs(1), burst: 5 };

    #[test]
    fn a_missing_token_is_fetched_at_once() {
        let now = Instant::now();
        assert_eq!(Schedule::new(LIMIT, now).next_attempt(), now);
    }

    #[test]
    fn a_five_minute_token_is_renewed_after_four_minutes() {
        let at = Instant::now();
        let mut schedule = Schedule::new(LIMIT, at);
        for (dice, seconds) in [(0.0, 240), (1.0, 225)] {
            schedule.succeeded(Held { requested_at: at, life: Duration::from_secs(300) }, dice);
            assert_eq!(schedule.next_attempt(), at + Duration::from_secs(seconds));
        }
    }

    #[test]
    fn backoff_doubles_to_its_ceiling() {
        let at = Instant::now();
        let mut schedule = Schedule::new(LIMIT, at);
        for expected in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            schedule.failed(at, 1.0);
            assert_eq!(schedule.next_attempt() - at, Duration::from_millis(expected));
        }
        schedule.failures = u32::MAX;
        schedule.failed(at, 1.0);
        assert_eq!(schedule.next_attempt() - at, LONGEST_STEP);
    }

    #[test]
    fn a_refusal_waits_for_the_backoff_and_a_person_does_not() {
        let at = Instant::now();
        let mut schedule = Schedule::new(LIMIT, at);
        schedule.failed(at, 1.0);
        assert_eq!(schedule.judge(Reason::Needed, at), Decision::BackingOff(Duration::from_millis(500)));
        for _ in 0..5 {
            assert_eq!(schedule.judge(Reason::Forced, at), Decision::Exchange);
        }
        assert_eq!(schedule.judge(Reason::Forced, at), Decision::Limited(Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn renewal_lies_between_75_and_80_percent_of_any_life(millis in 2_000_u64..2_592_000_000, dice in 0.0..1.0_f64) {
            let at = Instant::now();
            let life = Duration::from_millis(millis);
            let mut schedule = Schedule::new(LIMIT, at);
            schedule.succeeded(Held { requested_at: at, life }, dice);
            let next = schedule.next_attempt() - at;
            prop_assert!(next >= life.mul_f64(0.749) && next <= life.mul_f64(0.801));
        }
    }

    /// A stretch of simulated time: the token endpoint works or not, and callers wish for new tokens.
    #[derive(Debug, Clone)]
    struct Stretch {
        works: bool,
        lasts: Duration,
        wishes: Vec<(Duration, Reason)>,
        dice: f64,
    }

    fn stretch() -> impl Strategy<Value = Stretch> {
        let reason = prop_oneof![Just(Reason::Forced), Just(Reason::Needed)];
        let wishes = proptest::collection::vec((0_u64..60_000, reason), 0..30);
        (any::<bool>(), 1_u64..120_000, wishes, 0.0..1.0_f64).prop_map(|(works, lasts, wishes, dice)| {
            let lasts = Duration::from_millis(lasts);
            let mut wishes: Vec<(Duration, Reason)> = wishes
                .into_iter()
                .map(|(at, reason)| (Duration::from_millis(at), reason))
                .filter(|(at, _)| *at < lasts)
                .collect();
            wishes.sort_by_key(|(at, _)| *at);
            Stretch { works, lasts, wishes, dice }
        })
    }

    proptest! {
        /// Over any sequence of outages and wishes: no exchange but those of the schedule and those that the limit allows,
        /// no token is used past its end, and a mended endpoint brings a token within one step.
        #[test]
        fn the_token_endpoint_is_never_hammered_and_always_found_again(
            stretches in proptest::collection::vec(stretch(), 1..12), life in 2_000_u64..300_000,
        ) {
            let life = Duration::from_millis(life);
            let begin = Instant::now();
            let mut schedule = Schedule::new(LIMIT, begin);
            let mut held: Option<Held> = None;
            let (mut now, mut caused, mut scheduled, mut failures) = (begin, 0_u128, 0_u128, 0_u128);
            for stretch in stretches {
                let (from, end) = (now, now + stretch.lasts);
                let mut wishes = stretch.wishes.iter().map(|(at, reason)| (from + *at, *reason)).peekable();
                loop {
                    let attempt = schedule.next_attempt().max(now);
                    let wish = wishes.next_if(|(at, _)| *at <= attempt);
                    let at = wish.map_or(attempt, |(at, _)| at);
                    if at >= end {
                        break;
                    }
                    now = at;
                    if let Some((_, reason)) = wish {
                        match schedule.judge(reason, now) {
                            Decision::Exchange => caused += 1,
                            Decision::Limited(wait) => { prop_assert!(wait <= LIMIT.every); continue }
                            Decision::BackingOff(wait) => { prop_assert!(wait <= LONGEST_STEP); continue }
                        }
                    } else {
                        scheduled += 1;
                    }
                    if stretch.works {
                        let token = Held { requested_at: now, life };
                        schedule.succeeded(token, stretch.dice);
                        held = Some(token);
                    } else {
                        failures += 1;
                        schedule.failed(now, stretch.dice);
                        prop_assert!(schedule.next_attempt() - now >= SHORTEST_WAIT);
                    }
                    prop_assert!(schedule.next_attempt() - now <= LONGEST_STEP.max(life));
                }
                now = end;
                if stretch.works && stretch.lasts > LONGEST_STEP.max(life) {
                    prop_assert!(held.is_some_and(|token| now - token.requested_at < token.life), "no token in hand");
                    prop_assert_eq!(schedule.failures(), 0);
                }
            }
            let elapsed = now - begin;
            prop_assert!(caused <= u128::from(LIMIT.burst) + elapsed.as_millis() / LIMIT.every.as_millis());
            let lives = elapsed.as_millis() / life.mul_f64(0.75).as_millis().max(1) + 1;
            prop_assert!(scheduled <= lives + failures + caused, "{scheduled} scheduled, {lives} lives, {failures} failures");
        }
    }
}
