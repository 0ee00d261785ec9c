//! Dates: ranges of time that are compared (FHIR R4, "Search", 3.1.1.4.5 and 3.1.1.4.7).
//!
//! A date, or a time of a certain precision, is the range of all moments that it may mean; an instant is one moment. Of a range the
//! low end belongs to it and the high end does not.
//!
//! A time without a zone, and a date, is read in the zone of what it is compared with; two of them are compared as they stand.

use std::cmp::Ordering;

use crate::fhir::criteria::definition::DataType;
use crate::fhir::criteria::json::{Illegible, Json};
use crate::fhir::criteria::values::{Untestable, split, unescaped};

const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const DAY: i128 = 24 * 60 * MINUTE;

/// The longest range of a value: a leap year.
const LONGEST: i128 = 366 * DAY;
/// More than clocks of different zones differ.
const APART: i128 = 30 * 60 * MINUTE;

/// The most digits of a second's fraction.
const FRACTION: usize = 9;

/// The dates of which an element must fit one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dates {
    /// The ranges of which one must contain the element's, sorted.
    containing: Vec<Range>,
    /// The other comparisons of which one must hold, with one range for each zone.
    others: Vec<(Comparison, Range)>,
}

/// How an element's range is compared with a value's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Comparison {
    /// It is within it.
    Within,
    /// It is not.
    NotWithin,
    /// It has something above it.
    ReachesAbove,
    /// It has something below it.
    ReachesBelow,
    /// It is above it altogether.
    Above,
    /// It is below it altogether.
    Below,
}

/// The prefixes, and the comparisons of which one must hold.
const PREFIXES: [(&str, &[Comparison]); 8] = [
    ("eq", &[Comparison::Within]),
    ("ne", &[Comparison::NotWithin]),
    ("gt", &[Comparison::ReachesAbove]),
    ("lt", &[Comparison::ReachesBelow]),
    ("ge", &[Comparison::ReachesAbove, Comparison::Within]),
    ("le", &[Comparison::ReachesBelow, Comparison::Within]),
    ("sa", &[Comparison::Above]),
    ("eb", &[Comparison::Below]),
];

/// A moment as a clock shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    /// Nanoseconds since the clock showed the beginning of 1970.
    clock: i128,
    /// Nanoseconds by which the clock is ahead of UTC.
    zone: Option<i128>,
}

/// A range with ends, which have one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    low: Moment,
    high: Moment,
}

/// A range that may have no ends.
#[derive(Debug, Clone, Copy)]
struct Span {
    low: Option<Moment>,
    high: Option<Moment>,
}

impl Dates {
    /// Reads the values of a parameter.
    ///
    /// # Errors
    /// One of them is no date, or has the prefix `ap`, whose width FHIR leaves open.
    pub(super) fn read(value: &str) -> Result<Self, Untestable> {
        let (mut containing, mut others) = (Vec::new(), Vec::new());
        for part in split(value, ',') {
            let part = unescaped(part)?;
            let prefixed = PREFIXES.iter().find_map(|(text, comparisons)| Some((*comparisons, part.strip_prefix(text)?)));
            let (comparisons, date) = prefixed.unwrap_or((&[Comparison::Within], &part));
            let range = Range::read(date, Reader::Value).ok_or(Untestable::Value)?;
            for comparison in comparisons {
                match comparison {
                    Comparison::Within => containing.push(range),
                    other => others.push((*other, range)),
                }
            }
        }
        containing.sort_by_key(|range: &Range| (range.low.clock, range.high.clock, range.low.zone));
        containing.dedup();
        others.sort_by_key(|(comparison, range): &(Comparison, Range)| (*comparison, range.low.zone));
        // In one zone, the highest low end and the lowest high end decide about all of these comparisons.
        others.dedup_by(|(comparison, range), (kept, decisive)| {
            let is_same = comparison == kept && range.low.zone == decisive.low.zone;
            if is_same {
                decisive.low.clock = decisive.low.clock.max(range.low.clock);
                decisive.high.clock = decisive.high.clock.min(range.high.clock);
            }
            is_same
        });
        Ok(Self { containing, others })
    }

    /// Whether an element fits one of them. One that is no date fits none.
    ///
    /// # Errors
    /// The element cannot be read.
    pub(super) fn are_met_by(&self, element: &Json<'_>, data_type: DataType) -> Result<bool, Illegible> {
        let span = match (data_type, element) {
            (DataType::DateTime, Json::Text(text)) => Range::read(text, Reader::Element).map(Span::from),
            (DataType::Instant, Json::Text(text)) => Range::read(text, Reader::Element).map(Span::moment),
            (DataType::Period, _) => period(element)?,
            (DataType::Timing, _) => timing(element)?,
            _ => None,
        };
        let Some(span) = span else { return Ok(false) };
        Ok(self.contain(&span) || self.others.iter().any(|(comparison, range)| comparison.holds(range, &span)))
    }

    /// Whether one of the ranges contains an element's.
    fn contain(&self, span: &Span) -> bool {
        let Some(low) = span.low else { return false };
        let begin = self.containing.partition_point(|range| range.low.clock < low.clock - LONGEST - APART);
        let mut near = self.containing.iter().skip(begin).take_while(|range| range.low.clock <= low.clock + APART);
        near.any(|range| Comparison::Within.holds(range, span))
    }
}

impl Comparison {
    fn holds(self, value: &Range, element: &Span) -> bool {
        let is_within = || {
            element.low.is_some_and(|low| value.low.compare(low).is_le())
                && element.high.is_some_and(|high| high.compare(value.high).is_le())
        };
        match self {
            Self::Within => is_within(),
            Self::NotWithin => !is_within(),
            Self::ReachesAbove => element.high.is_none_or(|high| high.compare(value.high).is_gt()),
            Self::ReachesBelow => element.low.is_none_or(|low| low.compare(value.low).is_lt()),
            Self::Above => element.low.is_some_and(|low| low.compare(value.high).is_ge()),
            Self::Below => element.high.is_some_and(|high| high.compare(value.low).is_le()),
        }
    }
}

impl Moment {
    fn compare(self, other: Self) -> Ordering {
        match (self.zone, other.zone) {
            (Some(zone), Some(others)) => (self.clock - zone).cmp(&(other.clock - others)),
            _ => self.clock.cmp(&other.clock),
        }
    }
}

impl Span {
    /// The one moment with which a range begins.
    fn moment(range: Range) -> Self {
        let high = Moment { clock: range.low.clock + 1, ..range.low };
        Self { low: Some(range.low), high: Some(high) }
    }

    /// The smallest span that has both.
    fn and(self, other: Self) -> Self {
        let pick = |one: Option<Moment>, two: Option<Moment>, wanted: Ordering| {
            one.zip(two).map(|(one, two)| if two.compare(one) == wanted { two } else { one })
        };
        Self { low: pick(self.low, other.low, Ordering::Less), high: pick(self.high, other.high, Ordering::Greater) }
    }
}

impl From<Range> for Span {
    fn from(range: Range) -> Self {
        Self { low: Some(range.low), high: Some(range.high) }
    }
}

/// The range of a Period. One without a start or an end is open there; one without both has none.
fn period(element: &Json<'_>) -> Result<Option<Span>, Illegible> {
    let end = |name| {
        let text = element.text(name)?;
        let range = text.map(|text| Range::read(text, Reader::Element));
        // An end that cannot be read is not an open one.
        Ok::<_, Illegible>(match range {
            None => Some(None),
            Some(range) => range.map(Some),
        })
    };
    Ok(match (end("start")?, end("end")?) {
        (Some(start), Some(end)) if start.is_some() || end.is_some() => {
            Some(Span { low: start.map(|range| range.low), high: end.map(|range| range.high) })
        }
        _ => None,
    })
}

/// The outer limits of a Timing: of its events and of the bounds of their repetition.
fn timing(element: &Json<'_>) -> Result<Option<Span>, Illegible> {
    let mut limits: Option<Span> = None;
    let mut add = |span: Span| limits = Some(limits.map_or(span, |limits| limits.and(span)));
    for event in element.items("event")? {
        if let Json::Text(text) = event
            && let Some(range) = Range::read(text, Reader::Element)
        {
            add(range.into());
        }
    }
    let repeat = element.member("repeat")?;
    let bounds = repeat.map(|repeat| repeat.member("boundsPeriod")).transpose()?.flatten();
    if let Some(span) = bounds.map(period).transpose()?.flatten() {
        add(span);
    }
    Ok(limits)
}

/// Where a date stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// In a search, where the `+` of a zone that was not percent-encoded has become a blank.
    Value,
    /// In a resource, where a fraction of more digits is cut.
    Element,
}

impl Range {
    /// Reads `2024`, `2024-02`, `2024-02-29`, and these with `T12:00`, `T12:00:00` or `T12:00:00.123`, with a zone or without.
    fn read(text: &str, reader: Reader) -> Option<Self> {
        let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
        let mut parts = date.split('-');
        let year = i64::from(number(parts.next()?, 4)?);
        let month = parts.next().map(|month| number(month, 2)).map_or(Some(None), |month| month.map(Some))?;
        let day = parts.next().map(|day| number(day, 2)).map_or(Some(None), |day| day.map(Some))?;
        if parts.next().is_some() || year == 0 || month.is_some_and(|month| !(1..=12).contains(&month)) {
            return None;
        }
        let range = |low: i128, high: i128, zone| Self { low: Moment { clock: low, zone }, high: Moment { clock: high, zone } };
        let first = |year, month| i128::from(days_before_month(year, month)) * DAY;
        match (month.map(i64::from), day.map(i64::from), time) {
            (None, _, None) => Some(range(first(year, 1), first(year + 1, 1), None)),
            (Some(month), None, None) => Some(range(first(year, month), first(year, month + 1), None)),
            (Some(month), Some(day), time) => {
                let low = first(year, month) + i128::from(day - 1) * DAY;
                if day == 0 || low >= first(year, month + 1) {
                    return None;
                }
                let Some(time) = time else { return Some(range(low, low + DAY, None)) };
                let (since_midnight, width, zone) = read_time(time, reader)?;
                Some(range(low + since_midnight, low + since_midnight + width, zone))
            }
            _ => None,
        }
    }
}

/// Reads a time of the day: nanoseconds since midnight, how many moments it may mean, and its zone.
fn read_time(text: &str, reader: Reader) -> Option<(i128, i128, Option<i128>)> {
    let is_zone = |character| matches!(character, 'Z' | '+' | '-') || character == ' ' && reader == Reader::Value;
    let (time, zone) = text.split_at(text.find(is_zone).unwrap_or(text.len()));
    let (clock, fraction) = time.split_once('.').map_or((time, None), |(clock, fraction)| (clock, Some(fraction)));
    let mut parts = clock.split(':');
    let hours = number(parts.next()?, 2).filter(|hours| *hours < 24)?;
    let minutes = number(parts.next()?, 2).filter(|minutes| *minutes < 60)?;
    let seconds = parts.next();
    if parts.next().is_some() || seconds.is_none() && fraction.is_some() {
        return None;
    }
    // The last second of some days is the sixtieth.
    let whole = seconds.map_or(Some(0), |seconds| number(seconds, 2).filter(|seconds| *seconds <= 60))?;
    let (nanoseconds, width) = match fraction {
        None if seconds.is_none() => (0, MINUTE),
        None => (0, SECOND),
        Some(digits) => read_fraction(digits, reader)?,
    };
    let since_midnight = i128::from(hours * 60 + minutes) * MINUTE + i128::from(whole) * SECOND + nanoseconds;
    Some((since_midnight, width, read_zone(zone)?))
}

/// Reads the digits of a second's fraction: nanoseconds, and how many the last digit stands for.
fn read_fraction(digits: &str, reader: Reader) -> Option<(i128, i128)> {
    let is_fraction = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let kept = digits.get(..digits.len().min(FRACTION)).filter(|_| is_fraction)?;
    if kept.len() < digits.len() && reader == Reader::Value {
        return None;
    }
    let width = 10_i128.pow(u32::try_from(FRACTION - kept.len()).ok()?);
    Some((kept.parse::<i128>().ok()? * width, width))
}

/// Reads a zone, which may be none: nanoseconds ahead of UTC.
fn read_zone(text: &str) -> Option<Option<i128>> {
    let Some(ahead) = text.strip_prefix(['+', '-', ' ']) else {
        return match text {
            "" => Some(None),
            "Z" => Some(Some(0)),
            _ => None,
        };
    };
    let (hours, minutes) = ahead.split_once(':')?;
    let minutes = match (number(hours, 2)?, number(minutes, 2)?) {
        (hours @ 0..=13, minutes @ 0..=59) | (hours @ 14, minutes @ 0) => i128::from(hours * 60 + minutes),
        _ => return None,
    };
    Some(Some(if text.starts_with('-') { -minutes } else { minutes } * MINUTE))
}

/// Returns the days from the beginning of 1970 to the beginning of a month. The thirteenth is the first of the next year.
fn days_before_month(year: i64, month: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last of its year.
    let months = year * 12 + month - 3;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12));
    let days_before_year = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    days_before_year + (153 * month + 2) / 5 - 719_468
}

/// Reads a number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
