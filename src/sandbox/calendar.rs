//! The sandbox's clock, and dates as OpenEMR writes them, all in UTC.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;

/// The clock of the sandbox, which can be set wrong on purpose.
#[derive(Debug)]
pub(super) struct Clock {
    /// Seconds by which it is ahead.
    offset: AtomicI64,
}

impl Clock {
    /// Creates a clock that is `offset` seconds ahead, or behind when negative.
    pub(super) fn new(offset: i64) -> Clock {
        Clock { offset: AtomicI64::new(offset) }
    }

    /// Sets the clock `offset` seconds ahead, or behind when negative.
    pub(super) fn set_offset(&self, offset: i64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// Returns the seconds by which the clock is ahead.
    pub(super) fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Returns the seconds since 1970 with microseconds, as PHP's `microtime(true)` does.
    pub(super) fn now(&self) -> f64 {
        since_1970().as_micros() as f64 / 1e6 + self.offset() as f64
    }

    /// Returns the whole seconds since 1970.
    pub(super) fn seconds(&self) -> i64 {
        self.now() as i64
    }
}

/// Returns the milliseconds since 1970 by the machine's clock, which no offset changes.
pub(super) fn machine_milliseconds() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the date, as in `2026-11-24`.
pub(super) fn date(seconds: i64) -> String {
    format(seconds, "%Y-%m-%d")
}

/// Returns the time of day, as in `02:28:24`.
pub(super) fn time(seconds: i64) -> String {
    format(seconds, "%H:%M:%S")
}

/// Returns `2026-11-24T02:28:24`, the form without a zone that a Bundle's `lastUpdated` has.
pub(super) fn date_time(seconds: i64) -> String {
    format(seconds, "%Y-%m-%dT%H:%M:%S")
}

/// Returns the value of a `Date` field (RFC 9110 section 5.6.7), as in `Tue, 24 Nov 2026 02:28:24 GMT`.
pub(super) fn http_date(seconds: i64) -> String {
    format(seconds, "%a, %d %b %Y %H:%M:%S GMT")
}

/// Formats seconds since 1970; a time outside the years -9999 to 9999 becomes the nearest one inside.
fn format(seconds: i64, pattern: &str) -> String {
    let nearest = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(nearest).strftime(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (1_795_487_302, "Tue, 24 Nov 2026 02:28:22 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (-86_400, "Wed, 31 Dec 1969 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(seconds), expected);
        }
        assert_eq!(date_time(1_795_487_302), "2026-11-24T02:28:22");
        assert_eq!(date(-577_756_800), "1951-09-11");
    }

    #[test]
    fn a_clock_that_is_off_by_more_than_the_calendar_still_has_a_date() {
        assert_eq!(date(i64::MAX), "9999-12-30");
        assert!(http_date(i64::MIN).ends_with(" GMT"));
    }
}
