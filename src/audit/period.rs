//! A period of time, as an operator writes it.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// A period, with its first and its last moment. Without one it has no beginning, or no end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Period {
    /// The first moment.
    pub(crate) since: Option<Timestamp>,
    /// The last moment.
    pub(crate) until: Option<Timestamp>,
}

/// A text is neither a time nor a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a day, like  2026-11-29 , or a time, like  2026-11-29T08:00:00Z")]
pub(crate) struct NoTime;

impl Period {
    /// Whether a time is in it.
    #[must_use]
    pub(crate) fn has(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time <= until)
    }
}

/// The first moment of a day in this zone, or a time (RFC 3339).
///
/// # Errors
/// It is neither.
pub(crate) fn since(text: &str, zone: &TimeZone) -> Result<Timestamp, NoTime> {
    match text.parse::<Date>().ok().filter(|_| is_day(text)) {
        Some(day) => Ok(day.to_zoned(zone.clone()).map_err(|_| NoTime)?.timestamp()),
        None => text.parse().map_err(|_| NoTime),
    }
}

/// The last moment of a day in this zone, or a time (RFC 3339).
///
/// # Errors
/// It is neither.
pub(crate) fn until(text: &str, zone: &TimeZone) -> Result<Timestamp, NoTime> {
    match text.parse::<Date>().ok().filter(|_| is_day(text)) {
        Some(day) => {
            let next = day.tomorrow().and_then(|next| next.to_zoned(zone.clone())).map_err(|_| NoTime)?;
            next.timestamp().checked_sub(1.nanosecond()).map_err(|_| NoTime)
        }
        None => text.parse().map_err(|_| NoTime),
    }
}

/// Whether a text has no more than a day: the parser of days passes over a time.
fn is_day(text: &str) -> bool {
    text.len() == "2026-11-29".len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::tz::Offset;

    #[test]
    fn a_day_is_that_of_the_operators_zone_and_whole() {
        let zone = TimeZone::fixed(Offset::constant(2));
        assert_eq!(since("2026-11-29", &zone).unwrap().to_string(), "2026-11-28T22:00:00Z");
        assert_eq!(until("2026-11-29", &zone).unwrap().to_string(), "2026-11-29T21:59:59.999999999Z");
        for read in [since, until] {
            assert_eq!(read("2026-11-29T08:00:00+01:00", &zone).unwrap().to_string(), "2026-11-29T07:00:00Z");
            for text in ["", "29.11.2026", "2026-11-31", "2026-11-29T08:00:00", "yesterday", "2026-11-29 ", "20261129x"] {
                assert_eq!(read(text, &zone), Err(NoTime), "{text}");
            }
        }
    }

    #[test]
    fn both_ends_are_in_a_period() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let period = Period { since: Some(at("2026-11-29T00:00:00Z")), until: Some(at("2026-11-29T01:00:00Z")) };
        for (time, expected) in [
            ("2026-11-28T23:59:59.999Z", false),
            ("2026-11-29T00:00:00Z", true),
            ("2026-11-29T01:00:00Z", true),
            ("2026-11-29T01:00:00.001Z", false),
        ] {
            assert_eq!(period.has(at(time)), expected, "{time}");
        }
        assert!(Period::default().has(Timestamp::MIN) && Period::default().has(Timestamp::MAX));
    }
}
