use super::*;
use proptest::prelude::*;
use serde_json::json;

fn capabilities() -> Capabilities {
    let of_type = |name: &str, parameters: &[(&str, &str)]| {
        let parameters: Vec<Value> = parameters.iter().map(|(name, kind)| json!({"name": name, "type": kind})).collect();
        json!({"type": name, "interaction": [{"code": "search-type"}, {"code": "create"}], "searchParam": parameters})
    };
    let statement = json!({"resourceType": "CapabilityStatement", "software": {"name": "OpenEMR"}, "rest": [{"resource": [
        of_type("Patient", &[("_id", "token"), ("_lastUpdated", "date"), ("identifier", "token"), ("family", "string"),
            ("given", "string"), ("birthdate", "date"), ("gender", "token"), ("_sort", "string")]),
        of_type("Organization", &[("name", "string")]),
        {"type": "Device", "interaction": [{"code": "create"}]},
    ]}]});
    Capabilities::parse(statement.to_string().as_bytes()).unwrap()
}

fn read(value: &[u8], resource_type: &'static str) -> Result<Condition, Rejection> {
    Condition::read(value, resource_type, &capabilities(), &["https://emr/fhir".to_owned()])
}

fn read_patient(value: &str) -> Condition {
    read(value.as_bytes(), "Patient").unwrap_or_else(|rejection| panic!("{value}: {}", rejection.text))
}

#[test]
fn a_condition_is_asked_whole() {
    for (value, sent) in [
        ("identifier=12345", "identifier=12345&_count=3"),
        ("?identifier=http://x|12345", "identifier=http://x%7C12345&_count=3"),
        ("family=M%C3%BCller&given=Ada&birthdate=1980-02-03", "family=M%C3%BCller&given=Ada&birthdate=1980-02-03&_count=3"),
        (" family=A,B&gender=male ", "family=A,B&gender=male&_count=3"),
        ("_id=Patient/7", "_id=7&_count=3"),
        ("birthdate=ge1980-01-01", "birthdate=ge1980-01-01&_count=3"),
    ] {
        assert_eq!(String::from_utf8(read_patient(value).form).unwrap(), sent, "{value}");
    }
}

#[test]
fn a_condition_that_would_be_read_as_another_one_is_refused() {
    for (value, status, word) in [
        ("", 400, "empty"),
        ("?", 400, "empty"),
        ("&&", 400, "empty"),
        ("identifier=", 400, "empty"),
        ("identifier=1&family=", 400, "empty"),
        ("identifier=1&family=%20", 400, "empty"),
        ("family=%zz", 400, "percent-encoded"),
        ("family=%4", 400, "percent-encoded"),
        ("family=%ff", 400, "percent-encoded"),
        ("name=John Smith", 400, "percent-encoded"),
        ("family[]=A", 400, "name"),
        ("_REWRITE_COMMAND=default/api/patient", 400, "name"),
        ("nam=A", 412, "nam"),
        ("family=A&organization=1", 412, "organization"),
        ("identifier=1&identifier=2", 412, "identifier"),
        ("family=A&family:exact=B", 412, "family:exact"),
        ("family:missing=true", 412, "family"),
        ("general-practitioner.name=A", 412, "general-practitioner.name"),
        ("_has:Observation:patient:code=1", 412, "_has"),
        ("family=A&_count=1", 412, "_count"),
        ("family=A&_sort=family", 412, "_sort"),
        ("family=A&_summary=count", 412, "_summary"),
        ("_format=json", 412, "_format"),
        ("identifier=http://x|", 412, "identifier"),
        ("identifier=a\\,b", 412, "identifier"),
        ("identifier=a,", 412, "identifier"),
        ("gender=http://hl7.org/fhir/administrative-gender|male", 412, "gender"),
        ("birthdate=yesterday", 400, "birthdate"),
    ] {
        let rejection = read(value.as_bytes(), "Patient").err().unwrap_or_else(|| panic!("{value} is taken"));
        assert_eq!(rejection.status.as_u16(), status, "{value}: {}", rejection.text);
        assert!(rejection.text.contains(word), "{value}: {}", rejection.text);
    }
    for (resource_type, value) in [("Device", "type=1"), ("Group", "name=1"), ("Organization", "identifier=1")] {
        assert_eq!(read(value.as_bytes(), resource_type).err().unwrap().status.as_u16(), 412, "{resource_type}");
    }
}

fn bundle(resources: &Value, more: &Value) -> Vec<u8> {
    let entries: Vec<Value> = resources.as_array().unwrap().iter().map(|one| json!({"resource": one})).collect();
    let mut bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": entries});
    bundle.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    bundle.to_string().into_bytes()
}

#[test]
fn matches_are_counted_and_not_believed() {
    let patient = |id: &str| json!({"resourceType": "Patient", "id": id, "identifier": [{"system": "urn:a", "value": "1"}]});
    let outcome = json!({"resourceType": "OperationOutcome", "issue": []});
    let one = || Ok(Some(Matches::One("7".to_owned())));
    for (condition, resources, more, expected) in [
        ("family=A", json!([]), json!({}), Ok(Some(Matches::None))),
        ("family=A", json!([]), json!({"total": 0}), Ok(Some(Matches::None))),
        ("family=A", json!([outcome]), json!({"total": 0}), Ok(Some(Matches::None))),
        ("family=A", json!([patient("7")]), json!({"total": 1}), one()),
        ("family=A", json!([outcome, patient("7")]), json!({}), one()),
        ("family=A", json!([patient("7"), patient("8")]), json!({"total": 2}), Err(BadCondition::Several)),
        ("family=A", json!([patient("7")]), json!({"total": 57}), Err(BadCondition::Several)),
        ("family=A", json!([]), json!({"total": 57}), Ok(None)),
        ("family=A", json!([patient("a/../b")]), json!({}), Ok(None)),
        ("family=A", json!([{"resourceType": "Patient"}]), json!({}), Ok(None)),
        ("identifier=urn:a|1", json!([patient("7")]), json!({}), one()),
        ("identifier=1", json!([patient("7")]), json!({}), one()),
        ("identifier=urn:b|1", json!([patient("7")]), json!({}), Err(BadCondition::OtherSystem)),
        ("identifier=|1", json!([patient("7")]), json!({}), Err(BadCondition::OtherSystem)),
        ("identifier=urn:b|1,urn:a|1", json!([patient("7")]), json!({}), one()),
    ] {
        assert_eq!(read_patient(condition).matches(&bundle(&resources, &more)), expected, "{condition} {resources} {more}");
    }
    for body in ["", "[]", "null", "{}", r#"{"resourceType":"Patient","id":"7"}"#, "<br />{\"resourceType\":\"Bundle\"}"] {
        assert_eq!(read_patient("family=A").matches(body.as_bytes()), Ok(None), "{body}");
    }
}

#[test]
fn a_resource_that_would_not_be_found_again_is_not_created() {
    let typed = |code: &str| json!({"identifier": [{"value": "1", "type": {"coding": [{"code": code}]}}]});
    for (condition, body, is_kept) in [
        ("identifier=1", typed("PT"), true),
        ("identifier=1", typed("SS"), true),
        ("identifier=urn:a|1", typed("PT"), true),
        ("identifier=1", typed("MR"), false),
        ("identifier=2", typed("PT"), false),
        ("identifier=1", json!({"identifier": [{"value": "1"}]}), false),
        ("identifier=1", json!({}), false),
        ("family=A", json!({}), true),
    ] {
        let checked = read_patient(condition).check_new(Some(body.to_string().as_bytes()));
        assert_eq!(checked, if is_kept { Ok(()) } else { Err(BadCondition::NotKept) }, "{condition} {body}");
    }
    assert_eq!(read_patient("identifier=1").check_new(None), Err(BadCondition::NotKept));
    assert_eq!(read(b"name=A", "Organization").unwrap().check_new(None), Ok(()));
}

proptest! {
    /// Whatever is asked for, each parameter that is sent stands in the condition, and none is missing.
    #[test]
    fn no_condition_loses_a_part(pairs in proptest::collection::vec("(family|given|birthdate|identifier|nam|_count|gender)(:exact|:missing)?=[A-Z0-9,|%-]{0,6}", 1..4)) {
        let value = pairs.join("&");
        if let Ok(condition) = read(value.as_bytes(), "Patient") {
            let names = |query: &[u8]| -> Vec<String> {
                query::parameters(query).map(|one| one.name.into_owned()).filter(|name| name != "_count").collect()
            };
            prop_assert_eq!(names(&condition.form), names(value.as_bytes()));
        }
    }

    #[test]
    fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..60), body in proptest::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(condition) = read(&value, "Patient") {
            let _ = (condition.matches(&body), condition.check_new(Some(&body)));
        }
    }
}
