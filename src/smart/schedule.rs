//! The schedule of a token's exchanges: when the next one is, and whether a refresh request causes one. Pure: times are passed in.
//!
//! Decision: `docs/decisions/06-token-life.md`.

use std::time::{Duration, Instant};

use crate::config::RefreshLimit;
use crate::smart::refresh_limit::{Bucket, DailyCeiling};

/// The first step of the backoff; each failure doubles it.
const FIRST_STEP: Duration = Duration::from_millis(500);
/// No wait between two attempts is longer.
const LONGEST_STEP: Duration = Duration::from_secs(30);
/// No wait after a failure is shorter, whatever the random number.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);

/// The life of the current token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// When the request that brought it was sent.
    pub requested_at: Instant,
    /// How long it lives from then.
    pub life: Duration,
}

/// Why a newer token is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A caller asked for it: `POST /oauth/token?force=true`.
    Forced,
    /// OpenEMR refused the current one, or there is none.
    Needed,
}

/// What a refresh request causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// An exchange, now.
    Exchange,
    /// Nothing: too many were requested of late. One is allowed after so long.
    Limited(Duration),
    /// Nothing: the last attempt failed, and the next begins by itself after so long, or is allowed then.
    BackingOff(Duration),
}

/// The schedule of one token.
///
/// Without failures, the next attempt is at 80 % of the token's life, up to 5 % of it sooner. After failures:
/// exponential backoff with full jitter, 30 s at most, but not before the time that the token endpoint has asked for
/// (`Retry-After`), which no refresh request overtakes. Refresh requests are limited by a [`Bucket`], forced ones also by a
/// [`DailyCeiling`]; attempts of the schedule are not.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    next: Instant,
    failures: u32,
    /// The token endpoint wants to be left alone until then.
    not_before: Instant,
    bucket: Bucket,
    forced: DailyCeiling,
}

impl Schedule {
    /// A schedule without a token: the first attempt is at once.
    #[must_use]
    pub(crate) fn new(limit: RefreshLimit, now: Instant) -> Self {
        Self { next: now, failures: 0, not_before: now, bucket: Bucket::new(limit, now), forced: DailyCeiling::new(limit) }
    }

    /// When the next attempt begins unless it is requested sooner.
    #[must_use]
    pub(crate) fn next_attempt(&self) -> Instant {
        self.next
    }

    /// How many attempts have failed since the last one that succeeded.
    #[must_use]
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Decides about a refresh request that the current token does not satisfy.
    pub(crate) fn decide(&mut self, reason: Reason, now: Instant) -> Decision {
        // A refused request waits for the next attempt; only a forced refresh overtakes it.
        if reason == Reason::Needed && self.failures > 0 && now < self.next {
            return Decision::BackingOff(self.next - now);
        }
        if now < self.not_before {
            return Decision::BackingOff(self.not_before - now);
        }
        let is_forced = reason == Reason::Forced;
        if let (true, Err(wait)) = (is_forced, self.forced.check(now)) {
            return Decision::Limited(wait);
        }
        match self.bucket.take(now) {
            Ok(()) => {
                if is_forced {
                    self.forced.take(now);
                }
                Decision::Exchange
            }
            Err(wait) => Decision::Limited(wait),
        }
    }

    /// Records an attempt that brought a token. `dice` is uniform in `0.0..1.0`.
    pub(crate) fn succeeded(&mut self, held: Held, dice: f64) {
        self.failures = 0;
        self.next = held.requested_at + held.life.mul_f64(0.8 - 0.05 * dice.clamp(0.0, 1.0));
    }

    /// Records an attempt that failed at `now`, and how long the token endpoint asked to be left alone. `dice` is uniform in
    /// `0.0..1.0`.
    pub(crate) fn failed(&mut self, now: Instant, dice: f64, retry_after: Option<Duration>) {
        let step = FIRST_STEP.saturating_mul(1 << self.failures.min(16)).min(LONGEST_STEP);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + retry_after.unwrap_or_default();
        self.next = (now + step.mul_f64(dice.clamp(0.0, 1.0)).max(SHORTEST_WAIT)).max(self.not_before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: RefreshLimit = RefreshLimit { every: Duration::from_secs(1), burst: 5, daily: u32::MAX };

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
            schedule.failed(at, 1.0, None);
            assert_eq!(schedule.next_attempt() - at, Duration::from_millis(expected));
        }
        schedule.failures = u32::MAX;
        schedule.failed(at, 1.0, None);
        assert_eq!(schedule.next_attempt() - at, LONGEST_STEP);
    }

    #[test]
    fn a_refusal_waits_for_the_backoff_and_a_person_does_not() {
        let at = Instant::now();
        let mut schedule = Schedule::new(LIMIT, at);
        schedule.failed(at, 1.0, None);
        assert_eq!(schedule.decide(Reason::Needed, at), Decision::BackingOff(Duration::from_millis(500)));
        for _ in 0..5 {
            assert_eq!(schedule.decide(Reason::Forced, at), Decision::Exchange);
        }
        assert_eq!(schedule.decide(Reason::Forced, at), Decision::Limited(Duration::from_secs(1)));
    }

    #[test]
    fn a_wait_that_the_server_asks_for_is_kept_by_everyone() {
        let at = Instant::now();
        let mut schedule = Schedule::new(LIMIT, at);
        let minute = Duration::from_secs(60);
        schedule.failed(at, 1.0, Some(minute));
        assert_eq!(schedule.next_attempt(), at + minute);
        for reason in [Reason::Needed, Reason::Forced] {
            assert_eq!(schedule.decide(reason, at + minute / 2), Decision::BackingOff(minute / 2));
            assert_eq!(schedule.clone().decide(reason, at + minute), Decision::Exchange);
        }
        // A shorter one than the backoff's changes nothing, and the next failure without one ends it.
        schedule.failed(at + minute, 1.0, Some(Duration::ZERO));
        assert_eq!(schedule.next_attempt(), at + minute + Duration::from_secs(1));
        schedule.failed(at + minute, 0.0, None);
        assert_eq!(schedule.next_attempt(), at + minute + SHORTEST_WAIT);
        assert_eq!(schedule.decide(Reason::Forced, at + minute), Decision::Exchange);
    }

    #[test]
    fn the_daily_ceiling_is_on_forced_refreshes_alone() {
        let at = Instant::now();
        let mut schedule = Schedule::new(RefreshLimit { every: Duration::from_millis(1), burst: 100, daily: 2 }, at);
        assert_eq!(schedule.decide(Reason::Forced, at), Decision::Exchange);
        assert_eq!(schedule.decide(Reason::Needed, at), Decision::Exchange);
        assert_eq!(schedule.decide(Reason::Forced, at), Decision::Exchange);
        assert_eq!(schedule.decide(Reason::Forced, at), Decision::Limited(Duration::from_secs(24 * 60 * 60)));
        for _ in 0..10 {
            assert_eq!(schedule.decide(Reason::Needed, at), Decision::Exchange);
        }
        assert_eq!(schedule.next_attempt(), at, "the schedule goes its own way");
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

    /// A stretch of simulated time: the token endpoint works or not, and callers request new tokens.
    #[derive(Debug, Clone)]
    struct Stretch {
        works: bool,
        lasts: Duration,
        requests: Vec<(Duration, Reason)>,
        dice: f64,
        /// What a failing token endpoint asks for.
        retry_after: Option<Duration>,
    }

    fn stretch() -> impl Strategy<Value = Stretch> {
        let reason = prop_oneof![Just(Reason::Forced), Just(Reason::Needed)];
        let requests = proptest::collection::vec((0_u64..60_000, reason), 0..30);
        let retry_after = proptest::option::of((0_u64..300_000).prop_map(Duration::from_millis));
        (any::<bool>(), 1_u64..120_000, requests, 0.0..1.0_f64, retry_after).prop_map(
            |(works, lasts, requests, dice, retry_after)| {
                let lasts = Duration::from_millis(lasts);
                let mut requests: Vec<(Duration, Reason)> = requests
                    .into_iter()
                    .map(|(at, reason)| (Duration::from_millis(at), reason))
                    .filter(|(at, _)| *at < lasts)
                    .collect();
                requests.sort_by_key(|(at, _)| *at);
                Stretch { works, lasts, requests, dice, retry_after }
            },
        )
    }

    proptest! {
        /// Over any sequence of outages and refresh requests: no exchange but those of the schedule and those that the limit allows,
        /// no token is used past its end, none is asked for while the endpoint wants to be left alone, and a mended endpoint brings
        /// a token within one step of that.
        #[test]
        fn the_token_endpoint_is_never_hammered_and_always_found_again(
            stretches in proptest::collection::vec(stretch(), 1..12), life in 2_000_u64..300_000,
        ) {
            let life = Duration::from_millis(life);
            let begin = Instant::now();
            let mut schedule = Schedule::new(LIMIT, begin);
            let mut held: Option<Held> = None;
            let mut left_alone_until = begin;
            let (mut now, mut caused, mut scheduled, mut failures) = (begin, 0_u128, 0_u128, 0_u128);
            for stretch in stretches {
                let (from, end) = (now, now + stretch.lasts);
                let mut requests = stretch.requests.iter().map(|(at, reason)| (from + *at, *reason)).peekable();
                loop {
                    let attempt = schedule.next_attempt().max(now);
                    let request = requests.next_if(|(at, _)| *at <= attempt);
                    let at = request.map_or(attempt, |(at, _)| at);
                    if at >= end {
                        break;
                    }
                    now = at;
                    if let Some((_, reason)) = request {
                        match schedule.decide(reason, now) {
                            Decision::Exchange => caused += 1,
                            Decision::Limited(wait) => { prop_assert!(wait <= LIMIT.every); continue }
                            Decision::BackingOff(wait) => {
                                prop_assert!(wait <= LONGEST_STEP.max(left_alone_until.saturating_duration_since(now)));
                                continue
                            }
                        }
                    } else {
                        scheduled += 1;
                    }
                    prop_assert!(now >= left_alone_until);
                    if stretch.works {
                        let token = Held { requested_at: now, life };
                        schedule.succeeded(token, stretch.dice);
                        held = Some(token);
                    } else {
                        failures += 1;
                        schedule.failed(now, stretch.dice, stretch.retry_after);
                        left_alone_until = now + stretch.retry_after.unwrap_or_default();
                        prop_assert!(schedule.next_attempt() - now >= SHORTEST_WAIT);
                    }
                    prop_assert!(schedule.next_attempt() <= (now + LONGEST_STEP.max(life)).max(left_alone_until));
                }
                now = end;
                if stretch.works && now - from.max(left_alone_until.min(now)) > LONGEST_STEP.max(life) {
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
