use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn run(mut step: Projector, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&step.feed(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&step.finish());
    out
}

/// A slow implementation of the same rules for a whole document.
fn naive(projection: &Projection, expected: Option<&'static str>, resource: &Value) -> Value {
    let members = resource.as_object().unwrap();
    let named = members.get("resourceType").and_then(Value::as_str).and_then(|name| resource_type::known(name.as_bytes()));
    let subject = Subject::of(named.or(expected));
    let rule = Rule::of(projection.clone());
    let mut left: Map<String, Value> =
        members.iter().filter(|(name, _)| rule.keeps(subject, name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    if rule.marks(subject) {
        let meta = left.entry("meta").or_insert_with(|| json!({})).as_object_mut().unwrap();
        let tags = meta.entry("tag").or_insert_with(|| json!([])).as_array_mut().unwrap();
        tags.push(serde_json::from_slice(SUBSETTED).unwrap());
    }
    Value::Object(left)
}

fn projections() -> Vec<Projection> {
    let elements = ["name", "value", "deceased", "Patient.birthDate", "Observation.note", "text"];
    vec![
        Projection::Whole,
        Projection::Elements(elements.map(str::to_owned).to_vec()),
        Projection::Elements(Vec::new()),
        Projection::Summary,
        Projection::Text,
        Projection::Data,
    ]
}

fn resources() -> Vec<Value> {
    vec![
        json!({"id": "1", "meta": {"versionId": "1", "tag": [{"code": "a}]\""}]}, "resourceType": "Patient", "text": {"div": "<p>\"}{"},
            "name": [{"family": "O\\"}], "birthDate": "1980", "_birthDate": {"id": "x"}, "deceasedBoolean": false, "communication": [[]]}),
        json!({"resourceType": "Patient", "meta": {"tag": []}, "contact": []}),
        json!({"resourceType": "Patient", "meta": {}, "active": true}),
        json!({"resourceType": "Patient"}),
        json!({}),
        json!({"id": "Patient-PSK-1", "resourceType": "Provenance", "target": [{"reference": "Patient/1"}], "recorded": "2026", "agent": [], "entity": 1}),
        json!({"resourceType": "Observation", "valueQuantity": {"value": 1.5}, "note": [{"text": "n"}], "status": "final", "code": {"text": null}}),
        json!({"resourceType": "OperationOutcome", "issue": [], "text": {}}),
        json!({"resourceType": "Account", "name": "x", "owner": {}}),
    ]
}

#[test]
fn one_resource_is_cut_as_its_definition_says_however_it_is_split() {
    for projection in projections() {
        for resource in resources() {
            let expected = naive(&projection, None, &resource);
            for text in [resource.to_string(), serde_json::to_string_pretty(&resource).unwrap()] {
                for cut in 0..=text.len() {
                    let (first, second) = text.as_bytes().split_at(cut);
                    let output = run(Projector::resource(projection.clone(), None), &[first, second]);
                    let output: Value = serde_json::from_slice(&output).unwrap();
                    assert_eq!(output, expected, "{projection:?} {text} {cut}");
                }
            }
        }
    }
}

/// Makes a Bundle of all resources, and the same Bundle with each resource projected.
fn bundles(projection: &Projection, escaped: bool) -> (String, Value) {
    let entry = |resource: &Value| {
        let resource_type = resource["resourceType"].as_str().unwrap_or("Patient");
        let full_url = format!("https://emr/fhir/{resource_type}/1");
        json!({"fullUrl": full_url, "search": {"mode": "match"}, "resource": resource, "link": [{"resource": {"text": 1}}]})
    };
    let bundle = |resources: &[Value]| {
        let entries: Vec<Value> = resources.iter().map(entry).collect();
        json!({"resourceType": "Bundle", "text": {"entry": [{"resource": {"text": 1}}]}, "entry": entries, "total": 9})
    };
    let text = bundle(&resources()).to_string();
    let text = if escaped { text.replace('/', "\\/") } else { text };
    let cut: Vec<Value> = resources().iter().map(|resource| naive(projection, Some("Patient"), resource)).collect();
    let mut expected = bundle(&cut);
    for (entry, resource) in expected["entry"].as_array_mut().unwrap().iter_mut().zip(resources()) {
        let resource_type = resource["resourceType"].as_str().unwrap_or("Patient");
        entry["fullUrl"] = json!(format!("https://emr/fhir/{resource_type}/1"));
    }
    (text, expected)
}

#[test]
fn the_resources_of_a_bundle_are_cut_and_nothing_else() {
    for projection in projections() {
        for escaped in [false, true] {
            let (text, expected) = bundles(&projection, escaped);
            for size in [1, 2, 3, 7, 64, 100_000] {
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
                let output = run(Projector::bundle(projection.clone(), Some("Patient")), &pieces);
                assert_eq!(serde_json::from_slice::<Value>(&output).unwrap(), expected, "{projection:?} {size}");
            }
        }
    }
}

#[test]
fn the_type_is_known_from_the_url_before_the_resource_says_it() {
    let bundle = br#"{"entry":[{"fullUrl":"https:\/\/emr\/Provenance\/1","resource":{"recorded":1,"gender":2,"resourceType":"Provenance"}}]}"#;
    let output = run(Projector::bundle(Projection::Summary, Some("Patient")), &[bundle]);
    let output: Value = serde_json::from_slice(&output).unwrap();
    let resource = output["entry"][0]["resource"].as_object().unwrap();
    assert_eq!(resource.keys().collect::<Vec<_>>(), ["recorded", "resourceType", "meta"]);
}

#[test]
fn names_and_types_may_be_written_with_escapes() {
    let bundle = r#"{"\u0065ntry":[{"f\u0075llUrl":"https:\u002f\/emr/Provenance/1","\u0072esource":{"r\u0065corded":1,"g\u0065nder":2,"m\u0065ta":{"t\u0061g":[{"code":"x"}]},"resourceT\u0079pe":"Provenanc\u0065"}}]}"#;
    for cut in 0..bundle.len() {
        let (first, second) = bundle.as_bytes().split_at(cut);
        let output = run(Projector::bundle(Projection::Summary, Some("Patient")), &[first, second]);
        let output: Value = serde_json::from_slice(&output).unwrap();
        let resource = output["entry"][0]["resource"].as_object().unwrap();
        assert_eq!(resource.keys().collect::<Vec<_>>(), ["recorded", "meta", "resourceType"]);
        assert_eq!(resource["meta"]["tag"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_name_beyond_measure_ends_the_cutting_and_breaks_nothing() {
    let long = "n".repeat(3 * MAX_TEXT);
    let text = json!({"resourceType": "Patient", "text": {}, long.as_str(): 1, "id": "x"}).to_string();
    for size in [1, 1000, 100_000] {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let output: Value = serde_json::from_slice(&run(Projector::resource(Projection::Data, None), &pieces)).unwrap();
        assert_eq!((&output[&long], &output["id"]), (&json!(1), &json!("x")));
    }
}

proptest! {
    #[test]
    fn nonsense_comes_to_no_harm_and_every_split_tells_the_same(
        text in r#"(\{|\}|\[|\]|,|:|"meta"|"tag"|"entry"|"resource"|"fullUrl"|"resourceType"|"Patient"|"|\\| |1){0,40}"#,
        cut in any::<prop::sample::Index>(), which in 0..6_usize
    ) {
        let projection = projections().swap_remove(which);
        let (first, second) = text.as_bytes().split_at(cut.index(text.len() + 1));
        for step in [Projector::resource, Projector::bundle] {
            let whole = run(step(projection.clone(), None), &[text.as_bytes()]);
            let split = run(step(projection.clone(), None), &[first, second]);
            prop_assert_eq!(String::from_utf8(whole).unwrap(), String::from_utf8(split).unwrap());
        }
    }
}
