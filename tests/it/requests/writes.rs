//! Creates and updates: which bodies are taken, what becomes of their conditions, and what comes back.

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::{RawOpenEmr, Received, patient};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/fhir+json");
const NOBODY: &str = "11111111-2222-4333-8444-555555555555";

/// A gateway that may write all three types that OpenEMR can.
fn writing(openemr: &OpenEmr) -> Gateway {
    let mut config = config(openemr);
    let scopes =
        ["Patient", "Practitioner", "Organization"].map(|name| [format!("system/{name}.read"), format!("system/{name}.write")]);
    config["sites"]["default"]["scopes"] = json!(scopes.concat());
    Gateway::with(config)
}

fn new_patient() -> Value {
    json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Testing", "given": ["Tessa"]}],
        "gender": "female", "birthDate": "1980-02-03",
    })
}

fn a_patient(gateway: &Gateway) -> Value {
    gateway.caller().get("/fhir/Patient?_count=1").json()["entry"][0]["resource"].clone()
}

fn put(gateway: &Gateway, target: &str, fields: &[(&str, &str)], resource: &Value) -> Answer {
    let fields: Vec<_> = [JSON].iter().chain(fields).copied().collect();
    gateway.caller().send("PUT", target, &fields, resource.to_string().as_bytes())
}

#[test]
fn a_resource_comes_as_fhirs_json_and_as_nothing_else() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr);
    let id = a_patient(&gateway)["id"].as_str().unwrap().to_owned();
    let body = new_patient().to_string();
    let all = [("POST", "/fhir/Patient".to_owned(), 201), ("PUT", format!("/fhir/Patient/{id}"), 200)];
    for (method, target, done) in &all {
        for taken in [
            &[JSON][..],
            &[("Content-Type", "application/json")],
            &[("Content-Type", "text/json")],
            &[("Content-Type", "APPLICATION/FHIR+JSON; charset=utf-8; fhirVersion=4.0")],
            &[("Content-Type", "application/fhir+json; fhirversion=\"4.0\"")],
            &[],
        ] {
            assert_eq!(gateway.caller().send(method, target, taken, body.as_bytes()).status, *done, "{method} {taken:?}");
        }
        let before = openemr.count("fhir_requests");
        for (refused, word) in [
            ("application/fhir+xml", "application/fhir+json"),
            ("text/xml", "application/fhir+json"),
            ("text/plain", "application/fhir+json"),
            ("application/x-www-form-urlencoded", "application/fhir+json"),
            ("application/fhir+ndjson", "application/fhir+json"),
            ("application/merge-patch+json", "application/fhir+json"),
            ("application/octet-stream", "application/fhir+json"),
            ("application/jsonx", "application/fhir+json"),
            ("application/fhir+json; fhirVersion=3.0", "fhirVersion"),
            ("application/json; charset=utf-8; FHIRVERSION=\"5.0\"", "fhirVersion"),
        ] {
            let words = gateway.caller().send(method, target, &[("Content-Type", refused)], body.as_bytes()).outcome(415);
            assert!(words.contains(word), "{refused}: {words}");
        }
        assert_eq!(openemr.count("fhir_requests"), before, "{method}: nothing arrives");
    }
}

#[test]
fn an_answer_is_of_the_version_and_the_format_that_were_asked_for() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr);
    let accept = |accept: &'static str| ("Accept", accept);
    for (target, field, status) in [
        ("/fhir/Patient?_count=1", accept("application/fhir+json; fhirVersion=4.0"), 200),
        ("/fhir/Patient?_count=1", accept("application/fhir+json; fhirVersion=3.0"), 406),
        ("/fhir/Patient?_count=1", accept("application/json;fhirVersion=\"5.0\", text/html"), 406),
        ("/fhir/Patient?_count=1", accept("application/fhir+json; fhirVersion=3.0, */*;q=0.1"), 200),
        ("/fhir/Patient?_count=1&_format=application/fhir%2Bjson;fhirVersion=4.0", accept("*/*"), 200),
        ("/fhir/Patient?_count=1&_format=application/fhir%2Bjson;fhirVersion=3.0", accept("*/*"), 406),
        ("/fhir/Patient?_count=1&_format=", accept("application/fhir+json"), 200),
        ("/fhir/Patient?_count=1&_format=", accept("application/fhir+xml"), 406),
        ("/fhir/Patient?_count=1&_format=*/*", accept("application/fhir+xml"), 200),
        ("/fhir/metadata?_format=*/*", accept("*/*"), 200),
        ("/fhir/metadata?_format=", accept("*/*"), 200),
        ("/fhir/metadata", accept("application/fhir+json;fhirVersion=1.0"), 406),
    ] {
        let answer = gateway.caller().send("GET", target, &[field], b"");
        assert_eq!(answer.status, status, "{target} {field:?}: {}", answer.text());
        if status == 200 && target.contains("Patient") {
            let bundle = answer.json();
            assert!(bundle["total"].is_number() || bundle["entry"].is_array(), "{target}");
        }
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(gateway.caller().post("/fhir/Patient/_search", &form, b"_count=1&_format=").status, 200);
    assert_eq!(gateway.caller().post("/fhir/Patient/_search", &form, b"_count=1&_format=*/*").status, 200);
}

#[test]
fn every_type_that_openemr_creates_comes_back_with_its_place() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr);
    let npi = json!([{"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}]);
    for (name, resource) in [
        ("Patient", new_patient()),
        (
            "Practitioner",
            json!({"resourceType": "Practitioner", "identifier": npi,
                "name": [{"use": "official", "family": "Testing", "given": ["Tessa"]}]}),
        ),
        ("Organization", json!({"resourceType": "Organization", "identifier": npi, "name": "Testing"})),
    ] {
        let answer = gateway.caller().post(&format!("/fhir/{name}"), &[JSON], resource.to_string().as_bytes());
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        let made = answer.json();
        let id = made["id"].as_str().unwrap_or_else(|| panic!("{name}: {made}")).to_owned();
        assert_eq!(made["resourceType"], name);
        let place = format!("http://gateway.example/fhir/{name}/{id}");
        assert_eq!(answer.field("location"), Some(place.as_str()));
        let read = gateway.caller().get(&format!("/fhir/{name}/{id}"));
        assert_eq!((read.status, read.json()), (200, made.clone()), "{name}");
        let answer = put(&gateway, &format!("/fhir/{name}/{id}"), &[], &resource);
        assert_eq!((answer.status, answer.field("location")), (200, Some(place.as_str())), "{name}: {}", answer.text());
        assert_eq!((answer.json()["resourceType"].clone(), answer.json()["id"].clone()), (json!(name), json!(id)));
    }
}

#[test]
fn an_update_of_what_does_not_exist_is_a_404() {
    let openemr = OpenEmr::start();
    let gateway = writing(&openemr);
    for id in [NOBODY, "no-uuid"] {
        let answer = put(&gateway, &format!("/fhir/Patient/{id}"), &[], &new_patient());
        assert!(answer.outcome(404).contains("Patient"), "{}", answer.text());
        assert_eq!(answer.json()["issue"][0]["code"], "not-found");
    }
    // A resource that OpenEMR does not take stays an error of the resource.
    let id = a_patient(&gateway)["id"].as_str().unwrap().to_owned();
    let mut incomplete = new_patient();
    incomplete["birthDate"] = json!("1980-02");
    let answer = put(&gateway, &format!("/fhir/Patient/{id}"), &[], &incomplete);
    answer.outcome(400);
    assert_eq!(answer.json()["issue"][0]["expression"][0], "Patient.birthDate");
}

/// The fields that make a write conditional, with what each is answered.
const CONDITIONS: [(&str, &str); 6] = [
    ("If-Match", "W/\"999\""),
    ("If-Match", "W/\"1\""),
    ("If-Match", "*, \"2\""),
    ("If-None-Match", "*"),
    ("If-None-Match", "W/\"1\""),
    ("If-Unmodified-Since", "Tue, 24 Nov 2026 02:28:26 GMT"),
];

#[test]
fn a_condition_that_openemr_would_ignore_fails() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config);
    let patient = a_patient(&gateway);
    let target = format!("/fhir/Patient/{}", patient["id"].as_str().unwrap());
    let client = Http2::plain(gateway.address);
    let before = openemr.count("fhir_requests");
    for condition in CONDITIONS {
        for (method, target) in [("PUT", target.as_str()), ("POST", "/fhir/Patient")] {
            let answer = gateway.caller().send(method, target, &[JSON, condition], new_patient().to_string().as_bytes());
            let words = answer.outcome(412);
            assert!(words.contains(condition.0), "{condition:?}: {words}");
            assert!(!words.contains("999"), "{words}");
        }
        let lower = condition.0.to_ascii_lowercase();
        let fields = [("content-type", "application/json"), (lower.as_str(), condition.1)];
        client.send("PUT", &target, &fields, new_patient().to_string().as_bytes()).outcome(412);
    }
    let misplaced = [("If-None-Exist", "family=Testing")];
    assert!(put(&gateway, &target, &misplaced, &new_patient()).outcome(400).contains("If-None-Exist"));
    assert_eq!(openemr.count("fhir_requests"), before, "nothing arrives");
    assert_eq!(gateway.caller().get(&target).json(), patient);
    // What is not offered at all is not offered whatever the condition is.
    gateway.caller().send("DELETE", &target, &[("If-Match", "W/\"1\"")], b"").outcome(405);
    // OpenEMR updates only what exists: the condition holds.
    assert_eq!(put(&gateway, &target, &[("If-Match", "*")], &new_patient()).status, 200);
    put(&gateway, &format!("/fhir/Patient/{NOBODY}"), &[("If-Match", "*")], &new_patient()).outcome(404);
    // Conditions of reads stay.
    let read = [("If-None-Match", "W/\"1\""), ("If-Modified-Since", "Tue, 24 Nov 2026 02:28:26 GMT")];
    assert_eq!(gateway.caller().send("GET", &target, &read, b"").status, 200);
}

/// A server whose CapabilityStatement says this of Patient.
fn announcing(more: Value) -> RawOpenEmr {
    let mut of_patient = json!({
        "type": "Patient",
        "interaction": [{"code": "read"}, {"code": "search-type"}, {"code": "create"}, {"code": "update"}],
        "searchParam": [{"name": "family", "type": "string"}],
    });
    of_patient.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let statement = json!({"resourceType": "CapabilityStatement", "software": {"name": "OpenEMR"},
        "rest": [{"mode": "server", "resource": [of_patient]}]});
    RawOpenEmr::start(move |request: &Received| {
        if !request.head.starts_with("GET /fhir/metadata") {
            return patient(request);
        }
        let body = statement.to_string();
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into()
    })
}

/// A gateway in front of `raw`, with tokens from the sandbox.
fn in_front_of(raw: &RawOpenEmr, openemr: &OpenEmr) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["fhir_base"] = json!(raw.fhir_base());
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    Gateway::with(config)
}

#[test]
fn a_condition_that_the_server_announces_is_sent_on() {
    let openemr = OpenEmr::start();
    for (announced, passing) in [
        (json!({"versioning": "versioned"}), &CONDITIONS[..]),
        (json!({"versioning": "versioned-update", "updateCreate": true}), &CONDITIONS),
        (json!({"versioning": "no-version", "updateCreate": true}), &CONDITIONS[3..4]),
        (json!({"versioning": "no-version"}), &[]),
    ] {
        let raw = announcing(announced.clone());
        let gateway = in_front_of(&raw, &openemr);
        for condition in CONDITIONS {
            let sent = || raw.received("PUT ").iter().filter(|put| put.field(condition.0) == Some(condition.1)).count();
            let before = sent();
            let body = json!({"resourceType": "Patient", "id": "1"});
            let answer = put(&gateway, "/fhir/Patient/1", &[condition], &body);
            if passing.contains(&condition) {
                assert_eq!(answer.status, 200, "{announced} {condition:?}: {}", answer.text());
                assert_eq!(sent(), before + 1, "{announced} {condition:?}");
            } else {
                answer.outcome(412);
                assert_eq!(sent(), before, "{announced} {condition:?}");
            }
        }
    }
}
