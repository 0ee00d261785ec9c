#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::fhir::json::legal_json::{Json, Writer};

/// What is found in a body in these pieces: the ids in order, the number of resources, and whether it is legible.
fn found(form: Form, pieces: &[&[u8]]) -> (Vec<String>, u64, bool) {
    let mut patients = PatientsFound::new(form);
    pieces.iter().for_each(|piece| patients.read(piece));
    patients.finish();
    let ids: Vec<String> = patients.take().into_iter().map(Text::into_owned).collect();
    assert_eq!(patients.fresh(), 0);
    (ids, patients.entries(), patients.is_legible())
}

/// The same, whole, byte by byte, and cut once anywhere; these must agree.
fn agreed(form: Form, text: &str) -> (Vec<String>, u64, bool) {
    let whole = found(form, &[text.as_bytes()]);
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(found(form, &bytes), whole, "{text}");
    for cut in 0..=text.len().min(2000) {
        let (first, second) = text.as_bytes().split_at(cut);
        assert_eq!(found(form, &[first, second]), whole, "{cut} of {text}");
    }
    whole
}

#[test]
fn a_patient_is_found_however_it_is_written() {
    let long = format!(r#"{{"id":"1","text":"{}","resourceType":"Patient"}}"#, r#"}]\"\\"#.repeat(100));
    let spaces = " \r\n\t".repeat(60);
    let spaced = format!(
        r#"{spaces}{{{spaces}"resourceType"{spaces}:{spaces}"Patient"{spaces},"id"{spaces}:{spaces}"1"{spaces}}}{spaces}"#
    );
    for text in [
        r#"{"resourceType":"Patient","id":"1"}"#,
        r#"{"id":"1","name":[{"given":["}"]}],"resourceType":"Patient"}"#,
        "\u{feff}{\"resourceType\":\"Patient\",\"id\":\"1\"}",
        r#"{"\u0072\u0065\u0073\u006f\u0075\u0072\u0063\u0065\u0054\u0079\u0070\u0065":"P\u0061tient","\u0069d":"\u0031"}"#,
        r#"{"resourceType":"Observation","subject":{"reference":"Patient/1"}}"#,
        r#"{"resourceType":"Observation","subject":{"reference":"Patient\/1"}}"#,
        r#"{"resourceType":"Observation","subject":{"re\u0066erence":"https:\/\/emr\/fhir\/Patient\u002f1"}}"#,
        r#"{"resourceType":"Observation","subject":{"reference":"Patient/1/_history/4"},"performer":[{"reference":"Patient/1"}]}"#,
        r##"{"resourceType":"Observation","contained":[{"resourceType":"Practitioner","id":"c"}],"subject":{"reference":"#c","type":"Practitioner"},"x":{"y":[{"reference":"Patient/1"}]}}"##,
        r#"{"resourceType":"Practitioner","id":"2","extension":[{"valueReference":{"reference":"Patient/1"}}]}"#,
        r#"{"resourceType":"Binary","id":"2","securityContext":{"reference":"Patient/1"},"data":"AAAA"}"#,
        &long,
        &spaced,
    ] {
        assert_eq!(agreed(Form::Document, text), (vec!["1".to_owned()], 1, true), "{text}");
    }
}

#[test]
fn what_is_no_patient_is_none() {
    for text in [
        r#"{"resourceType":"Practitioner","id":"1","qualification":[{"id":"Patient"}]}"#,
        r#"{"resourceType":"Practitioner","text":"{\"reference\":\"Patient/1\"}","x":"\"reference\":","y":"Patient/1"}"#,
        r#"{"resourceType":"Practitioner","x\"reference":"Patient/1","reference\"":"Patient/1","xreference":"Patient/1"}"#,
        r#"{"resourceType":"Organization","type":"Patient","a":{"resourceType":"Endpoint","id":"1"},"contained":[{"id":"1"}]}"#,
        r##"{"resourceType":"Organization","a":[{"reference":"#1"},{"reference":"urn:uuid:1"}]}"##,
        r#"{"resourceType":"Organization","a":[{"reference":null},{"reference":["Patient/1"]},{"reference":{"a":"Patient/1"}},"reference","Patient/1"]}"#,
        r#"{"resourceType":"OperationOutcome","issue":[]}"#,
        r#"{"resourceType":"Parameters"}"#,
    ] {
        assert_eq!(agreed(Form::Document, text), (vec![], 1, true), "{text}");
    }
    assert_eq!(agreed(Form::Document, " \n"), (vec![], 0, true));
}

#[test]
fn resources_are_found_in_bundles_and_parameters_at_any_depth_and_counted() {
    let text = r#"{"entry":[{"resource":{"id":"1","resourceType":"Patient"},"fullUrl":"x"},{"search":{"mode":"match"}},
        {"resource":{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"2"}}]}},{"resource":null},
        {"resource":{"resourceType":"Parameters","parameter":[{"name":"a","resource":{"resourceType":"Patient","id":"3"}},
        {"part":[{"part":[{"resource":{"id":"4","resourceType":"Patient"}}]}]}]}}],"id":"no","resourceType":"Bundle"}"#;
    assert_eq!(agreed(Form::Document, text), (["1", "2", "3", "4"].map(str::to_owned).into(), 4, true));
    let text = r#"{"resourceType":"Parameters","parameter":[{"resource":{"resourceType":"Patient","id":"1"}}]}"#;
    assert_eq!(agreed(Form::Document, text), (vec!["1".to_owned()], 1, true));
    let text = r#"{"resourceType":"Bundle","type":"searchset","total":0}"#;
    assert_eq!(agreed(Form::Document, text), (vec![], 0, true));
}

#[test]
fn a_body_whose_patients_cannot_be_told_says_so() {
    let deep =
        format!(r#"{{"resourceType":"Observation","a":{}{{"reference":"Patient/1"}}{}}}"#, "[".repeat(400), "]".repeat(400));
    let huge = format!(
        r#"{{"resourceType":"Organization","a":{{"reference":"{}"}},"b":{{"reference":"Patient/1"}}}}"#,
        "a".repeat(9000)
    );
    for (text, ids) in [
        ("<html>", vec![]),
        ("null", vec![]),
        (r#"[{"resourceType":"Patient","id":"1"}]"#, vec![]),
        (r#"{"a":1}"#, vec![]),
        (r#"{"resourceType":"Binary","data":"AAAA"}"#, vec![]),
        (r#"{"resourceType":"NewInR6"}"#, vec![]),
        (r#"{"resourceType":"Observation","code":{}}"#, vec![]),
        (r#"{"resourceType":"Observation","subject":{"reference":"Group/1"}}"#, vec![]),
        (r#"{"resourceType":"Patient","name":[]}"#, vec![]),
        (r#"{"resourceType":"Patient","id":5}"#, vec![]),
        (r#"{"resourceType":"Patient","id":"a b"}"#, vec![]),
        (r#"{"resourceType":"Organization","a":{"reference":"Patient/a b"}}"#, vec![]),
        // One is named, and another is not.
        (
            r#"{"resourceType":"Observation","a":{"reference":"Patient/1"},"contained":[{"resourceType":"Patient","id":"2"}]}"#,
            vec!["1"],
        ),
        (r#"{"resourceType":"Observation","a":{"reference":"Patient/1"},"b":{"reference":"Patient?identifier=2"}}"#, vec!["1"]),
        (
            r#"{"resourceType":"Observation","a":{"reference":"Patient/1"},"b":{"type":"Patient","identifier":{"value":"2"}}}"#,
            vec!["1"],
        ),
        (
            r#"{"resourceType":"Observation","a":{"reference":"Patient/1"},"b":{"reference":"urn:uuid:2","type":"Patient"}}"#,
            vec!["1"],
        ),
        (r#"{"resourceType":"Observation","a":{"reference":"Patient/1","b":[{"type":"Patient","reference":"2"}]}}"#, vec!["1"]),
        (r#"{"resourceType":"Patient","id":"1","id":"2"}"#, vec!["2"]),
        (r#"{"resourceType":"Patient","id":"1"}x"#, vec!["1"]),
        (r#"{"resourceType":"Patient","id":"1","a":[}}"#, vec!["1"]),
        (r#"{"resourceType":"Patient","id":"1","na"#, vec!["1"]),
        (r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"1","name":["#, vec!["1"]),
        ("\u{feff}", vec![]),
        ("\u{feff}\u{feff}{}", vec![]),
        (&deep, vec!["1"]),
        (&huge, vec!["1"]),
    ] {
        let (found, _, is_legible) = agreed(Form::Document, text);
        assert_eq!((found, is_legible), (ids.into_iter().map(str::to_owned).collect(), text == "\u{feff}"), "{text}");
    }
}

#[test]
fn a_provenance_need_name_no_patient_where_others_do() {
    let provenance = r#"{"resourceType":"Provenance","target":[{"reference":"Condition/1"}]}"#;
    assert!(!agreed(Form::Document, provenance).2);
    let with = format!(
        r#"{{"resourceType":"Bundle","entry":[{{"resource":{provenance}}},{{"resource":{{"resourceType":"Patient","id":"1"}}}}]}}"#
    );
    assert!(agreed(Form::Document, &with).2);
}

#[test]
fn lines_are_read_each_for_itself() {
    let good = "{\"resourceType\":\"Patient\",\"id\":\"1\"}\n\r\n{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/2\"}}\r\n";
    assert_eq!(agreed(Form::Lines, good), (vec!["1".to_owned(), "2".to_owned()], 2, true));
    let unended = good.trim_end();
    assert_eq!(agreed(Form::Lines, unended), agreed(Form::Lines, good));
    for broken in ["<br>", "{\"resourceType\":\"Condition\",\"a\":\"", "{\"a\":[[", "5"] {
        let text = format!("{broken}\n{good}");
        assert_eq!(agreed(Form::Lines, &text), (vec!["1".to_owned(), "2".to_owned()], 3, false), "{broken}");
    }
    assert_eq!(agreed(Form::Lines, ""), (vec![], 0, true));
}

#[test]
fn recorded_answers_are_about_their_patients() {
    for (answer, id) in [
        (
            &include_bytes!("../../openemr/mend/mender/tests/inputs/conditions-7.0.3.json")[..],
            "a34c6eb0-d9b5-4df5-94bb-f9eb6bd3c93f",
        ),
        (include_bytes!("../../openemr/mend/mender/tests/inputs/patient-8.0.0.json"), "a34c6e42-1d69-4ad3-b4ef-b31757983454"),
    ] {
        let text = std::str::from_utf8(answer).unwrap();
        assert_eq!(agreed(Form::Document, text), (vec![id.to_owned()], 1, true));
    }
}

#[test]
fn none_of_many_patients_is_dropped_and_memory_is_bounded() {
    const MANY: usize = 250_000;
    let mut patients = PatientsFound::new(Form::Lines);
    let mut taken = vec![0_u8; MANY];
    let mut most = 0;
    for number in 0..MANY {
        for _ in 0..2 {
            let line = format!("{{\"resourceType\":\"Observation\",\"subject\":{{\"reference\":\"Patient\\/p{number}\"}}}}\n");
            patients.read(line.as_bytes());
        }
        most = most.max(patients.findings.distinct.len());
        if patients.fresh() >= 1000 {
            for id in patients.take() {
                taken[id[1..].parse::<usize>().unwrap()] += 1;
            }
        }
    }
    patients.finish();
    assert_eq!(patients.take().len(), 0);
    assert!(taken.iter().all(|times| *times == 1), "{:?}", taken.iter().position(|times| *times != 1));
    assert_eq!((most, patients.entries(), patients.is_legible()), (distinct::MOST, 2 * MANY as u64, true));
    // One that was forgotten is told again, and one that is remembered is not.
    patients.read(b"{\"resourceType\":\"Patient\",\"id\":\"p0\"}\n{\"resourceType\":\"Patient\",\"id\":\"p249999\"}\n");
    patients.read(b"{\"resourceType\":\"Patient\",\"id\":\"p0\"}\n");
    assert_eq!(patients.take(), ["p0"]);
}

/// A value up to a depth, with the names that matter, each once in an object.
fn any(writer: &mut Writer, depth: usize) -> Json {
    const NAMES: [&str; 11] =
        ["reference", "type", "id", "resourceType", "resource", "entry", "parameter", "contained", "x\"}{:", "", "référence"];
    const TEXTS: [&str; 14] = [
        "Patient/p1",
        "https://emr/fhir/Patient/p2/_history/1",
        "Patient/ä",
        "Practitioner/p3",
        "#p4",
        "Patient?a=Patient/p5",
        "Patient",
        "Observation",
        "Bundle",
        "p6",
        "\"reference\":\"Patient/p7\"}]",
        "\\\"reference\":",
        "é\u{1F600}\n\t",
        "",
    ];
    match writer.below(if depth == 0 { 4 } else { 8 }) {
        0 => Json::Null,
        1 => Json::Number("-1.5e+3".to_owned()),
        2 | 3 => Json::Text(TEXTS[writer.below(TEXTS.len())].to_owned()),
        4 | 5 => Json::Array((0..writer.below(4)).map(|_| any(writer, depth - 1)).collect()),
        _ => {
            let names: BTreeSet<&str> = (0..writer.below(5)).map(|_| NAMES[writer.below(NAMES.len())]).collect();
            let members = names.into_iter().map(|name| (name, any(writer, depth - 1))).collect();
            Json::object(writer, members)
        }
    }
}

/// A resource, or what is nearly one.
fn resource(writer: &mut Writer, depth: usize) -> Json {
    const TYPES: [&str; 9] =
        ["Patient", "Patient", "Observation", "Practitioner", "Provenance", "Bundle", "Bundle", "Parameters", "Binary"];
    let named = TYPES[writer.below(TYPES.len())];
    let mut members = vec![("x", any(writer, 4)), ("subject", any(writer, 2))];
    if writer.below(10) > 0 {
        members.push(("resourceType", Json::Text(named.to_owned())));
    }
    if writer.below(10) > 0 {
        members.push(("id", Json::Text(["p1", "p8", "p9", "a b"][writer.below(4)].to_owned())));
    }
    if depth > 0 && writer.below(3) > 0 {
        let entries = (0..writer.below(4)).map(|_| {
            let inner = if writer.below(5) == 0 { any(writer, 2) } else { resource(writer, depth - 1) };
            let members = vec![("search", any(writer, 1)), ("resource", inner)];
            let entry = Json::object(writer, members);
            if writer.below(4) == 0 { Json::object(writer, vec![("part", Json::Array(vec![entry]))]) } else { entry }
        });
        members.push((if named == "Parameters" { "parameter" } else { "entry" }, Json::Array(entries.collect())));
    }
    Json::object(writer, members)
}

/// What a whole document is about.
#[derive(Debug, Default, PartialEq)]
struct Model {
    ids: BTreeSet<String>,
    entries: u64,
    is_unknown: bool,
    is_dependent: bool,
}

impl Model {
    fn resource(&mut self, resource: &Map<String, Value>) {
        let mut names_a_patient = false;
        for (name, value) in resource {
            match (name.as_str(), value) {
                ("reference", Value::String(text)) => self.reference(text, &mut names_a_patient),
                ("entry" | "parameter", value) => self.value(value, Some(name == "entry"), &mut names_a_patient),
                _ => self.value(value, None, &mut names_a_patient),
            }
        }
        match (resource.get("resourceType").and_then(Value::as_str), resource.get("id").and_then(Value::as_str)) {
            (Some("Patient"), Some(id)) if id.starts_with('p') => drop(self.ids.insert(id.to_owned())),
            (Some("Practitioner" | "Bundle" | "Parameters"), _) => {}
            (Some("Provenance"), _) => self.is_dependent |= !names_a_patient,
            (Some(other), _) if other != "Patient" && names_a_patient => {}
            _ => self.is_unknown = true,
        }
    }

    /// `list`: whether resources are within this value, and whether it is of a Bundle.
    fn value(&mut self, value: &Value, list: Option<bool>, names_a_patient: &mut bool) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.value(item, list, names_a_patient)),
            Value::Object(members) => {
                let is = |name: &str| members.get(name).and_then(Value::as_str) == Some("Patient");
                let mut is_named = false;
                if let Some(Value::String(text)) = members.get("reference") {
                    Self::default().reference(text, &mut is_named);
                }
                self.is_unknown |= is("resourceType") || (is("type") && !is_named);
                for (name, value) in members {
                    match (name.as_str(), value, list) {
                        ("reference", Value::String(text), _) => self.reference(text, names_a_patient),
                        ("resource", Value::Object(members), Some(of_a_bundle)) => {
                            self.entries += u64::from(of_a_bundle);
                            self.resource(members);
                        }
                        _ => self.value(value, list, names_a_patient),
                    }
                }
            }
            _ => {}
        }
    }

    fn reference(&mut self, text: &str, names_a_patient: &mut bool) {
        self.is_unknown |= text.starts_with("Patient?");
        if let Some((_, id)) = text.split_once("Patient/").filter(|_| !text.contains(['?', '"'])) {
            let id = id.split('/').next().unwrap();
            self.is_unknown |= id == "ä";
            if id != "ä" {
                *names_a_patient = true;
                self.ids.insert(id.to_owned());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_parse_of_the_whole_document_agrees(seed in proptest::num::u64::ANY, cuts in prop::collection::vec(proptest::arbitrary::any::<prop::sample::Index>(), 0..6)) {
        let mut writer = Writer::new(seed);
        let document = resource(&mut writer, 4);
        let text = writer.write(&document);
        let value: Value = serde_json::from_str(&text).unwrap();
        let mut model = Model::default();
        model.resource(value.as_object().unwrap());
        let entries = if value["resourceType"] == json!("Bundle") { model.entries } else { 1 };
        let is_legible = !model.is_unknown && (!model.ids.is_empty() || !model.is_dependent);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
        for pieces in [&pieces[..], &[text.as_bytes()], &text.as_bytes().chunks(1).collect::<Vec<_>>()] {
            let (ids, found_entries, found_legible) = found(Form::Document, pieces);
            let set: BTreeSet<String> = ids.iter().cloned().collect();
            prop_assert_eq!(set.len(), ids.len(), "{}", text);
            prop_assert_eq!((&set, found_entries, found_legible), (&model.ids, entries, is_legible), "{}", text);
        }
    }
}
