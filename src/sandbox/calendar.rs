//! Dates as OpenEMR writes them, all in UTC.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// The clock of OpenEMR's machine, which may be off.
#[derive(Debug)]
pub struct Clock {
    /// Seconds by which it is ahead.
    offset: AtomicI64,
}

impl Clock {
    /// Ahead by so many seconds, or behind.
    pub fn new(offset: i64) -> Clock {
        Clock { offset: AtomicI64::new(offset) }
    }

    /// Sets it: ahead by so many seconds, or behind.
    pub fn set(&self, offset: i64) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    /// How many seconds it is ahead.
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// What it shows, in seconds since 1970 with microseconds: what PHP's `microtime(true)` gives.
    pub fn now(&self) -> f64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_micros() as f64 / 1e6 + self.offset() as f64
    }
}

/// Year, month and day of a day counted from 1970-01-01 (the civil calendar, days before 1970 included).
fn civil(days: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, so that the leap day is the last of its year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// `2026-11-24`.
pub fn date(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    format!("{year:04}-{month:02}-{day:02}")
}

/// `02:28:24`.
pub fn time(seconds: i64) -> String {
    let of_day = seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// `2026-11-24T02:28:24`, the zone-less form of a Bundle's `lastUpdated`.
pub fn date_time(seconds: i64) -> String {
    format!("{}T{}", date(seconds), time(seconds))
}

/// `Tue, 24 Nov 2026 02:28:24 GMT`, the `Date` field (RFC 9110 section 5.6.7).
pub fn http_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds.div_euclid(86_400);
    let (year, month, day) = civil(days);
    let name = |names: &[&'static str], index: i64| {
        usize::try_from(index).ok().and_then(|index| names.get(index).copied()).unwrap_or_default()
    };
    let weekday = name(&DAYS, days.rem_euclid(7));
    let month = name(&MONTHS, month - 1);
    format!("{weekday}, {day:02} {month} {year:04} {} GMT", time(seconds))
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
}
