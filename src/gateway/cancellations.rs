//! How often a caller may give up requests on one HTTP/2 connection (CVE-2023-44487, "rapid reset").
//!
//! A request that is given up costs its caller a frame. OpenEMR's PHP works on at it, and the gateway, which has its
//! place in flight back, would send the next one. On HTTP/1.1 giving up costs a connection; here it costs a ticket.
//!
//! Decision: `docs/decisions/20-http2.md`.

use std::time::{Duration, Instant};

/// So many at once: a browser that leaves a page gives up everything that it was loading.
const BURST: u32 = 100;
/// And then one each.
const EVERY: Duration = Duration::from_millis(200);

/// A bucket of tickets, kept as the instant at which it will be full again.
#[derive(Debug, Clone, Copy)]
pub struct Cancellations {
    full_at: Instant,
}

impl Cancellations {
    /// A full bucket.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes a ticket. False when there is none: nobody who means well gives up so much.
    pub fn note(&mut self, now: Instant) -> bool {
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
