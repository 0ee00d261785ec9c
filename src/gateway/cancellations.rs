//! The limit on cancelled requests of one HTTP/2 connection (CVE-2023-44487, "rapid reset").
//!
//! To cancel a request costs the client one frame. OpenEMR's PHP goes on working at it, while the gateway has the permit back
//! and would send the next one. In HTTP/1.1 it costs the client a connection; here it takes a token from a bucket.
//!
//! Decision: `docs/decisions/20-http2.md`.

use std::time::{Duration, Instant};

/// The size of the bucket: a browser that leaves a page cancels everything that it was loading.
const BURST: u32 = 100;
/// The time in which one token is added.
const EVERY: Duration = Duration::from_millis(200);

/// A token bucket, kept as the instant at which it will be full again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cancellations {
    full_at: Instant,
}

impl Cancellations {
    /// A full bucket.
    #[must_use]
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Counts a cancelled request; false when the bucket is empty.
    pub(super) fn note(&mut self, now: Instant) -> bool {
        self.full_at = self.full_at.max(now) + EVERY;
        self.full_at - now <= EVERY * BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_and_then_five_a_second() {
        let start = Instant::now();
        let mut cancellations = Cancellations::new(start);
        assert!((0..BURST).all(|_| cancellations.note(start)));
        assert!(!cancellations.note(start));
        let mut cancellations = Cancellations::new(start);
        assert!((0..10 * BURST).all(|nth| cancellations.note(start + EVERY * nth)));
    }

    proptest! {
        /// However they come, more than the burst and what the time allows never pass.
        #[test]
        fn no_pattern_gets_more_than_its_share(pauses in proptest::collection::vec(0_u64..400, 1..400)) {
            let start = Instant::now();
            let mut cancellations = Cancellations::new(start);
            let mut now = start;
            let mut passed = 0_u128;
            for pause in pauses {
                now += Duration::from_millis(pause);
                if !cancellations.note(now) {
                    break;
                }
                passed += 1;
            }
            prop_assert!(passed <= u128::from(BURST) + (now - start).as_millis() / EVERY.as_millis() + 1);
        }
    }
}
