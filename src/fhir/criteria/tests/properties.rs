//! Both implementations agree about random resources, parameters, modifiers and values.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::naive;
use crate::fhir::criteria::Criteria;
use crate::fhir::criteria::criterion::Criterion;

/// A date or a time of any precision, close to others.
fn a_date() -> impl Strategy<Value = String> {
    let days =
        vec![(2023, 12, 31), (2024, 1, 1), (2024, 1, 1), (2024, 1, 2), (2024, 2, 28), (2024, 2, 29), (2024, 3, 1), (2023, 2, 29)];
    let day = select(days);
    let clock = (select(vec![0, 12, 23, 24]), select(vec![0, 30, 59]), select(vec![0, 0, 30, 59, 60]));
    let fraction = select(vec!["", "", ".0", ".5", ".50", ".999999999", ".1234567891", "."]);
    let zone = select(vec!["", "Z", "Z", "+00:00", "+01:00", "-05:30", "+14:00", "-14:30"]);
    let precision = 0..12;
    (day, clock, fraction, zone, precision).prop_map(|((year, month, day), (hour, minute, second), fraction, zone, precision)| {
        match precision {
            0 => format!("{year}"),
            1 | 2 => format!("{year}-{month:02}"),
            3..=5 => format!("{year}-{month:02}-{day:02}"),
            6 => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}{zone}"),
            _ => format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"),
        }
    })
}

/// A time that is hours from others, so that zones and the parts of seconds matter.
fn a_close_time() -> impl Strategy<Value = String> {
    let day = select(vec!["2023-12-31", "2024-01-01", "2024-01-01"]);
    let clock =
        select(vec!["00:00", "01:00", "23:00", "00:00:00", "00:00:00", "01:00:00", "00:00:00.5", "00:00:00.50", "00:00:00.75"]);
    let zone = select(vec!["", "Z", "Z", "+01:00", "-01:00", "+00:00", "-14:30"]);
    (day, clock, zone, 0..8)
        .prop_map(|(day, clock, zone, precision)| if precision == 0 { day.to_owned() } else { format!("{day}T{clock}{zone}") })
}

fn a_code() -> impl Strategy<Value = &'static str> {
    select(vec!["a", "A", "b", "final", "a|b", "a,b", "a\\b", "$", ""])
}

fn a_system() -> impl Strategy<Value = &'static str> {
    select(vec!["http://a", "http://b", "http://hl7.org/fhir/observation-status", "a|b", ""])
}

fn a_text() -> impl Strategy<Value = String> {
    "[aAáÄsSßb, \u{301}]{0,5}"
}

fn a_reference() -> impl Strategy<Value = &'static str> {
    select(vec![
        "Patient/1",
        "Patient/1",
        "Group/1",
        "Patient/12",
        "Device/1",
        "Patient/1/_history/2",
        "https://e/Patient/1",
        "https://e/Patient/1/_history/2",
        "https://e/Group/1",
        "urn:uuid:1",
        "#1",
        "1",
        "",
        "x/Patient/1",
        "Practitioner/1",
        "Patient/",
    ])
}

/// A value as it is, in arrays, beside others, or not at all.
fn often(value: impl Strategy<Value = Value> + Clone + 'static) -> BoxedStrategy<Option<Value>> {
    prop_oneof![
        6 => value.clone().prop_map(Some),
        2 => vec(value.clone(), 0..3).prop_map(|items| Some(items.into())),
        1 => vec(vec(value, 0..2), 0..2).prop_map(|items| Some(json!([items, null]))),
        1 => Just(Some(Value::Null)),
        1 => select(vec![json!(5), json!(true), json!({}), json!("text")]).prop_map(Some),
        3 => Just(None),
    ]
    .boxed()
}

fn object(members: Vec<(&'static str, Option<Value>)>) -> Value {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<serde_json::Map<_, _>>().into()
}

fn a_coding() -> impl Strategy<Value = Value> + Clone {
    let members = (option::of(a_system().prop_map(Value::from)), option::of(a_code().prop_map(Value::from)));
    members.prop_map(|(system, code)| object(vec![("system", system), ("code", code)])).boxed()
}

fn a_concept() -> BoxedStrategy<Option<Value>> {
    let codings = prop_oneof![vec(a_coding(), 0..3).prop_map(Value::from), a_coding()];
    often(
        (option::of(codings), option::of(a_text()))
            .prop_map(|(codings, text)| object(vec![("coding", codings), ("text", text.map(Value::from))]))
            .boxed(),
    )
}

fn a_resource() -> impl Strategy<Value = Value> {
    let dates = || often(a_date().prop_map(Value::from).boxed());
    let period = (option::of(a_date()), option::of(a_date()))
        .prop_map(|(start, end)| object(vec![("start", start.map(Value::from)), ("end", end.map(Value::from))]));
    // Moments of one zone have one order.
    let timing = vec(a_date().prop_map(|date| date.replace(['Z', '+'], "").split("-05").next().map(str::to_owned)), 0..3)
        .prop_map(|events| json!({ "event": events }));
    let identifier = (option::of(a_system()), option::of(a_code()))
        .prop_map(|(system, value)| object(vec![("system", system.map(Value::from)), ("value", value.map(Value::from))]));
    let tokens = (
        option::of(a_code()),
        often(a_code().prop_map(Value::from).boxed()),
        a_concept(),
        a_concept(),
        often(identifier.boxed()),
    );
    let times = (dates(), dates(), often(period.boxed()), often(timing.boxed()), dates());
    let others = (
        often(a_reference().prop_map(|to| json!({ "reference": to })).boxed()),
        often(a_text().prop_map(Value::from).boxed()),
        a_concept(),
    );
    (tokens, times, others).prop_map(
        |((id, status, code, component, identifier), (updated, date, period, timing, instant), (subject, text, concept))| {
            object(vec![
                ("resourceType", Some(json!("Observation"))),
                ("id", id.map(Value::from)),
                ("meta", Some(object(vec![("lastUpdated", updated)]))),
                ("status", status),
                ("code", code),
                ("component", component.map(|code| json!([{ "code": code }]))),
                ("identifier", identifier),
                ("effectiveDateTime", date),
                ("effectivePeriod", period),
                ("effectiveTiming", timing),
                ("effectiveInstant", instant),
                ("subject", subject),
                ("valueString", text),
                ("valueCodeableConcept", concept),
            ])
        },
    )
}

fn escaped(text: &str) -> String {
    text.chars().flat_map(|character| ",|$\\".contains(character).then_some('\\').into_iter().chain([character])).collect()
}

/// A parameter's name, modifier and value.
fn a_parameter() -> impl Strategy<Value = (&'static str, Option<&'static str>, String)> {
    let list = |part: BoxedStrategy<String>| vec(part, 1..6).prop_map(|parts| parts.join(","));
    let token = prop_oneof![
        a_code().prop_map(escaped),
        (a_system(), a_code()).prop_map(|(system, code)| format!("{}|{}", escaped(system), escaped(code))),
        "[ab|,\\\\$]{0,4}",
    ];
    let prefix = select(vec!["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"]);
    let date = (prefix, a_date(), any::<bool>())
        .prop_map(|(prefix, date, plus)| format!("{prefix}{}", if plus { date } else { date.replace('+', " ") }));
    let text = a_text().prop_map(|text| escaped(&text));
    let valid = vec![
        "1",
        "2",
        "12",
        "Patient/1",
        "Patient/1",
        "Group/1",
        "Device/1",
        "https://e/Patient/1",
        "https://e/Group/1",
        "urn:uuid:1",
    ];
    let reference = prop_oneof![9 => select(valid), 1 => a_reference(), 1 => Just("Shoe/1")].prop_map(str::to_owned);
    let some = |modifiers: &[Option<&'static str>]| select(modifiers.to_vec());
    prop_oneof![
        (
            select(vec!["_id", "status", "code", "combo-code", "identifier"]),
            some(&[None, None, Some("not"), Some("text")]),
            list(token.boxed())
        ),
        (select(vec!["date", "date", "_lastUpdated"]), some(&[None, None, None, Some("not")]), list(date.boxed())),
        (Just("value-string"), some(&[None, Some("exact"), Some("contains"), Some("not")]), list(text.boxed())),
        (
            select(vec!["patient", "subject"]),
            some(&[None, None, Some("Patient"), Some("Group"), Some("Practitioner"), Some("not")]),
            list(reference.boxed())
        ),
        (
            select(vec!["_id", "status", "code", "combo-code", "identifier", "date", "_lastUpdated", "value-string", "patient"]),
            Just(Some("missing")),
            select(vec!["true", "false", "x"]).prop_map(str::to_owned),
        ),
    ]
}

/// Writes JSON with blanks and escapes as the numbers say.
fn spelled(value: &Value, numbers: &mut impl Iterator<Item = u8>, out: &mut String) {
    let blank =
        |numbers: &mut dyn Iterator<Item = u8>| ["", "", "", " ", "\n", "\t \r"][usize::from(numbers.next().unwrap_or(0) % 6)];
    out.push_str(blank(numbers));
    match value {
        Value::String(text) => spelled_text(text, numbers, out),
        Value::Array(items) => {
            out.push('[');
            for (number, item) in items.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                spelled(item, numbers, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (number, (name, item)) in members.iter().enumerate() {
                out.push_str(if number == 0 { "" } else { "," });
                out.push_str(blank(numbers));
                spelled_text(name, numbers, out);
                out.push_str(blank(numbers));
                out.push(':');
                spelled(item, numbers, out);
            }
            out.push_str(blank(numbers));
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
    out.push_str(blank(numbers));
}

fn spelled_text(text: &str, numbers: &mut impl Iterator<Item = u8>, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            _ if numbers.next().unwrap_or(0).is_multiple_of(8) => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            '/' if numbers.next().unwrap_or(0).is_multiple_of(2) => out.push_str("\\/"),
            '"' | '\\' => out.extend(['\\', character]),
            plain => out.push(plain),
        }
    }
    out.push('"');
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn both_implementations_agree(
        resource in a_resource(), parameters in vec(a_parameter(), 1..6), numbers in vec(any::<u8>(), 0..300)
    ) {
        let mut text = String::new();
        spelled(&resource, &mut numbers.into_iter(), &mut text);
        let (mut all, mut meets_all) = (Criteria::default(), true);
        for (name, modifier, value) in parameters {
            let full_name = modifier.map_or(name.to_owned(), |modifier| format!("{name}:{modifier}"));
            let expected = naive::is_met(&resource, name, modifier, &value);
            let read = Criterion::read("Observation", &full_name, &value);
            prop_assert_eq!(read.is_ok(), expected.is_some(), "{}={}: {:?}", full_name, value, read);
            if let (Ok(criterion), Some(expected)) = (read, expected) {
                let mut one = Criteria::default();
                one.and(criterion.clone());
                prop_assert_eq!(one.are_met_by(text.as_bytes()), Ok(expected), "{}={} of {}", full_name, value, text);
                all.and(criterion);
                meets_all &= expected;
            }
        }
        prop_assert_eq!(all.are_met_by(text.as_bytes()), Ok(meets_all));
    }

    #[test]
    fn both_implementations_agree_about_close_times(
        elements in (a_close_time(), a_close_time(), 0..6),
        values in vec((select(vec!["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"]), a_close_time()), 1..4)
    ) {
        let (first, second, kind) = elements;
        let resource = match kind {
            0 | 1 => json!({ "effectiveDateTime": first }),
            2 => json!({ "effectiveInstant": first }),
            3 => json!({ "effectivePeriod": { "start": first, "end": second } }),
            4 => json!({ "effectivePeriod": { "start": first } }),
            _ => json!({ "effectivePeriod": { "end": first } }),
        };
        let value = values.iter().map(|(prefix, time)| format!("{prefix}{time}")).collect::<Vec<_>>().join(",");
        let met = Criterion::read("Observation", "date", &value).ok().map(|criterion| {
            let mut criteria = Criteria::default();
            criteria.and(criterion);
            criteria.are_met_by(resource.to_string().as_bytes()).unwrap()
        });
        prop_assert_eq!(met, naive::is_met(&resource, "date", None, &value), "{} of {}", value, resource);
    }

    #[test]
    fn nothing_panics(name in ".{0,20}", value in ".{0,40}", resource in vec(any::<u8>(), 0..80)) {
        let _ = Criterion::read("Observation", &name, &value);
        for name in ["_id", "code", "date", "subject", "value-string"] {
            let mut criteria = Criteria::default();
            if let Ok(criterion) = Criterion::read("Observation", name, &value) {
                criteria.and(criterion);
            }
            let _ = criteria.are_met_by(&resource);
        }
    }

    #[test]
    fn a_resource_that_ends_too_early_is_never_read(resource in a_resource(), cut in any::<prop::sample::Index>()) {
        let text = resource.to_string();
        let mut criteria = Criteria::default();
        criteria.and(Criterion::read("Observation", "status", "final").unwrap());
        prop_assert!(criteria.are_met_by(&text.as_bytes()[..cut.index(text.len())]).is_err());
    }
}
