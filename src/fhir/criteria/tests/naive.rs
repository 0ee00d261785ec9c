//! A second implementation of a few parameters, written from the text of FHIR R4 for clarity alone: it knows no table, looks at
//! `serde_json` values, and computes each range of time anew from its text for each comparison.

use jiff::civil::{Date, date};
use serde_json::Value;

/// An element with the name of its data type.
type Element = (&'static str, Value);

/// Whether a resource meets a parameter; `None` where the parameter cannot be tested.
pub(super) fn is_met(resource: &Value, name: &str, modifier: Option<&str>, value: &str) -> Option<bool> {
    let (kind, elements) = elements(resource, name);
    if modifier == Some("missing") {
        return match value {
            "true" => Some(elements.is_empty()),
            "false" => Some(!elements.is_empty()),
            _ => None,
        };
    }
    let parts: Vec<Text> = marked(value).split(|(character, escaped)| *character == ',' && !escaped).map(<[_]>::to_vec).collect();
    if marked(value).iter().any(|(character, escaped)| *escaped && !",|$\\".contains(*character)) || ends_in_escape(value) {
        return None;
    }
    match (kind, modifier) {
        ("token", None) => any(&parts, |part| token(part, &elements)),
        ("token", Some("not")) => any(&parts, |part| token(part, &elements)).map(|found| !found),
        ("date", None) => any(&parts, |part| date_fits(&plain(part), &elements)),
        ("string", None | Some("contains" | "exact")) => any(&parts, |part| text(&plain(part), modifier, &elements)),
        ("reference", modifier) => any(&parts, |part| reference(&plain(part), modifier, name, &elements)),
        _ => None,
    }
}

/// `None` if one of the parts is none, or whether one holds.
fn any(parts: &[Text], holds: impl Fn(&Text) -> Option<bool>) -> Option<bool> {
    let answers: Vec<Option<bool>> = parts.iter().map(holds).collect();
    answers.into_iter().collect::<Option<Vec<bool>>>().map(|answers| answers.contains(&true))
}

/// A text without its backslashes, and of each character whether one stood before it.
type Text = Vec<(char, bool)>;

fn marked(text: &str) -> Text {
    let mut marked = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => marked.extend(characters.next().map(|escaped| (escaped, true))),
            plain => marked.push((plain, false)),
        }
    }
    marked
}

fn ends_in_escape(text: &str) -> bool {
    (text.len() - text.trim_end_matches('\\').len()) % 2 == 1
}

fn plain(part: &Text) -> String {
    part.iter().map(|(character, _)| character).collect()
}

/// The kind of a parameter, and the elements that it looks at.
fn elements(resource: &Value, name: &str) -> (&'static str, Vec<Element>) {
    let at = |path: &[&str], data_type: &'static str| {
        let mut values = vec![resource.clone()];
        for name in path {
            values = values.iter().flat_map(items).filter_map(|value| value.get(name).cloned()).collect();
        }
        let found = values.iter().flat_map(items).filter(|value| !value.is_null());
        found.map(|value| (data_type, value)).collect::<Vec<Element>>()
    };
    match name {
        "_id" => ("token", at(&["id"], "id")),
        "_lastUpdated" => ("date", at(&["meta", "lastUpdated"], "instant")),
        "status" => ("token", at(&["status"], "code http://hl7.org/fhir/observation-status")),
        "code" => ("token", at(&["code"], "CodeableConcept")),
        "combo-code" => ("token", [at(&["code"], "CodeableConcept"), at(&["component", "code"], "CodeableConcept")].concat()),
        "identifier" => ("token", at(&["identifier"], "Identifier")),
        "date" => (
            "date",
            [
                at(&["effectiveDateTime"], "dateTime"),
                at(&["effectivePeriod"], "Period"),
                at(&["effectiveTiming"], "Timing"),
                at(&["effectiveInstant"], "instant"),
            ]
            .concat(),
        ),
        "patient" | "subject" => ("reference", at(&["subject"], "Reference")),
        "value-string" => ("string", [at(&["valueString"], "string"), at(&["valueCodeableConcept", "text"], "string")].concat()),
        other => panic!("{other}"),
    }
}

/// A value that is no array, or the values that are in it.
fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(items_of).collect(),
        one => vec![one.clone()],
    }
}

fn items_of(value: &Value) -> Vec<Value> {
    items(value)
}

fn string<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// 3.1.1.4.10: `[code]`, `[system]|[code]`, `|[code]`, `[system]|`.
fn token(part: &Text, elements: &[Element]) -> Option<bool> {
    let halves: Vec<String> =
        part.split(|(character, escaped)| *character == '|' && !escaped).map(|half| plain(&half.to_vec())).collect();
    let (system, code) = match &halves[..] {
        [code] => (None, code),
        [system, code] => (Some(system), code),
        _ => return None,
    };
    if code.is_empty() && system.is_none_or(String::is_empty) {
        return None;
    }
    let mut codings: Vec<(Option<String>, Option<String>, bool)> = Vec::new();
    for (data_type, element) in elements {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        match *data_type {
            "id" => codings.push((None, owned(element.as_str()), true)),
            "Identifier" => codings.push((owned(string(element, "system")), owned(string(element, "value")), false)),
            "CodeableConcept" => {
                for coding in element.get("coding").into_iter().flat_map(|codings| match codings {
                    Value::Array(codings) => codings.clone(),
                    one => vec![one.clone()],
                }) {
                    codings.push((owned(string(&coding, "system")), owned(string(&coding, "code")), false));
                }
            }
            code => {
                if element.is_string() {
                    codings.push((owned(code.strip_prefix("code ")), owned(element.as_str()), true));
                }
            }
        }
    }
    Some(codings.iter().any(|(its_system, its_code, is_exact)| {
        let its_system = its_system.as_deref().unwrap_or_default();
        let has_system = system.is_none_or(|system| system == its_system);
        let has_code = its_code
            .as_ref()
            .is_some_and(|its_code| if *is_exact { its_code == code } else { its_code.eq_ignore_ascii_case(code) });
        has_system && (has_code || code.is_empty())
    }))
}

/// 3.1.1.4.12: `[id]`, `[type]/[id]`, `[url]`.
fn reference(value: &str, modifier: Option<&str>, name: &str, elements: &[Element]) -> Option<bool> {
    let can_be = ["Patient", "Group", "Device", "Location"];
    let types: Vec<&str> = match (name, modifier) {
        ("patient", None | Some("Patient")) => vec!["Patient"],
        ("subject", None) => can_be.to_vec(),
        ("subject", Some(modifier)) if can_be.contains(&modifier) => vec![modifier],
        _ => return None,
    };
    let is_url = |text: &str| text.contains("://") || text.starts_with("urn:");
    let candidates: Vec<String> = if is_url(value) {
        if modifier.is_some() {
            return None;
        }
        vec![value.to_owned()]
    } else {
        let words: Vec<&str> = value.split('/').collect();
        match words[..] {
            _ if value.contains(['#', '|']) => return None,
            ["" | "Shoe", _] | [_, ""] | [""] => return None,
            [id] => types.iter().map(|known| format!("{known}/{id}")).collect(),
            [known, _] if known != "Practitioner" && !can_be.contains(&known) => return None,
            [known, _] if modifier.is_some_and(|modifier| modifier != known) => return None,
            [_, _] => vec![value.to_owned()],
            _ => return None,
        }
    };
    Some(elements.iter().filter_map(|(_, element)| string(element, "reference")).any(|its| {
        let versionless = its.split("/_history/").next().unwrap();
        let has_type = types.iter().any(|known| {
            let words: Vec<&str> = versionless.split('/').collect();
            words.len() > 1 && words[words.len() - 2] == *known
        });
        has_type && candidates.iter().any(|candidate| candidate == versionless || is_url(candidate) && candidate == its)
    }))
}

/// 3.1.1.4.8.
fn text(value: &str, modifier: Option<&str>, elements: &[Element]) -> Option<bool> {
    let normal = |text: &str| {
        let base = |character| match character {
            'á' | 'Á' | 'ä' | 'Ä' | 'A' => "a".to_owned(),
            'ß' => "ss".to_owned(),
            '\u{301}' => String::new(),
            other => other.to_lowercase().to_string(),
        };
        text.chars().map(base).collect::<String>()
    };
    if value.is_empty() || modifier != Some("exact") && normal(value).is_empty() {
        return None;
    }
    Some(elements.iter().filter_map(|(_, element)| element.as_str()).any(|its| match modifier {
        Some("exact") => its == value,
        Some(_) => normal(its).contains(&normal(value)),
        None => normal(its).starts_with(&normal(value)),
    }))
}

/// 3.1.1.4.5 and 3.1.1.4.7, with ranges whose last nanosecond belongs to them.
fn date_fits(value: &str, elements: &[Element]) -> Option<bool> {
    let has_prefix = ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"].iter().any(|prefix| value.starts_with(prefix));
    let (prefix, value) = if has_prefix { value.split_at(2) } else { ("eq", value) };
    let value = match value.split_once(' ') {
        Some((time, zone)) if time.contains('T') => format!("{time}+{zone}"),
        _ => value.to_owned(),
    };
    range(&value, None, true)?;
    Some(elements.iter().any(|(data_type, element)| {
        let events: Vec<Value> = match *data_type {
            "Timing" => match element.get("event") {
                Some(Value::Array(events)) => events.clone(),
                other => other.cloned().into_iter().collect(),
            },
            _ => Vec::new(),
        };
        // The text that the element begins with, and the one that it ends with.
        let legible = |text: &Value| text.as_str().filter(|text| range(text, None, false).is_some()).map(str::to_owned);
        let (first, last) = match *data_type {
            "dateTime" | "instant" => (legible(element), legible(element)),
            "Period" => {
                let ends = ["start", "end"].map(|name| element.get(name).filter(|end| end.is_string()));
                if ends.iter().flatten().any(|end| legible(end).is_none()) {
                    return false;
                }
                (ends[0].and_then(legible), ends[1].and_then(legible))
            }
            _ => {
                let texts: Vec<String> = events.iter().filter_map(legible).collect();
                let first = texts.iter().min_by_key(|text| range(text, None, false).unwrap().0);
                let last = texts.iter().max_by_key(|text| range(text, None, false).unwrap().1);
                (first.cloned(), last.cloned())
            }
        };
        if first.is_none() && last.is_none() {
            return false;
        }
        // One side lends the other its zone.
        let begins = first.map(|text| (range(&text, zone(&value), false).unwrap().0, range(&value, zone(&text), true).unwrap()));
        let ends = last.map(|text| {
            let (low, high) = range(&text, zone(&value), false).unwrap();
            (if *data_type == "instant" { low } else { high }, range(&value, zone(&text), true).unwrap())
        });
        let within = begins.is_some_and(|(low, value)| value.0 <= low) && ends.is_some_and(|(high, value)| high <= value.1);
        let is_above = ends.is_none_or(|(high, value)| high > value.1);
        let is_below = begins.is_none_or(|(low, value)| low < value.0);
        match prefix {
            "eq" => within,
            "ne" => !within,
            "gt" => is_above,
            "lt" => is_below,
            "ge" => is_above || within,
            "le" => is_below || within,
            "sa" => begins.is_some_and(|(low, value)| low > value.1),
            _ => ends.is_some_and(|(high, value)| high < value.0),
        }
    }))
}

/// The zone of a time, in minutes ahead of UTC.
fn zone(text: &str) -> Option<i128> {
    let (_, time) = text.split_once('T')?;
    if time.ends_with('Z') {
        return Some(0);
    }
    let at = time.find(['+', '-'])?;
    let minutes = time[at + 1..at + 3].parse::<i128>().unwrap() * 60 + time[at + 4..].parse::<i128>().unwrap();
    Some(if time[at..].starts_with('-') { -minutes } else { minutes })
}

/// The first and the last nanosecond of what a text may mean; in UTC unless it has a zone or is lent one.
fn range(text: &str, lent: Option<i128>, is_value: bool) -> Option<(i128, i128)> {
    let shape: String = text.chars().map(|character| if character.is_ascii_digit() { '0' } else { character }).collect();
    let number = |begin: usize, end: usize| text[begin..end].parse::<i16>().unwrap();
    let day = |month: i16, day: i16| Date::new(number(0, 4), month as i8, day as i8).ok().filter(|date| date.year() > 0);
    let nanoseconds = |date: Date| date.duration_since(jiff::civil::date(1970, 1, 1)).as_nanos();
    let lent_nanoseconds = lent.unwrap_or(0) * 60_000_000_000;
    let whole_days = |first: Date, last: Date| {
        let end = nanoseconds(last) + 24 * 3_600_000_000_000 - 1;
        Some((nanoseconds(first) - lent_nanoseconds, end - lent_nanoseconds))
    };
    match shape.as_str() {
        "0000" => return whole_days(day(1, 1)?, day(12, 31)?),
        "0000-00" => return whole_days(day(number(5, 7), 1)?, day(number(5, 7), 1)?.last_of_month()),
        "0000-00-00" => return whole_days(day(number(5, 7), number(8, 10))?, day(number(5, 7), number(8, 10))?),
        _ => {}
    }
    let time = shape.strip_prefix("0000-00-00T")?;
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, its_zone) = time.split_at(zone_at);
    let ahead = match its_zone {
        "" => lent_nanoseconds,
        "Z" => 0,
        "+00:00" | "-00:00" => {
            let (hours, minutes) = (number(11 + zone_at + 1, 11 + zone_at + 3), number(11 + zone_at + 4, 11 + zone_at + 6));
            if hours > 14 || minutes > 59 || hours == 14 && minutes > 0 {
                return None;
            }
            zone(text)? * 60_000_000_000
        }
        _ => return None,
    };
    let (whole, fraction) = clock.split_once('.').map_or((clock, None), |(whole, fraction)| (whole, Some(fraction.len())));
    let (hour, minute) = match whole {
        "00:00" if fraction.is_none() => (number(11, 13), number(14, 16)),
        "00:00:00" => (number(11, 13), number(14, 16)),
        _ => return None,
    };
    let second = if whole.len() > 5 { number(17, 19) } else { 0 };
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let begin = nanoseconds(day(number(5, 7), number(8, 10))?)
        + (i128::from(hour) * 3_600 + i128::from(minute) * 60 + i128::from(second)) * 1_000_000_000;
    let (more, width) = match fraction {
        None if whole.len() == 5 => (0, 60_000_000_000),
        None => (0, 1_000_000_000),
        Some(0) => return None,
        Some(_) if shape[11..11 + zone_at].rsplit('.').next()?.contains(|digit| digit != '0') => return None,
        Some(digits) if digits > 9 && is_value => return None,
        Some(digits) => {
            let written = &text[20..20 + digits.min(9)];
            let padded = format!("{written:0<9}");
            (padded.parse::<i128>().unwrap(), 10_i128.pow(9 - digits.min(9) as u32))
        }
    };
    Some((begin + more - ahead, begin + more + width - 1 - ahead))
}

#[test]
fn the_second_implementation_knows_the_rules_itself() {
    assert_eq!(range("1970", None, true), Some((0, 365 * 86_400_000_000_000 - 1)));
    assert_eq!(range("1970-01-01T01:00:00+01:00", None, true), Some((0, 999_999_999)));
    assert_eq!(range("1970-01-01", Some(60), true).unwrap().0, -3_600_000_000_000);
    assert_eq!(range("1970-01-01T00:00:00.5Z", None, true), Some((500_000_000, 599_999_999)));
    assert_eq!((range("2023-02-29", None, true), range("2024-01-01T24:00Z", None, true)), (None, None));
    assert_eq!(date(1970, 1, 1).last_of_month(), date(1970, 1, 31));
}
