//! The time zone that is missing in OpenEMR's `Bundle.meta.lastUpdated`, which has a local time where FHIR demands an instant.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Time zones differ by multiples of this, in seconds.
const QUARTER: i64 = 15 * 60;

/// The largest offset of a time zone from UTC, in seconds.
const MAX_OFFSET: i64 = 14 * 60 * 60;

/// Returns the zone that is missing after the local time `written`, such as `+01:00`. It is the difference, rounded to a quarter
/// of an hour, to the moment at which the server sent the answer, in seconds since 1970. `None` when there is a zone already,
/// or no time.
#[must_use]
pub(crate) fn missing_zone(written: &str, sent: Option<i64>) -> Option<String> {
    let (_, time) = written.split_once('T')?;
    if time.contains(['Z', '+', '-']) {
        return None;
    }
    let written: DateTime = written.parse().ok()?;
    let as_utc = written.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    let difference = sent.map_or(0, |sent| as_utc - sent);
    let quarters = (difference + QUARTER / 2).div_euclid(QUARTER);
    let offset = Some(quarters * QUARTER).filter(|offset| offset.abs() <= MAX_OFFSET).unwrap_or(0);
    let sign = if offset < 0 { '-' } else { '+' };
    let minutes = offset.abs() / 60;
    Some(format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_what_the_clocks_differ_by() {
        let sent = 1_795_487_306; // 2026-11-24T02:28:26Z
        for (written, expected) in [
            ("2026-11-24T02:28:26", Some("+00:00")),
            ("2026-11-24T02:26:02", Some("+00:00")),
            ("2026-11-24T03:28:26", Some("+01:00")),
            ("2026-11-23T20:28:20", Some("-06:00")),
            ("2026-11-24T08:13:26", Some("+05:45")),
            ("2026-11-23T22:58:26.123", Some("-03:30")),
            ("2020-01-01T00:00:00", Some("+00:00")),
            ("2026-11-24T02:28:26+00:00", None),
            ("2026-11-24T02:28:26-05:00", None),
            ("2026-11-24T02:28:26Z", None),
            ("2026-11-24", None),
            ("yesterdayTnoon", None),
            ("", None),
        ] {
            assert_eq!(missing_zone(written, Some(sent)).as_deref(), expected, "{written}");
        }
        assert_eq!(missing_zone("2026-11-24T02:28:26", None).as_deref(), Some("+00:00"));
    }
}
