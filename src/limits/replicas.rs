//! Several gateways with the same limits, each of which counts by itself: the part of a limit that one of them has.

use std::num::NonZeroU32;

use crate::limits::rate::Quota;

/// How many gateways there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replicas(NonZeroU32);

impl Default for Replicas {
    fn default() -> Self {
        Self(NonZeroU32::MIN)
    }
}

impl Replicas {
    /// So many gateways, one at least.
    #[must_use]
    pub(crate) fn new(count: u32) -> Self {
        Self(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN))
    }

    /// The part of a number of requests: all parts together are no more than it, unless it is less than one for each.
    #[must_use]
    pub(crate) fn part(self, of: u32) -> u32 {
        (of / self.0).max(1)
    }

    /// The part of a rate: its burst is divided, and each request takes so many times as long to be free again.
    #[must_use]
    pub(crate) fn part_of_rate(self, of: Quota) -> Quota {
        of.scaled(self.0.get(), self.part(of.burst()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::rate::{Period, Rate};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn one_gateway_has_the_whole() {
        let quota = Rate::new(20, Period::Second).quota(Some(40));
        assert_eq!((Replicas::default().part(7), Replicas::default().part_of_rate(quota)), (7, quota));
        assert_eq!(Replicas::new(0), Replicas::default());
    }

    #[test]
    fn three_gateways_have_a_third_each() {
        let replicas = Replicas::new(3);
        assert_eq!([9, 10, 11, 12].map(|of| replicas.part(of)), [3, 3, 3, 4]);
        let part = replicas.part_of_rate(Rate::new(20, Period::Second).quota(Some(40)));
        assert_eq!((part.interval(), part.burst()), (Duration::from_millis(150), 13));
        // There is nothing less than one request.
        assert_eq!(replicas.part(1), 1);
        assert_eq!(replicas.part_of_rate(Rate::new(1, Period::Hour).quota(None)).window(), Duration::from_secs(3 * 3600));
    }

    proptest! {
        #[test]
        fn the_parts_are_no_more_than_the_whole(
            count in 1_u32..=1000, requests in 1_u32..=1_000_000, burst in 1_u32..=100_000, period in 0..3_usize
        ) {
            let (replicas, period) = (Replicas::new(count), [Period::Second, Period::Minute, Period::Hour][period]);
            let whole = Rate::new(requests, period).quota(Some(burst));
            let part = replicas.part_of_rate(whole);
            prop_assert_eq!(part.interval(), whole.interval() * count);
            prop_assert!(part.burst() * count <= whole.burst() || part.burst() == 1);
            prop_assert!(replicas.part(burst) * count <= burst || replicas.part(burst) == 1);
        }
    }
}
