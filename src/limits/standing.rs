//! Whether a queue stands: CoDel (RFC 8289), which tells a queue that never gets short from one that a burst has made.

use std::time::{Duration, Instant};

/// How long a queue may be above its target, in targets, before it stands.
const INTERVAL: u32 = 4;
/// A queue that stands again within so many intervals is cut as often as before.
const MEMORY: u32 = 16;

/// What is known of one queue.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// When it will have stood for an interval, if every wait has been too long until then.
    stands_at: Option<Instant>,
    /// When the next request is cut off, while it stands.
    next_cut: Option<Instant>,
    /// How often it was cut since it stood.
    cuts: u32,
    /// When it was cut last, and how often by then.
    before: Option<(Instant, u32)>,
}

impl Standing {
    /// Whether the request at the head, which has waited this long, is cut off. `target`: the wait that may last.
    pub(super) fn cuts(&mut self, waited: Duration, target: Duration, now: Instant) -> bool {
        let interval = target.saturating_mul(INTERVAL);
        if waited < target {
            self.rest();
            return false;
        }
        if now < *self.stands_at.get_or_insert(now + interval) {
            return false;
        }
        let due = match self.next_cut {
            Some(due) if now < due => return false,
            Some(due) => due,
            None => {
                self.cuts = match self.before {
                    Some((then, cuts)) if now.saturating_duration_since(then) < interval * MEMORY => cuts.saturating_sub(2),
                    Some(_) | None => 0,
                };
                now
            }
        };
        self.cuts = self.cuts.saturating_add(1);
        self.before = Some((now, self.cuts));
        self.next_cut = Some(due + interval.div_f64(f64::from(self.cuts).sqrt()));
        true
    }

    /// A wait was short, or nobody waits behind: the queue does not stand.
    pub(super) fn rest(&mut self) {
        self.stands_at = None;
        self.next_cut = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: Duration = Duration::from_millis(500);

    /// How many of the heads are cut that leave every 100 ms after these waits, in ms.
    fn cut(waits: impl IntoIterator<Item = u64>) -> usize {
        let (start, mut standing) = (Instant::now(), Standing::default());
        let waits = (1_u64..).zip(waits);
        let cuts =
            waits.map(|(at, wait)| standing.cuts(Duration::from_millis(wait), TARGET, start + Duration::from_millis(100 * at)));
        cuts.filter(|is_cut| *is_cut).count()
    }

    #[test]
    fn a_burst_is_no_standing_queue() {
        assert_eq!(cut([5000; 20]), 0, "two seconds");
        assert_eq!(cut((0..200).map(|at| if at % 15 == 0 { 400 } else { 5000 })), 0, "one short wait in between is enough");
        assert_eq!(cut([499; 500]), 0);
    }

    #[test]
    fn a_queue_that_stands_is_cut_ever_more_often() {
        let (early, late) = (cut([600; 60]), cut([600; 120]));
        assert!(early >= 2, "{early}");
        assert!(late > 2 * early, "{early}, {late}");
    }

    proptest! {
        #[test]
        fn short_waits_are_never_cut(waits in proptest::collection::vec(0_u64..2000, 0..300)) {
            let (start, mut standing) = (Instant::now(), Standing::default());
            for (at, wait) in (1_u64..).zip(waits) {
                let is_cut = standing.cuts(Duration::from_millis(wait), TARGET, start + Duration::from_millis(100 * at));
                prop_assert!(!is_cut || wait >= 500);
            }
        }
    }
}
