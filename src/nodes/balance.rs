//! The choice of a node for the next request: in turn, or the quicker of two. Pure: which nodes may be chosen and what each
//! costs are passed in.

use std::time::Duration;

/// After this long without a measurement a latency counts half, so that a node that was slow once is tried again.
const HALF_LIFE: Duration = Duration::from_secs(5);
/// Each answer moves the average by this part of the difference.
const WEIGHT: u64 = 8;
/// The cost of a node that has never been measured, in microseconds: low, so that it soon is.
const UNKNOWN: u64 = 1_000;

/// The next node in turn: the `turn`-th among those that may be chosen, so that the share of a node that may not is spread
/// over all others.
#[must_use]
pub(super) fn in_turn(turn: usize, count: usize, may: impl Fn(usize) -> bool) -> Option<usize> {
    let able = (0..count).filter(|node| may(*node)).count();
    nth(turn.checked_rem(able)?, count, may)
}

/// The cheaper of two random nodes ("the power of two choices"): nearly as good as the cheapest of all, and requests that
/// choose at the same moment do not all choose the same node.
#[must_use]
pub(super) fn cheaper_of_two(
    turn: usize,
    count: usize,
    may: impl Fn(usize) -> bool,
    cost: impl Fn(usize) -> u64,
) -> Option<usize> {
    let able = (0..count).filter(|node| may(*node)).count();
    let lot = mixed(turn as u64) as usize;
    let first = lot.checked_rem(able)?;
    let one = nth(first, count, &may)?;
    let Some(further) = (lot >> 32).checked_rem(able - 1) else { return Some(one) };
    let other = nth((first + 1 + further) % able, count, &may)?;
    Some(if cost(other) < cost(one) { other } else { one })
}

/// The average after one more answer, in microseconds; 0 means that there was none yet.
#[must_use]
pub(super) fn average(so_far: u64, answered_after: Duration) -> u64 {
    let sample = u64::try_from(answered_after.as_micros()).unwrap_or(u64::MAX).clamp(1, u64::MAX / WEIGHT);
    match so_far {
        0 => sample,
        _ => (so_far - so_far / WEIGHT).saturating_add(sample / WEIGHT).max(1),
    }
}

/// The cost of one more request at a node: the average, halved for each five seconds since it was last measured,
/// times the requests that would then be in flight.
#[must_use]
pub(super) fn cost(average: u64, since_measured: Duration, in_flight: usize) -> u64 {
    let halvings = since_measured.as_millis() / HALF_LIFE.as_millis();
    let average = average.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0);
    average.saturating_add(UNKNOWN).saturating_mul((in_flight as u64).saturating_add(1))
}

fn nth(place: usize, count: usize, may: impl Fn(usize) -> bool) -> Option<usize> {
    (0..count).filter(|node| may(*node)).nth(place)
}

/// SplitMix64's finalizer: consecutive turns become unrelated numbers.
fn mixed(turn: u64) -> u64 {
    let mut lot = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    lot = (lot ^ (lot >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    lot = (lot ^ (lot >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    lot ^ (lot >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(count: usize, choose: impl Fn(usize) -> Option<usize>) -> Vec<usize> {
        let mut shares = vec![0; count];
        for turn in 0..1200 {
            shares[choose(turn).unwrap()] += 1;
        }
        shares
    }

    #[test]
    fn turns_are_shared_evenly_among_those_that_are_in() {
        assert_eq!(shares(3, |turn| in_turn(turn, 3, |_| true)), [400, 400, 400]);
        assert_eq!(shares(3, |turn| in_turn(turn, 3, |node| node != 0)), [0, 600, 600]);
        assert_eq!(shares(1, |turn| in_turn(turn, 1, |_| true)), [1200]);
    }

    #[test]
    fn the_dearest_of_three_is_left_alone_and_the_cheapest_preferred() {
        let cost = |node: usize| [10, 20, 30][node];
        let shares = shares(3, |turn| cheaper_of_two(turn, 3, |_| true, cost));
        assert!(shares[0] > shares[1] && shares[2] == 0, "{shares:?}");
    }

    #[test]
    fn equal_nodes_share_by_lot() {
        let shares = shares(4, |turn| cheaper_of_two(turn, 4, |_| true, |_| 1));
        assert!(shares.iter().all(|share| (200..400).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_average_follows_and_a_busy_or_slow_node_costs_more() {
        let ms = Duration::from_millis;
        assert_eq!(average(0, ms(40)), 40_000);
        let mut slowed = 40_000;
        for _ in 0..40 {
            slowed = average(slowed, ms(400));
        }
        assert!((390_000..=400_000).contains(&slowed), "{slowed}");
        assert!(cost(40_000, ms(0), 3) > cost(40_000, ms(0), 2));
        assert!(cost(40_000, ms(0), 0) < cost(400_000, ms(0), 0));
        assert!(cost(400_000, Duration::from_secs(60), 0) < cost(40_000, ms(0), 0), "forgotten in time");
    }

    proptest! {
        #[test]
        fn who_is_chosen_may_be(turn: usize, able in proptest::collection::vec(any::<bool>(), 0..9), costs in proptest::collection::vec(any::<u64>(), 9)) {
            for chosen in [
                in_turn(turn, able.len(), |node| able[node]),
                cheaper_of_two(turn, able.len(), |node| able[node], |node| costs[node]),
            ] {
                match chosen {
                    Some(node) => prop_assert!(able[node]),
                    None => prop_assert!(!able.contains(&true)),
                }
            }
        }

        #[test]
        fn no_latency_overflows(so_far: u64, micros: u64, since_ms: u64, in_flight: usize) {
            let next = average(so_far, Duration::from_micros(micros));
            prop_assert!(next > 0);
            let _ = cost(next, Duration::from_millis(since_ms), in_flight.saturating_sub(1));
        }
    }
}
