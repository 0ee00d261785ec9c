//! The values of date parameters (FHIR R4, "Search", 3.1.1.4.7).

use std::borrow::Cow;

use jiff::civil::Date;

/// The prefixes of a date that OpenEMR has. It finds nothing by `ap`.
const PREFIXES: [&str; 8] = ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"];
/// The most digits of a second's fraction: OpenEMR finds nothing by more.
const MOST_FRACTION: usize = 4;

/// Whether every value between commas is a date that exists, as FHIR and OpenEMR write it: `2024`, `2024-02`, `2024-02-29`,
/// `2024-02-29T12:00:00`, with a fraction of the second and a zone if that is wanted, and a prefix.
///
/// FHIR lets the seconds be missing; OpenEMR then finds nothing.
#[must_use]
pub(crate) fn are_dates(values: &str) -> bool {
    values.split(',').all(|value| is_date(value, MOST_FRACTION))
}

/// Whether a value is a date, with so many digits of a second's fraction at most.
fn is_date(value: &str, most_fraction: usize) -> bool {
    let date = PREFIXES.iter().find_map(|prefix| value.strip_prefix(prefix)).unwrap_or(value);
    match date.split_once('T') {
        Some((day, time)) => day.len() == "2024-02-29".len() && is_day(day) && is_time(time, most_fraction),
        None => is_day(date),
    }
}

/// Whether a text is a year, a month or a day.
fn is_day(text: &str) -> bool {
    let mut parts = text.split('-');
    let year = parts.next().and_then(|year| number(year, 4)).filter(|year| *year > 0);
    let (month, day) = (parts.next().map(|month| number(month, 2)), parts.next().map(|day| number(day, 2)));
    match (year, month, day, parts.next()) {
        (Some(_), None, None, None) => true,
        (Some(year), Some(Some(month)), day, None) => {
            let Some(day) = day.unwrap_or(Some(1)) else { return false };
            let (year, month, day) = (i16::try_from(year), i8::try_from(month), i8::try_from(day));
            matches!((year, month, day), (Ok(year), Ok(month), Ok(day)) if Date::new(year, month, day).is_ok())
        }
        _ => false,
    }
}

/// Whether a text is a time with seconds, with a zone or without.
fn is_time(text: &str, most_fraction: usize) -> bool {
    let (time, zone) = match text.find(['Z', '+', '-']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = clock.split(':').map(|part| number(part, 2));
    let is_clock = matches!(
        (parts.next(), parts.next(), parts.next(), parts.next()),
        (Some(Some(0..=23)), Some(Some(0..=59)), Some(Some(0..=59)), None)
    );
    let is_fraction = (1..=most_fraction).contains(&fraction.len()) && fraction.bytes().all(|byte| byte.is_ascii_digit());
    is_clock && is_fraction && is_zone(zone)
}

fn is_zone(text: &str) -> bool {
    let Some(ahead) = text.strip_prefix(['+', '-']) else { return matches!(text, "" | "Z") };
    let Some((hours, minutes)) = ahead.split_once(':') else { return false };
    matches!((number(hours, 2), number(minutes, 2)), (Some(0..=13), Some(0..=59)) | (Some(14), Some(0)))
}

/// Reads a number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Returns a value with a `+` in place of each blank where only the `+` of a zone can stand: one that was not percent-encoded in
/// a query or a form has become a blank. `None` where there is none.
#[must_use]
pub(crate) fn with_plus(value: &str) -> Option<String> {
    if !value.contains(' ') {
        return None;
    }
    let restored: Vec<Cow<'_, str>> = value.split(',').map(part_with_plus).collect();
    restored.iter().any(|part| matches!(part, Cow::Owned(_))).then(|| restored.join(","))
}

fn part_with_plus(part: &str) -> Cow<'_, str> {
    let restored = part.split_once(' ').map(|(time, zone)| (time, format!("{time}+{zone}")));
    match restored {
        Some((time, restored)) if time.contains('T') && is_date(&restored, usize::MAX) => Cow::Owned(restored),
        _ => Cow::Borrowed(part),
    }
}

/// Returns a query (without its `?`) or a form in which each such `+` is written as `%2B`; borrowed where there is none.
#[must_use]
pub(crate) fn with_pluses(query: &[u8]) -> Cow<'_, [u8]> {
    let may_have = |pair: &[u8]| memchr::memchr2(b'+', b'%', pair).is_some() && memchr::memchr(b'T', pair).is_some();
    let restored = |pair: &[u8]| -> Option<Vec<u8>> {
        let (_, value) = may_have(pair).then(|| form_urlencoded::parse(pair).next()).flatten()?;
        let value = with_plus(&value)?;
        let at = memchr::memchr(b'=', pair)?;
        let written: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
        Some([pair.get(..=at)?, written.replace("%3A", ":").replace("%2C", ",").as_bytes()].concat())
    };
    if !query.split(|byte| *byte == b'&').any(|pair| restored(pair).is_some()) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split(|byte| *byte == b'&').map(|pair| restored(pair).map_or(Cow::Borrowed(pair), Cow::Owned));
    Cow::Owned(pairs.collect::<Vec<_>>().join(&b'&'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_as_fhir_writes_them_and_other_values() {
        for good in [
            "2024",
            "2024-02",
            "ge2024-02-29",
            "2000-02-29",
            "ne1970-01-01T00:00:00Z",
            "eq2024-01-01T00:00:00.123+01:00",
            "lt2024-12-31T23:59:59.1234-13:30",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00+14:00",
            "sa2024,eb2025-01",
            "0001",
        ] {
            assert!(are_dates(good), "{good}");
        }
        for bad in [
            "notadate",
            "",
            "2024,",
            ",2024",
            "29.02.2024",
            "02/29/2024",
            "=2024",
            "xx2024",
            "gege2024",
            "ap2024",
            "20240229",
            "today",
            "2024-02-29x",
            "1950-13-01",
            "1950-00-01",
            "1950-01-00",
            "1930-01-01..1940-01-01",
            "2023-02-29",
            "1900-02-29",
            "2024-02-30",
            "2024-04-31",
            "2024-1",
            "2024-01-1",
            "0000",
            "02024",
            "2024-01-01-01",
            " 2024",
            "2024 ",
            "ge 2024",
            "GE2024",
            "2024-01-01T",
            "2024-01-01T24:00:00Z",
            "2024-01-01T23:60:00Z",
            "2024-01-01T23:59:60Z",
            "2024-01-01T12:00Z",
            "2024-01-01T12",
            "2024-01-01T12:00:00.Z",
            "2024-01-01T12:00:00.12345Z",
            "2024-01-01T12:00:00z",
            "2024-01-01t12:00:00Z",
            "2024-01-01 12:00:00",
            "2024-01-01T12:00:00 01:00",
            "2024-01-01T12:00:00+1:00",
            "2024-01-01T12:00:00+0100",
            "2024-01-01T12:00:00+14:01",
            "2024-01-01T12:00:00+15:00",
            "2024-01-01T12:00:00ZZ",
            "2024-01T12:00:00Z",
            "2024T12:00:00Z",
            "2024-01-01Z",
            "２０２４",
            "2024,2024-13",
        ] {
            assert!(!are_dates(bad), "{bad}");
        }
    }

    #[test]
    fn a_blank_becomes_the_plus_of_a_zone_and_nothing_else() {
        for (value, restored) in [
            ("ge2010-01-01T00:00:00 02:00", Some("ge2010-01-01T00:00:00+02:00")),
            ("2010-01-01T00:00:00.5 02:00,lt2011", Some("2010-01-01T00:00:00.5+02:00,lt2011")),
            ("2010-01-01T00:00:00.123456789 02:00", Some("2010-01-01T00:00:00.123456789+02:00")),
            ("a b,2010-01-01T00:00:00 02:00", Some("a b,2010-01-01T00:00:00+02:00")),
            ("2010-01-01T00:00:00+02:00", None),
            ("2010-01-01 00:00:00", None),
            ("2010-01-01T00:00:00 2:00", None),
            ("2010-01-01T00:00:00  02:00", None),
            (" 2010-01-01T00:00:00Z", None),
            ("T T", None),
            ("2010-13-01T00:00:00 02:00", None),
            ("John Doe", None),
            ("", None),
        ] {
            assert_eq!(with_plus(value).as_deref(), restored, "{value}");
        }
    }

    #[test]
    fn a_plus_is_written_so_that_it_stays_one() {
        for (query, restored) in [
            ("date=ge2010-01-01T00:00:00+02:00", "date=ge2010-01-01T00:00:00%2B02:00"),
            ("name=a+b&%64ate=ge2010-01-01T00%3A00%3A00%2002:00&x", "name=a+b&%64ate=ge2010-01-01T00:00:00%2B02:00&x"),
            (
                "date=2010-01-01T00:00:00+02:00,2011-01-01T00:00:00+01:00",
                "date=2010-01-01T00:00:00%2B02:00,2011-01-01T00:00:00%2B01:00",
            ),
        ] {
            assert_eq!(String::from_utf8_lossy(&with_pluses(query.as_bytes())), restored, "{query}");
        }
        for same in [
            "",
            "date=2010-01-01T00:00:00%2B02:00",
            "name=T+X&a=%20",
            "date=2010-01-01T00:00:00Z&&=&T+",
            "date=2010-13-01T00:00:00+02:00",
        ] {
            assert!(matches!(with_pluses(same.as_bytes()), Cow::Borrowed(_)), "{same}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (are_dates(&text), with_plus(&text), with_pluses(&bytes));
        }

        #[test]
        fn every_day_is_a_date(year in 1_i16..=9999, month in 1_i8..=12, day in 1_i8..=31, prefix in proptest::sample::select(PREFIXES.to_vec())) {
            let text = format!("{prefix}{year:04}-{month:02}-{day:02}");
            prop_assert_eq!(are_dates(&text), Date::new(year, month, day).is_ok());
        }
    }
}
