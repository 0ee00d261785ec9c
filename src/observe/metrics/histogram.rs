//! A histogram of durations without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in microseconds. What is longer falls into one bucket more.
pub(super) const BOUNDS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// How many buckets there are, that one included.
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts durations in buckets from 0.1 ms to a minute.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    longer: AtomicU64,
    /// The sum, in microseconds.
    sum: AtomicU64,
}

/// What a histogram has counted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counted {
    /// The sum, in seconds.
    pub(crate) sum: f64,
    /// How many durations there were.
    pub(crate) count: u64,
    /// The upper bound of each bucket in seconds, and how many durations are in this bucket alone.
    pub(crate) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Counts a duration.
    pub(super) fn observe(&self, duration: Duration) {
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| *bound < microseconds);
        self.buckets.get(at).unwrap_or(&self.longer).fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// Adds to `sum` how many durations are in each bucket.
    pub(super) fn add_to(&self, sum: &mut [u64; BUCKETS]) {
        for (sum, count) in sum.iter_mut().zip(self.buckets.iter().chain([&self.longer])) {
            *sum += count.load(Ordering::Relaxed);
        }
    }

    /// What has been counted until now; `None` if that is nothing.
    pub(super) fn counted(&self) -> Option<Counted> {
        let seconds = |microseconds: u64| Duration::from_micros(microseconds).as_secs_f64();
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut buckets: Vec<(f64, u64)> =
            BOUNDS.iter().zip(&self.buckets).map(|(bound, count)| (seconds(*bound), load(count))).collect();
        // As the library writes +Inf.
        buckets.push((f64::MAX, load(&self.longer)));
        let count = buckets.iter().map(|(_, count)| count).sum();
        (count > 0).then(|| Counted { sum: seconds(load(&self.sum)), count, buckets })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counted(), None);
        for microseconds in [0, 100, 101, 60_000_000, 60_000_001] {
            histogram.observe(Duration::from_micros(microseconds));
        }
        let counted = histogram.counted().unwrap();
        assert_eq!((counted.count, counted.sum), (5, 120.000_202));
        let filled: Vec<(f64, u64)> = counted.buckets.iter().copied().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0001, 2), (0.000_25, 1), (60.0, 1), (f64::MAX, 1)]);
    }
}
