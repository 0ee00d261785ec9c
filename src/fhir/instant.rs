//! Instants (FHIR R4, "Data Types", instant): a moment with its zone.

use jiff::Timestamp;

use crate::fhir::search_date::with_plus;

/// Returns the instant that a query parameter's value holds, with the `+` of its zone restored; `None` for anything else, a
/// date among them.
#[must_use]
pub(crate) fn parse(text: &str) -> Option<String> {
    let text = with_plus(text).unwrap_or_else(|| text.to_owned());
    let (date_and_time, zone) = match text.strip_suffix('Z') {
        Some(rest) => (rest, "Z"),
        None => text.split_at_checked(text.len().checked_sub(6)?)?,
    };
    let fits = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    let (seconds, fraction) = date_and_time.split_once('.').unwrap_or((date_and_time, "0"));
    let is_shaped = fits(seconds, "0000-00-00T00:00:00")
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && (zone == "Z" || fits(zone, "+00:00"));
    (is_shaped && text.parse::<Timestamp>().is_ok()).then_some(text)
}

/// Writes a moment, in milliseconds since 1970, as an instant in UTC.
#[must_use]
pub(crate) fn from_millis(millis: i64) -> String {
    let time = Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_instant_has_a_time_and_a_zone() {
        for good in
            ["2026-11-24T02:28:30Z", "2026-11-24T02:28:30.123456Z", "2026-11-24T02:28:30+01:00", "2026-11-24T02:28:30-05:30"]
        {
            assert_eq!(parse(good).as_deref(), Some(good));
        }
        for bad in [
            "2026-11-24",
            "2026",
            "2026-11-24T02:28:30",
            "2026-13-24T02:28:30Z",
            "2026-11-24T02:28Z",
            "2026-11-24t02:28:30Z",
            "x",
            "ä€Z",
            "2026-11-24T02:28:30.Z",
            "2026-11-24T02:28:30.1234567890Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_writes_panics(text in ".{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn every_time_of_ours_is_an_instant(millis in 0_i64..4_102_444_800_000) {
            let text = from_millis(millis);
            prop_assert_eq!(parse(&text), Some(text.clone()));
            prop_assert_eq!(text.parse::<Timestamp>().unwrap().as_millisecond(), millis);
        }
    }
}
