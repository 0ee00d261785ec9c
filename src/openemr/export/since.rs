//! `_since` as OpenEMR can read it.

use jiff::Timestamp;

/// Writes a FHIR instant in whole seconds of UTC; `None` when it is no instant.
///
/// OpenEMR's parser takes at most four digits of a second's fraction, reads `.5` as 5 milliseconds, and answers 500 to
/// anything else. The second is rounded down, so that nothing that changed since the instant is left out.
#[must_use]
pub(crate) fn in_whole_seconds(instant: &str) -> Option<String> {
    let time: Timestamp = instant.parse().ok()?;
    // Division towards zero would round up before 1970.
    let second = time.as_nanosecond().div_euclid(1_000_000_000);
    let time = Timestamp::from_second(i64::try_from(second).ok()?).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Whether two FHIR instants are the same moment.
#[must_use]
pub(crate) fn is_same_moment(one: &str, other: &str) -> bool {
    one == other || one.parse::<Timestamp>().is_ok_and(|moment| other.parse::<Timestamp>().is_ok_and(|other| other == moment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::instant;
    use proptest::prelude::*;

    #[test]
    fn openemr_gets_whole_seconds_in_utc() {
        for (instant, expected) in [
            ("2026-11-24T02:28:30Z", "2026-11-24T02:28:30Z"),
            ("2026-11-24T02:28:30.999999Z", "2026-11-24T02:28:30Z"),
            ("2026-11-24T02:28:30.5+01:00", "2026-11-24T01:28:30Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(in_whole_seconds(instant).as_deref(), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = in_whole_seconds(&text);
        }

        #[test]
        fn every_instant_has_whole_seconds(second in -62_135_596_800_i64..253_402_300_799, nanos in 0_u32..999_999_999) {
            let time = Timestamp::new(second, 0).unwrap();
            let text = format!("{}.{nanos:09}Z", time.strftime("%Y-%m-%dT%H:%M:%S"));
            let whole = in_whole_seconds(&instant::parse(&text).unwrap()).unwrap();
            prop_assert_eq!(whole.parse::<Timestamp>().unwrap(), time);
        }
    }
}
