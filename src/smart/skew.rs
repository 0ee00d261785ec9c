//! The difference between OpenEMR's clock and this machine's, by which assertions are shifted.
//!
//! OpenEMR accepts an assertion from a minute in the future and, from 7.0.4 on, up to five minutes old. Its answers say
//! what time it is there (Date, RFC 9110 section 6.6.1), to the second.
//!
//! Decision: `docs/decisions/06-token-life.md`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Less than this, in seconds, is the resolution of Date and the time of the exchange, and not corrected.
const CORRECTED_FROM: i64 = 3;
/// From this many seconds on, the difference is logged.
pub(crate) const NOTABLE_FROM: i64 = 11;
/// A change of up to this many seconds is the same skew, measured again.
const SAME_WITHIN: i64 = 5;
/// A difference above this, in seconds, is not believed.
pub(crate) const ABSURD_FROM: i64 = 24 * 60 * 60;

/// Seconds by which the server's clock is ahead of ours, from its Date field in an answer to a request that was sent at
/// `sent` and took `took`. `None` when the field is no date.
#[must_use]
pub(crate) fn measure(date: &str, sent: SystemTime, took: Duration) -> Option<i64> {
    let theirs = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let ours = sent.duration_since(UNIX_EPOCH).ok()? + took / 2;
    // Date is cut to the second: half of one is the likeliest rest.
    let theirs = i64::try_from(theirs.as_millis()).ok()?.checked_add(500)?;
    let apart = theirs.checked_sub(i64::try_from(ours.as_millis()).ok()?)?;
    Some((apart.div_euclid(500) + 1).div_euclid(2))
}

/// What has changed with a measurement, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The clocks stand more than ten seconds apart: seconds by which the server's is ahead.
    Apart(i64),
    /// They agree again.
    Together,
    /// The server's Date is more than a day off, and not used.
    Absurd(i64),
}

/// The skew of one token endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Skew {
    correction: i64,
    said: Option<i64>,
}

impl Skew {
    /// Seconds to add to our clock so that it shows the server's time; 0 while they about agree.
    #[must_use]
    pub(super) fn correction(&self) -> i64 {
        self.correction
    }

    /// Records a measurement, and returns what it changes.
    pub(super) fn observe(&mut self, ahead: i64) -> Change {
        if ahead.saturating_abs() > ABSURD_FROM {
            return self.say(ahead, Change::Absurd(ahead));
        }
        self.correction = if ahead.abs() >= CORRECTED_FROM { ahead } else { 0 };
        if ahead.abs() >= NOTABLE_FROM {
            self.say(ahead, Change::Apart(ahead))
        } else if self.said.take().is_some() {
            Change::Together
        } else {
            Change::None
        }
    }

    fn say(&mut self, ahead: i64, change: Change) -> Change {
        if self.said.is_some_and(|said| said.abs_diff(ahead) <= SAME_WITHIN.unsigned_abs()) {
            return Change::None;
        }
        self.said = Some(ahead);
        change
    }

    /// `now` on the server's clock.
    #[must_use]
    pub(super) fn apply(&self, now: SystemTime) -> SystemTime {
        let by = Duration::from_secs(self.correction.unsigned_abs());
        let shifted = if self.correction < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        shifted.unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn measures_against_the_middle_of_the_exchange() {
        let date = "Tue, 24 Nov 2026 02:28:24 GMT";
        let theirs = httpdate::parse_http_date(date).unwrap();
        assert_eq!(measure(date, theirs, Duration::from_secs(1)), Some(0));
        assert_eq!(measure(date, theirs - Duration::from_secs(600), Duration::from_millis(200)), Some(600));
        assert_eq!(measure(date, theirs + Duration::from_secs(600), Duration::from_millis(900)), Some(-600));
        assert_eq!(measure(date, theirs - Duration::from_secs(10), Duration::from_secs(20)), Some(1));
        for nonsense in ["", "yesterday", "Tue, 99 Nov 2026 02:28:24 GMT"] {
            assert_eq!(measure(nonsense, theirs, Duration::ZERO), None, "{nonsense}");
        }
    }

    #[test]
    fn a_skew_is_said_once_and_again_when_it_changes() {
        let mut skew = Skew::default();
        for (ahead, correction, change) in [
            (1, 0, Change::None),
            (-2, 0, Change::None),
            (4, 4, Change::None),
            (600, 600, Change::Apart(600)),
            (601, 601, Change::None),
            (599, 599, Change::None),
            (700, 700, Change::Apart(700)),
            (-600, -600, Change::Apart(-600)),
            (0, 0, Change::Together),
            (1, 0, Change::None),
            (400_000, 0, Change::Absurd(400_000)),
            (400_001, 0, Change::None),
            (i64::MIN, 0, Change::Absurd(i64::MIN)),
            (20, 20, Change::Apart(20)),
        ] {
            assert_eq!((skew.observe(ahead), skew.correction()), (change, correction), "{ahead}");
        }
    }

    proptest! {
        #[test]
        fn a_corrected_clock_is_within_two_seconds_of_the_servers(offset in -86_000_i64..86_000, now in 0_u64..86_400_000, way in 0_u64..2_000) {
            let ours = 1_795_000_000_000 + now;
            // The server looks at its clock when half of the exchange is over, and cuts it to the second.
            let theirs = (i64::try_from(ours + way / 2).unwrap() + offset * 1000) as u64;
            let date = httpdate::fmt_http_date(at(theirs));
            let mut skew = Skew::default();
            skew.observe(measure(&date, at(ours), Duration::from_millis(way)).unwrap());
            let corrected = skew.apply(at(ours + way / 2)).duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
            prop_assert!((corrected - theirs as i64).abs() <= 3_500, "{} ms", corrected - theirs as i64);
            if offset.abs() > 4 {
                prop_assert!((corrected - theirs as i64).abs() <= 1_500, "{} ms", corrected - theirs as i64);
            }
        }

        #[test]
        fn no_measurement_panics(aheads in proptest::collection::vec(any::<i64>(), 0..20), date in ".{0,40}") {
            let mut skew = Skew::default();
            for ahead in aheads {
                skew.observe(ahead);
                let _ = skew.apply(at(0));
            }
            let _ = measure(&date, at(0), Duration::MAX);
        }
    }
}
