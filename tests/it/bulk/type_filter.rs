//! `_typeFilter`: the export holds what the searches in it find, and what cannot be tested is refused before OpenEMR is asked.

use std::collections::BTreeSet;

use super::{KICK_OFF, accepted, ended, errors, exporting, files, kick_off, kick_offs, population};
use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Caller, End};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const TYPES: [&str; 4] = ["Patient", "Observation", "Encounter", "Condition"];

/// The address below the gateway of the file of a type.
pub(super) fn url(manifest: &Value, resource_type: &str) -> String {
    let entries: Vec<&Value> =
        manifest["output"].as_array().unwrap().iter().filter(|entry| entry["type"] == resource_type).collect();
    let [entry] = entries.as_slice() else { panic!("{resource_type}: {manifest}") };
    assert!(entry.get("count").is_none());
    entry["url"].as_str().unwrap().strip_prefix("http://gateway.example").unwrap().to_owned()
}

pub(super) fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(super) fn ids<'a>(resources: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    resources.into_iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// The ids of what an export by this query holds of a type.
fn exported(caller: &Caller, query: &str, resource_type: &str) -> BTreeSet<String> {
    let manifest = ended(caller, &kick_off(caller, &format!("/fhir/$export?{query}"))).json();
    assert_eq!(manifest["error"], json!([]), "{query}");
    ids(&lines(&caller.get(&url(&manifest, resource_type))))
}

fn has_code(resource: &Value, code: &str) -> bool {
    resource["code"]["coding"].as_array().is_some_and(|codings| codings.iter().any(|coding| coding["code"] == code))
}

/// The ids of what OpenEMR has of a type and is this.
fn chosen(all: &[Value], is: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let found = ids(all.iter().filter(|one| is(one)));
    assert!(!found.is_empty() && found.len() < all.len(), "{} of {}", found.len(), all.len());
    found
}

#[test]
fn an_export_holds_what_its_searches_find() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::with(exporting(&openemr, &TYPES, &folder));
        let caller = gateway.caller();
        let [patients, observations] = ["Patient", "Observation"].map(|name| population(&openemr, &gateway, name));
        let someone = patients[3]["id"].as_str().unwrap();
        let born = |one: &Value, before: &str| one["birthDate"].as_str().unwrap() < before;
        let women = chosen(&patients, |one| one["gender"] == "female");
        let of_someone = chosen(&observations, |one| one["subject"]["reference"] == format!("Patient/{someone}"));
        let old_women = chosen(&patients, |one| one["gender"] == "female" && born(one, "1970"));
        let either = chosen(&patients, |one| one["gender"] == "female" || born(one, "1960"));
        let rate = chosen(&observations, |one| has_code(one, "8867-4"));
        let two = chosen(&observations, |one| has_code(one, "8867-4") || has_code(one, "9279-1"));
        let two_of_someone: BTreeSet<String> = two.intersection(&of_someone).cloned().collect();
        for (of, query, expected) in [
            ("Patient", "_typeFilter=Patient%3Fgender%3Dfemale", &women),
            ("Patient", "_type=Patient&_typeFilter=Patient?gender=female", &women),
            ("Patient", "_type=Patient,Encounter&_typeFilter=Patient?gender:not=male,other,unknown", &women),
            ("Patient", "_type=Patient&_typeFilter=Patient%3Fgender%3Dfemale%26birthdate%3Dlt1970-01-01", &old_women),
            ("Patient", "_type=Patient&_typeFilter=Patient?gender=female,Patient?birthdate=lt1960-01-01", &either),
            ("Patient", "_type=Patient&_typeFilter=Patient?gender=female&_typeFilter=Patient?birthdate=lt1960-01-01", &either),
            ("Observation", "_type=Observation&_typeFilter=Observation?code=8867-4", &rate),
            ("Observation", "_type=Observation&_typeFilter=Observation%3Fcode%3Dhttp%3A%2F%2Floinc.org%7C8867-4", &rate),
            // A comma within a search, in each spelling that clients have for it.
            ("Observation", "_type=Observation&_typeFilter=Observation?code=8867-4,9279-1", &two),
            ("Observation", "_type=Observation&_typeFilter=Observation%3Fcode%3D8867-4%2C9279-1", &two),
            ("Observation", "_type=Observation&_typeFilter=Observation%3Fcode%3D8867-4%252C9279-1", &two),
        ] {
            assert_eq!(&exported(&caller, query, of), expected, "{version} {query}");
        }
        let query = format!(
            "_type=Observation,Patient&_typeFilter=Observation?code=8867-4,9279-1%26patient={someone},Patient?gender=female"
        );
        let manifest = ended(&caller, &kick_off(&caller, &format!("/fhir/Patient/$export?{query}"))).json();
        for (of, expected) in [("Observation", &two_of_someone), ("Patient", &women)] {
            assert_eq!(&ids(&lines(&caller.get(&url(&manifest, of)))), expected, "{version} {of}");
        }
        assert_eq!(manifest["request"], format!("http://gateway.example/fhir/Patient/$export?{query}"));
        // Nothing was asked of OpenEMR but the types.
        let asked = openemr.state()["exports"]["kick_offs"].to_string();
        assert!(!asked.contains("ilter") && !asked.contains("8867-4"), "{asked}");
        assert!(!gateway.log().contains("8867-4") && !gateway.log().contains(someone));
    }
}

#[test]
fn resources_are_tested_as_they_are_once_they_are_mended() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version, "--resources", "openemr"]);
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::with(exporting(&openemr, &["Observation", "Condition"], &folder));
        let caller = gateway.caller();
        for (of, search, is) in [
            ("Observation", "category=laboratory", "laboratory"),
            ("Observation", "status=preliminary", "preliminary"),
            ("Condition", "clinical-status=resolved", "resolved"),
        ] {
            let bundle = caller.get(&format!("/fhir/{of}")).json();
            let all: Vec<Value> = bundle["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()).collect();
            let has = |one: &Value| {
                let elements = ["category", "status", "clinicalStatus"].map(|name| one[name].to_string());
                elements.iter().any(|element| element.contains(&format!("\"{is}\"")))
            };
            let expected = chosen(&all, has);
            assert_eq!(exported(&caller, &format!("_type={of}&_typeFilter={of}?{search}"), of), expected, "{version} {search}");
        }
    }
}

#[test]
fn a_parameters_resource_says_the_same_and_other_types_are_whole() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &TYPES, &folder));
    let caller = gateway.caller();
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "_typeFilter", "valueString": "Patient?gender=female"},
        {"name": "_typeFilter", "valueString": "Patient?birthdate=lt1960-01-01&gender=male"},
        {"name": "_type", "valueString": "Patient"}, {"name": "_type", "valueString": "Encounter"},
    ]});
    let fields = [KICK_OFF[0], KICK_OFF[1], ("Content-Type", "application/fhir+json")];
    let answer = caller.send("POST", "/fhir/Group/g-1/$export", &fields, body.to_string().as_bytes());
    let manifest = ended(&caller, &accepted(&answer)).json();
    assert_eq!(manifest["request"], "http://gateway.example/fhir/Group/g-1/$export");
    let all = population(&openemr, &gateway, "Patient");
    let expected = chosen(&all, |one| one["gender"] == "female" || one["birthDate"].as_str().unwrap() < "1960");
    assert_eq!(ids(&lines(&caller.get(&url(&manifest, "Patient")))), expected);
    let encounters = url(&manifest, "Encounter");
    assert!(!encounters.contains('?'), "{encounters}");
    assert_eq!(ids(&lines(&caller.get(&encounters))), ids(&population(&openemr, &gateway, "Encounter")));
}

#[test]
fn a_filtered_file_is_whole_by_every_way_that_it_can_come() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Patient"], &folder);
    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export?_typeFilter=Patient?gender=female")).json();
    let file = url(&manifest, "Patient");
    let whole = caller.get(&file);
    assert!(lines(&whole).iter().all(|one| one["gender"] == "female") && whole.text().ends_with("}\n"));
    for (piece_bytes, framing) in [(1, "content_length"), (7, "chunked"), (100_000, "chunked")] {
        openemr.order(&json!({"fhir": {"target": "/Binary/", "piece_bytes": piece_bytes, "framing": framing, "times": 2}}));
        assert_eq!(caller.get(&file).text(), whole.text(), "{piece_bytes} {framing}");
        assert_eq!(Http2::plain(gateway.address).get(&file).text(), whole.text(), "{piece_bytes} {framing}");
    }
    let head = caller.send("HEAD", &file, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    let compressed = caller.send("GET", &file, &[("Accept-Encoding", "gzip")], b"");
    assert_eq!((compressed.status, compressed.end), (200, End::Whole));
    let asked = openemr.state()["last_fhir_request"]["target"].as_str().unwrap().to_owned();
    assert!(!asked.contains('?'), "what is the gateway's does not reach OpenEMR: {asked}");
}

#[test]
fn what_cannot_be_tested_is_refused_before_openemr_is_asked() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &TYPES, &folder));
    let caller = gateway.caller();
    let lenient = [("Accept", "application/fhir+json"), ("Prefer", "respond-async, handling=lenient")];
    for (search, words) in [
        ("Jane", "no search of one type"),
        ("Patint?name=Jane", "does not have"),
        ("Patient?", "missing"),
        ("Patient?name=", "missing"),
        ("Patient?shoe=Jane", "the parameter shoe of Patient"),
        ("Patient?general-practitioner.name=Jane", "the parameter general-practitioner.name of Patient"),
        ("Patient?_has:Observation:patient:code=Jane", "_has"),
        ("Patient?gender:in=Jane", "the parameter gender:in of Patient has a modifier"),
        ("Patient?birthdate=Jane", "the parameter birthdate of Patient has a value"),
        ("Observation?_include=Jane", "the parameter _include"),
        ("Patient?gender=female,Patient?shoe=Jane", "the parameter shoe of Patient"),
    ] {
        for fields in [&KICK_OFF, &lenient] {
            let target = format!("/fhir/$export?_type=Patient,Observation&_typeFilter={search}");
            let told = caller.send("GET", &target, fields, b"").outcome(400);
            assert!(told.starts_with("_typeFilter") && told.contains(words) && !told.contains("Jane"), "{search}: {told}");
        }
    }
    for (query, words) in [
        ("_type=Patient&_typeFilter=Observation?code=8867-4", "which the export does not hold"),
        ("_typeFilter=Goal?lifecycle-status=active", "which the export does not hold"),
        ("_type=Patient&_typeFilter=Patient?gender=female%26_count=1", "_count"),
        ("_type=Patient&_typeFilter=Patient?gender=female%26_sort=name", "_sort"),
    ] {
        let told = caller.send("GET", &format!("/fhir/$export?{query}"), &KICK_OFF, b"").outcome(400);
        assert!(told.contains(words), "{query}: {told}");
        // Left out leniently: no resource more comes for it.
        let answer = caller.send("GET", &format!("/fhir/$export?{query}&_type=Patient"), &lenient, b"");
        let manifest = ended(&caller, &accepted(&answer)).json();
        let said = errors(&caller, &manifest);
        assert!(said.len() == 1 && said[0].contains("left out"), "{query}: {said:?}");
        let expected = if query.contains("female") { 1 } else { 2 };
        let genders: BTreeSet<String> =
            lines(&caller.get(&url(&manifest, "Patient"))).iter().map(|one| one["gender"].to_string()).collect();
        assert!(genders.len() >= expected && (expected > 1 || genders.len() == 1), "{query}: {genders:?}");
    }
    assert_eq!(kick_offs(&openemr).len(), 4);
    assert!(!gateway.log().contains("Jane"));
}

#[test]
fn provenance_of_what_was_filtered_away_is_not_exported() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Condition", "Provenance"], &folder));
    let caller = gateway.caller();
    let named = "/fhir/$export?_type=Patient,Condition,Provenance&_typeFilter=Patient?gender=female";
    let told = caller.send("GET", named, &KICK_OFF, b"").outcome(400);
    assert!(told.contains("Provenance of Patient is not exported"), "{told}");
    let lenient = [("Accept", "application/fhir+json"), ("Prefer", "respond-async, handling=lenient")];
    for (target, fields) in [(named, &lenient), ("/fhir/$export?_typeFilter=Patient?gender=female", &KICK_OFF)] {
        let manifest = ended(&caller, &accepted(&caller.send("GET", target, fields, b""))).json();
        let said = errors(&caller, &manifest);
        assert!(said.len() == 1 && said[0].starts_with("Provenance of Patient is not exported"), "{said:?}");
        let provenance = lines(&caller.get(&url(&manifest, "Provenance")));
        let of_conditions = |one: &Value| one["target"][0]["reference"].as_str().unwrap().starts_with("Condition/");
        assert!(!provenance.is_empty() && provenance.iter().all(of_conditions), "{provenance:?}");
        assert!(lines(&caller.get(&url(&manifest, "Patient"))).iter().all(|one| one["gender"] == "female"));
    }
}

#[test]
fn a_time_of_change_is_said_to_mean_nothing_where_openemr_keeps_none() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &TYPES, &folder));
    let caller = gateway.caller();
    let searches = "_typeFilter=Observation?_lastUpdated=gt2001-01-01,Condition?_lastUpdated=gt2001-01-01";
    let manifest = ended(&caller, &kick_off(&caller, &format!("/fhir/$export?_type=Observation,Condition&{searches}"))).json();
    let said = errors(&caller, &manifest);
    assert!(said.len() == 1 && said[0].starts_with("_lastUpdated in _typeFilter means nothing for Observation:"), "{said:?}");
    let since = "_type=Observation&_typeFilter=Observation?code=8867-4&_since=2001-01-01T00:00:00Z";
    let manifest = ended(&caller, &kick_off(&caller, &format!("/fhir/$export?{since}"))).json();
    let said = errors(&caller, &manifest);
    assert!(said.len() == 1 && said[0].starts_with("_since means nothing for Observation:"), "{said:?}");
    assert!(files(&caller, &manifest)["Observation"].lines().all(|line| line.contains("8867-4")));
}
