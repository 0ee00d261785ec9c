//! The time zone that is missing in OpenEMR's `Bundle.meta.lastUpdated`, which has a local time where FHIR demands an instant.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use std::borrow::Cow;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::fhir::json::outline::{Event, Outline, Shape};
use crate::openemr::bundle::full_url::text;

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

/// Returns a Bundle's `meta` with the zone that is missing in its `lastUpdated`.
#[must_use]
pub(crate) fn with_zones(meta: &[u8], sent: Option<i64>) -> Cow<'_, [u8]> {
    let zone = last_updated(meta).and_then(|(written, end)| Some((missing_zone(&text(written), sent)?, end)));
    match zone.and_then(|(zone, end)| Some((zone, meta.split_at_checked(end)?))) {
        Some((zone, (before, behind))) => [before, zone.as_bytes(), behind].concat().into(),
        None => meta.into(),
    }
}

/// The time as it is written, and where it ends.
fn last_updated(meta: &[u8]) -> Option<(&[u8], usize)> {
    let mut outline = Outline::default();
    let mut at = 0;
    let mut is_meant = false;
    loop {
        let begin = at;
        match outline.next(meta, &mut at).ok()?? {
            Event::Value(shape @ Shape::Object) if begin == 0 => outline.enter(shape, &mut at).ok()?,
            Event::Name => is_meant = outline.name() == "lastUpdated",
            Event::Value(shape) => {
                is_meant &= shape == Shape::String;
                outline.pass(shape);
            }
            Event::Passed { .. } if is_meant => return Some((meta.get(begin + 1..at - 1)?, at - 1)),
            Event::Passed { .. } => {}
            Event::Closed => return None,
        }
    }
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

    #[test]
    fn a_zone_is_added_to_the_time_of_the_bundle_and_to_nothing_else() {
        for (meta, expected) in [
            (r#"{"lastUpdated":"2026-11-24T02:28:26"}"#, r#"{"lastUpdated":"2026-11-24T02:28:26+00:00"}"#),
            (
                r#"{ "tag" : [{"lastUpdated":"2026-11-24T02:28:26"}], "l\u0061stUpdated" : "2026\u002d11-24T02:28:26" , "x":1}"#,
                r#"{ "tag" : [{"lastUpdated":"2026-11-24T02:28:26"}], "l\u0061stUpdated" : "2026\u002d11-24T02:28:26+00:00" , "x":1}"#,
            ),
            (r#"{"lastUpdated":"2026-11-24T02:28:26Z"}"#, r#"{"lastUpdated":"2026-11-24T02:28:26Z"}"#),
            (r#"{"lastUpdated":null}"#, r#"{"lastUpdated":null}"#),
            ("{}", "{}"),
        ] {
            assert_eq!(with_zones(meta.as_bytes(), None), expected.as_bytes(), "{meta}");
        }
    }
}
