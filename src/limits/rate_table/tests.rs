use std::sync::atomic::AtomicU32;
use std::thread;

use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

use super::*;
use crate::limits::rate::{Period, Rate};

const NANO: Duration = Duration::from_nanos(1);

fn per_second(requests: u32, burst: u32) -> Quota {
    Rate::new(requests, Period::Second).quota(Some(burst))
}

fn quotas() -> impl Strategy<Value = Quota> {
    let period = prop_oneof![Just(Period::Second), Just(Period::Minute), Just(Period::Hour)];
    (1_u32..2000, period, 1_u32..50).prop_map(|(requests, period, burst)| Rate::new(requests, period).quota(Some(burst)))
}

/// Pauses between requests, in parts of a quota's interval: mostly short ones.
fn pauses() -> impl Strategy<Value = Vec<f64>> {
    proptest::collection::vec(prop_oneof![4 => Just(0.0), 4 => 0.0..1.5, 1 => 0.0..100.0], 1..300)
}

/// The times of requests with these pauses.
fn times(quota: Quota, pauses: &[f64]) -> Vec<Duration> {
    let after = |time: &mut Duration, pause: &f64| {
        *time += quota.interval().mul_f64(*pause);
        Some(*time)
    };
    pauses.iter().scan(Duration::ZERO, after).collect()
}

#[test]
fn a_burst_passes_then_one_each_interval() {
    let (table, key, quota) = (RateTable::new(8), Key::from(7), per_second(20, 40));
    let left: Vec<u32> = (0..40).map(|_| table.admit(key, quota, Duration::ZERO).remaining).collect();
    assert_eq!(left, (0..40).rev().collect::<Vec<_>>());
    let refused = table.admit(key, quota, Duration::ZERO);
    assert_eq!(refused, Admission { quota, is_admitted: false, remaining: 0, next: Duration::from_millis(50) });
    assert!(!table.admit(key, quota, Duration::from_millis(49)).is_admitted);
    let next = table.admit(key, quota, Duration::from_millis(50));
    assert_eq!((next.is_admitted, next.remaining, next.next), (true, 0, Duration::from_millis(50)));
    let rested = table.admit(key, quota, Duration::from_secs(60));
    assert_eq!((rested.is_admitted, rested.remaining, rested.next), (true, 39, Duration::from_millis(50)));
}

#[test]
fn another_quota_applies_from_the_next_request_on() {
    let (table, key, now) = (RateTable::new(8), Key::from(7), Duration::from_secs(5));
    let slow = Rate::new(1, Period::Hour).quota(Some(10));
    assert_eq!((0..20).filter(|_| table.admit(key, slow, now).is_admitted).count(), 10);
    // Ten hours would be left of the old one.
    let fast = per_second(20, 2);
    let first = table.admit(key, fast, now);
    assert_eq!((first.is_admitted, first.next), (false, Duration::from_millis(50)));
    assert!(table.admit(key, fast, now + first.next).is_admitted);
    // What is used of a rate is used of the next one.
    assert!(!table.admit(key, per_second(20, 1), now + first.next).is_admitted);
}

#[test]
fn the_state_that_is_worth_least_goes() {
    let (table, quota) = (RateTable::new(WAYS), per_second(1, 100));
    let busy = Key::from(1);
    for _ in 0..100 {
        assert!(table.admit(busy, quota, Duration::ZERO).is_admitted);
    }
    for number in 2..1000 {
        assert!(table.admit(Key::from(number), quota, Duration::ZERO).is_admitted);
        assert!(!table.admit(busy, quota, Duration::ZERO).is_admitted, "{number}");
    }
    assert_eq!(table.evicted(), 998 - 7);
    // Buckets that are full are worth nothing.
    let later = Duration::from_secs(1);
    for number in 1000..1007 {
        assert!(table.admit(Key::from(number), quota, later).is_admitted);
    }
    assert_eq!(table.evicted(), 998 - 7);
    assert_eq!(table.admit(Key::from(1007), quota, later).remaining, 99);
    assert_eq!(table.evicted(), 998 - 7 + 1);
}

#[test]
fn threads_that_bring_the_same_new_keys_have_one_bucket_each() {
    const SETS: u64 = 4;
    const KEYS: u64 = SETS * WAYS as u64;
    for round in 0..100 {
        let (table, quota) = (RateTable::new(KEYS as usize), per_second(1, 10));
        let admitted: Vec<AtomicU32> = std::iter::repeat_with(AtomicU32::default).take(KEYS as usize).collect();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for number in (0..4).flat_map(|_| 0..KEYS) {
                        if table.admit(Key::from(1 + number), quota, Duration::ZERO).is_admitted {
                            admitted[number as usize].fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let counts: Vec<u32> = admitted.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert!(counts.iter().all(|count| *count == 10), "round {round}: {counts:?}");
        assert_eq!(table.evicted(), 0);
    }
}

#[test]
fn threads_never_get_more_than_the_burst_at_one_time() {
    let (table, quota) = (RateTable::new(1024), per_second(10, 25));
    for round in 0..20_u64 {
        let admitted = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        if table.admit(Key::from(round + 1), quota, Duration::from_secs(round)).is_admitted {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.load(Ordering::Relaxed), 25, "round {round}");
    }
    assert_eq!(table.evicted(), 0);
}

#[test]
fn threads_that_crowd_each_other_out_leave_a_table_that_counts() {
    let (table, quota) = (RateTable::new(2 * WAYS), per_second(1, 3));
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let table = &table;
            scope.spawn(move || {
                for turn in 0..5000_u64 {
                    let admission = table.admit(Key::from(1 + (turn * 7 + thread) % 40), quota, Duration::from_millis(turn));
                    assert!(admission.remaining < 3 && admission.next <= Duration::from_secs(3), "{admission:?}");
                }
            });
        }
    });
    let mut keys: Vec<u64> = table.sets.iter().flat_map(|set| &set.0).map(|slot| slot.key.load(Ordering::Relaxed)).collect();
    keys.sort_unstable();
    let taken = keys.len();
    keys.dedup();
    assert_eq!((keys.len(), taken), (taken, 2 * WAYS), "no key has two slots");
}

proptest! {
    #[test]
    fn no_window_has_more_than_burst_and_rate(quota in quotas(), pauses in pauses()) {
        let (table, key) = (RateTable::new(8), Key::from(1));
        let admitted: Vec<Duration> =
            times(quota, &pauses).into_iter().filter(|now| table.admit(key, quota, *now).is_admitted).collect();
        let burst = quota.burst() as usize;
        for (first, from) in admitted.iter().enumerate() {
            for (last, to) in admitted.iter().enumerate().skip(first + burst) {
                let beyond = u32::try_from(last - first + 1 - burst).unwrap_or(u32::MAX);
                prop_assert!(quota.interval() * beyond <= *to - *from, "{first} to {last}");
            }
        }
    }

    #[test]
    fn what_is_told_is_true_to_the_nanosecond(quota in quotas(), pauses in pauses()) {
        let fresh = || (RateTable::new(8), Key::from(1));
        let times = times(quota, &pauses);
        let (table, key) = fresh();
        for (count, now) in times.iter().enumerate() {
            let admission = table.admit(key, quota, *now);
            // The same up to here, in tables that are asked on.
            let again = || {
                let (table, key) = fresh();
                for now in &times[..=count] {
                    let _ = table.admit(key, quota, *now);
                }
                (table, key)
            };
            if count % 16 == 0 {
                let (after, key) = again();
                let at_once = (0..=quota.burst()).take_while(|_| after.admit(key, quota, *now).is_admitted).count();
                prop_assert_eq!(at_once, admission.remaining as usize);
            }
            if !admission.is_admitted {
                let (early, key) = again();
                prop_assert!(!early.admit(key, quota, *now + admission.next.saturating_sub(NANO)).is_admitted);
                let (late, key) = again();
                prop_assert!(late.admit(key, quota, *now + admission.next).is_admitted);
            }
        }
    }

    #[test]
    fn keys_do_not_disturb_each_other(quota in quotas(), steps in proptest::collection::vec((1_u64..9, 0.0..2.0), 1..300)) {
        let table = RateTable::new(8);
        let clock = FakeRelativeClock::default();
        let alone: Vec<_> = (1..9).map(|_| RateLimiter::direct_with_clock(quota.cells(), clock.clone())).collect();
        // A direct limiter takes the time 0 for a state that was never used.
        let mut now = quota.interval();
        clock.advance(now);
        for (key, pause) in steps {
            let pause = quota.interval().mul_f64(pause);
            clock.advance(pause);
            now += pause;
            let expected = alone[key as usize - 1].check().is_ok();
            prop_assert_eq!(table.admit(Key::from(key), quota, now).is_admitted, expected);
        }
        prop_assert_eq!(table.evicted(), 0);
    }

    #[test]
    fn a_table_never_grows_and_always_decides(
        slots in 1_usize..64, keys in proptest::collection::vec(any::<u64>(), 0..300)
    ) {
        let (table, quota) = (RateTable::new(slots), per_second(1, 2));
        for key in &keys {
            prop_assert!(table.admit(Key::from(*key), quota, Duration::ZERO).remaining < 2);
        }
        prop_assert_eq!(table.sets.len(), slots.div_ceil(WAYS));
        let different: std::collections::HashSet<Key> = keys.iter().map(|key| Key::from(*key)).collect();
        prop_assert!(table.evicted() <= (keys.len() - different.len().min(WAYS)) as u64);
    }
}

proptest! {
    #[test]
    fn a_look_says_what_would_be_decided_and_counts_nothing(quota in quotas(), pauses in pauses()) {
        let (table, key) = (RateTable::new(8), Key::from(7));
        for now in times(quota, &pauses) {
            let (looked, again) = (table.look(key, quota, now), table.look(key, quota, now));
            prop_assert_eq!(looked, again);
            let decided = table.admit(key, quota, now);
            prop_assert_eq!(looked.is_admitted, decided.is_admitted);
            if !looked.is_admitted {
                prop_assert_eq!(looked, decided);
            }
        }
    }
}
