//! Date parameters as OpenEMR reads them (`DateSearchField`).
//!
//! A value must fit one pattern, in which a time has its seconds; what does not fit finds nothing. Months and days out of
//! range are moved into it: `1950-13-01` is December.

use jiff::{Timestamp, civil, tz::Offset};

/// A value: a comparator and the first and last moment that it may mean.
struct Wanted<'a> {
    comparator: &'a str,
    lower: Timestamp,
    upper: Timestamp,
}

/// Returns whether one of the dates held meets the parameter, whose alternatives are separated by commas. `None` if one of
/// them is malformed.
pub(super) fn matches(held: &[String], value: &str) -> Option<bool> {
    let wanted: Vec<Wanted<'_>> = value.split(',').map(parse).collect::<Option<_>>()?;
    Some(held.iter().any(|held| wanted.iter().any(|wanted| meets(held, wanted))))
}

fn meets(held: &str, wanted: &Wanted<'_>) -> bool {
    let date = |moment: Timestamp| Offset::UTC.to_datetime(moment).date();
    match (held.parse::<civil::Date>(), held.parse::<Timestamp>()) {
        (_, Ok(held)) => is_within(wanted.comparator, held, wanted.lower, wanted.upper),
        (Ok(held), _) => is_within(wanted.comparator, held, date(wanted.lower), date(wanted.upper)),
        _ => false,
    }
}

fn is_within<T: PartialOrd>(comparator: &str, held: T, lower: T, upper: T) -> bool {
    match comparator {
        "lt" | "eb" => held < lower,
        "le" => held <= upper,
        "gt" | "sa" => held > upper,
        "ge" => held >= lower,
        "ne" => held < lower || held > upper,
        _ => held >= lower && held <= upper,
    }
}

fn parse(text: &str) -> Option<Wanted<'_>> {
    let begins_with_digit = text.as_bytes().first()?.is_ascii_digit();
    let (comparator, mut rest) = if begins_with_digit { ("eq", text) } else { text.split_at_checked(2)? };
    if !["eq", "ne", "lt", "le", "gt", "ge", "sa", "eb"].contains(&comparator) {
        return None;
    }
    let year: i16 = number(take(&mut rest, "dddd")?)?;
    let month: Option<i8> = take(&mut rest, "-dd").and_then(number).map(|month: i8| month.clamp(1, 12));
    let day: Option<i8> = take(&mut rest, "-dd").and_then(number);
    let time = take(&mut rest, "Tdd:dd");
    let second: Option<i8> = time.and_then(|_| take(&mut rest, ":dd")).and_then(number);
    if time.is_some() && second.is_none() {
        return None;
    }
    let fraction = (1..=4).rev().find_map(|digits| take(&mut rest, ".dddd".get(..=digits).unwrap_or_default()));
    let offset = match rest {
        "" | "Z" => Offset::UTC,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let zone = take(&mut rest, "+dd:dd").or_else(|| take(&mut rest, "-dd:dd")).filter(|_| rest.is_empty())?;
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            Offset::from_seconds(sign * (hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60)).ok()?
        }
    };
    let hour_and_minute = time.and_then(|time| {
        let (hour, minute) = time.get(1..)?.split_once(':')?;
        Some((hour.parse::<i8>().ok()?.min(23), minute.parse::<i8>().ok()?.min(59)))
    });
    let nanoseconds = fraction.and_then(number::<i32>).map(|digits| digits.min(999) * 100_000);
    let moment = |month: i8, last_day: bool, (hour, minute): (i8, i8), second: i8, nanosecond: i32| {
        let first = civil::Date::new(year, month, 1).ok()?;
        let days = first.days_in_month();
        let day = day.map_or(if last_day { days } else { 1 }, |day| day.clamp(1, days));
        let date = civil::Date::new(year, month, day).ok()?;
        offset.to_timestamp(date.at(hour, minute, second.min(59), nanosecond)).ok()
    };
    Some(Wanted {
        comparator,
        lower: moment(
            month.unwrap_or(1),
            false,
            hour_and_minute.unwrap_or((0, 0)),
            second.unwrap_or(0),
            nanoseconds.unwrap_or(0),
        )?,
        upper: moment(
            month.unwrap_or(12),
            true,
            hour_and_minute.unwrap_or((23, 59)),
            second.unwrap_or(59),
            nanoseconds.unwrap_or(999_999_999),
        )?,
    })
}

/// Takes what fits `pattern`, in which d stands for a digit, from the start of `rest`.
fn take<'a>(rest: &mut &'a str, pattern: &str) -> Option<&'a str> {
    let (taken, behind) = rest.split_at_checked(pattern.len())?;
    let fits = |(byte, wanted): (u8, u8)| if wanted == b'd' { byte.is_ascii_digit() } else { byte == wanted };
    taken.bytes().zip(pattern.bytes()).all(fits).then(|| {
        *rest = behind;
        taken
    })
}

/// Returns the number that the digits of `text` make.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.trim_start_matches(|character: char| !character.is_ascii_digit()).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(held: &str, value: &str) -> Option<bool> {
        matches(&[held.to_owned()], value)
    }

    #[test]
    fn a_date_is_as_precise_as_it_is_written() {
        for (value, met) in [
            ("1950", true),
            ("1950-02", true),
            ("1950-02-28", true),
            ("1950-03", false),
            ("ne1950", false),
            ("ge1950-02-28", true),
            ("gt1950-02-28", false),
            ("gt1950-02-27", true),
            ("lt1950", false),
            ("le1950", true),
            ("eb1951", true),
            ("sa1949", true),
            ("1949,1950", true),
            ("1950-02-31", true),
        ] {
            assert_eq!(found("1950-02-28", value), Some(met), "{value}");
        }
        assert_eq!(found("1950-12-01", "1950-13-01"), Some(true));
    }

    #[test]
    fn a_time_is_read_in_its_zone() {
        for (value, met) in [
            ("2024-01-05T07:00:00Z", true),
            ("2024-01-05T09:00:00+02:00", true),
            ("2024-01-05T02:00:00-05:00", true),
            ("2024-01-05T07:00:00+02:00", false),
            ("ge2024-01-05T09:00:00+02:00", true),
            ("gt2024-01-05T09:00:00+02:00", false),
            ("2024-01-05", true),
            ("2024-01-05T07:00:00.000Z", true),
        ] {
            assert_eq!(found("2024-01-05T07:00:00+00:00", value), Some(met), "{value}");
        }
    }

    #[test]
    fn what_is_no_date_finds_nothing() {
        for value in [
            "notadate",
            "1930-01-01..1940-01-01",
            "2024-01-05T07:00:00 02:00",
            "ge 1950",
            "ap1950",
            "2024-01-05T07:00Z",
            "195",
            "1950-1-1",
            "1950-01-01x",
            "1950,x",
            "é950",
        ] {
            assert_eq!(found("1950-02-28", value), None, "{value}");
        }
    }
}
