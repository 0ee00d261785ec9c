//! Conditional creates: what matches is not created again, however many ask at once, and what cannot be asked is not created.

use std::thread;

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, request};
use crate::support::http2::Http2;
use crate::support::openemr::{OpenEmr, without_times};
use crate::support::raw_openemr::{RawOpenEmr, Received};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/fhir+json");

fn configured(openemr: &OpenEmr) -> Value {
    let mut config = config(openemr);
    let scopes =
        ["Patient", "Practitioner", "Organization"].map(|name| [format!("system/{name}.read"), format!("system/{name}.write")]);
    config["sites"]["default"]["scopes"] = json!(scopes.concat());
    config
}

fn new_patient(family: &str) -> Value {
    json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": family, "given": ["Tessa"]}],
        "gender": "female", "birthDate": "1980-02-03",
    })
}

fn create(gateway: &Gateway, resource: &Value, condition: &str, more: &[(&str, &str)]) -> Answer {
    let fields: Vec<_> = [JSON, ("If-None-Exist", condition)].iter().chain(more).copied().collect();
    let target = format!("/fhir/{}", resource["resourceType"].as_str().unwrap());
    gateway.caller().post(&target, &fields, resource.to_string().as_bytes())
}

fn count(gateway: &Gateway, family: &str) -> usize {
    let found = gateway.caller().get(&format!("/fhir/Patient?family={family}")).json();
    found["entry"].as_array().map_or(0, Vec::len)
}

#[test]
fn what_matches_is_not_created_again() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(configured(&openemr));
    let npi = json!([{"system": "http://hl7.org/fhir/sid/us-npi", "value": "1234567893"}]);
    for (resource, condition) in [
        (new_patient("Onlyone"), "family=Onlyone&given=Tessa&birthdate=1980-02-03"),
        (
            json!({"resourceType": "Practitioner", "identifier": npi, "name": [{"use": "official", "family": "Onlyone", "given": ["T"]}]}),
            "family=Onlyone",
        ),
        (json!({"resourceType": "Organization", "identifier": npi, "name": "Onlyone"}), "?name=Onlyone"),
    ] {
        let made = create(&gateway, &resource, condition, &[]);
        assert_eq!(made.status, 201, "{condition}: {}", made.text());
        let again = create(&gateway, &resource, condition, &[]);
        assert_eq!((again.status, without_times(&again.json())), (200, without_times(&made.json())), "{condition}");
        assert_eq!(again.field("location"), made.field("location"));
        assert_eq!(again.field("content-type"), Some("application/fhir+json; charset=utf-8"));
        let minimal = create(&gateway, &resource, condition, &[("Prefer", "return=minimal")]);
        assert_eq!((minimal.status, minimal.text().as_str()), (200, ""));
        let told = create(&gateway, &resource, condition, &[("Prefer", "return=OperationOutcome")]);
        assert_eq!((told.status, told.json()["issue"][0]["severity"].clone()), (200, json!("information")));
        assert_eq!(told.field("location"), made.field("location"));
    }
    assert_eq!(count(&gateway, "Onlyone"), 1);
    let statement = gateway.caller().get("/fhir/metadata").json();
    let announced: Vec<&str> = statement["rest"][0]["resource"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|resource| resource["conditionalCreate"] == true)
        .filter_map(|resource| resource["type"].as_str())
        .collect();
    assert_eq!(announced.len(), 3, "{announced:?}");
    // A condition that nothing meets is met by the create, whatever its resource is.
    assert_eq!(create(&gateway, &new_patient("Another"), "family=Nobodyatall", &[]).status, 201);
    // Two match.
    assert_eq!(create(&gateway, &new_patient("Another"), "family=Nobodyatall", &[]).status, 201);
    let words = create(&gateway, &new_patient("Another"), "family=Another", &[]).outcome(412);
    assert!(words.contains("More than one"), "{words}");
    assert_eq!(count(&gateway, "Another"), 2);
}

#[test]
fn of_many_at_once_one_creates() {
    let openemr = OpenEmr::start();
    let mut config = configured(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    assert_eq!(count(&gateway, "Simultaneous"), 0);
    // Each search and each create takes so long that all of them are under way at once.
    openemr.order(&json!({"fhir": {"delay_ms": 200}}));
    let mut answers: Vec<(u16, Value)> = thread::scope(|scope| {
        let all: Vec<_> = (0..6)
            .map(|nth| {
                let (gateway, patient) = (&gateway, new_patient("Simultaneous"));
                scope.spawn(move || {
                    if nth % 2 == 0 {
                        let answer = create(gateway, &patient, "family=Simultaneous", &[]);
                        return (answer.status, answer.json()["id"].clone());
                    }
                    let fields = [("content-type", "application/json"), ("if-none-exist", "family=Simultaneous")];
                    let body = patient.to_string();
                    let answer = Http2::plain(gateway.address).send("POST", "/fhir/Patient", &fields, body.as_bytes());
                    (answer.status, answer.json()["id"].clone())
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    openemr.reset();
    answers.sort_by_key(|(status, _)| *status);
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);
    assert!(answers.iter().all(|(_, id)| id.is_string() && *id == answers[0].1), "{answers:?}");
    assert_eq!(count(&gateway, "Simultaneous"), 1);
}

#[test]
fn a_condition_that_cannot_be_asked_creates_nothing() {
    let openemr = OpenEmr::start();
    let mut config = configured(&openemr);
    config["log"]["level"] = json!("debug");
    let gateway = Gateway::with(config);
    let before = count(&gateway, "Refused");
    for (condition, status, word) in [
        ("", 400, "empty"),
        ("family=", 400, "empty"),
        ("family=Secretname&given=", 400, "empty"),
        ("family=%zz", 400, "percent-encoded"),
        ("family=Secret name", 400, "percent-encoded"),
        ("family[]=Secretname", 400, "name"),
        ("_REWRITE_COMMAND=default/api/patient", 400, "name"),
        ("birthdate=Secretname", 400, "birthdate"),
        ("nam=Secretname", 412, "nam"),
        ("family=Secretname&organization=1", 412, "organization"),
        ("family=Secretname&family=Othername", 412, "family"),
        ("family:missing=true", 412, "family:missing"),
        ("_has:Observation:patient:code=1", 412, "_has"),
        ("family=Secretname&_count=1", 412, "_count"),
        ("family=Secretname&_sort=family", 412, "_sort"),
        ("gender=http://hl7.org/fhir/administrative-gender|male", 412, "gender"),
    ] {
        let words = create(&gateway, &new_patient("Refused"), condition, &[]).outcome(status);
        assert!(words.contains(word), "{condition}: {words}");
        assert!(!words.contains("Secretname"), "{condition}: {words}");
        assert_eq!(openemr.came("POST /apis/default/fhir/Patient/_search"), 0, "{condition}: nobody is searched for");
    }
    let twice = [("If-None-Exist", "family=B")];
    create(&gateway, &new_patient("Refused"), "family=A", &twice).outcome(400);
    assert_eq!((count(&gateway, "Refused"), openemr.came("POST /apis/default/fhir/Patient")), (before, 0));
    assert_eq!(create(&gateway, &new_patient("Refused"), "family=Secretname", &[]).status, 201);
    gateway.logs(&["what matches If-None-Exist"]);
    gateway.logs(&["access", "status=201"]);
    let log = gateway.log();
    assert!(!log.contains("Secretname"), "{log}");
}

#[test]
fn an_identifier_is_found_again_or_not_created() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(configured(&openemr));
    let known = gateway.caller().get("/fhir/Patient?_count=1").json()["entry"][0]["resource"].clone();
    let identifier = &known["identifier"][0];
    let (system, value) = (identifier["system"].as_str().unwrap_or_default(), identifier["value"].as_str().unwrap());
    for condition in [format!("identifier={value}"), format!("identifier={system}|{value}")] {
        let answer = create(&gateway, &new_patient("Identified"), &condition, &[]);
        assert_eq!((answer.status, answer.json()["id"].clone()), (200, known["id"].clone()), "{condition}");
    }
    // This is somebody else.
    let words = create(&gateway, &new_patient("Identified"), &format!("identifier=urn:other|{value}"), &[]).outcome(412);
    assert!(words.contains("nothing was created") && !words.contains(value), "{words}");
    // It would give the new patient an identifier of its own.
    let words = create(&gateway, &new_patient("Identified"), "identifier=new-1", &[]).outcome(412);
    assert!(words.contains("PT") && !words.contains("new-1"), "{words}");
    assert_eq!(count(&gateway, "Identified"), 0);
    let mut kept = new_patient("Identified");
    let pt = json!([{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "PT"}]);
    kept["identifier"] = json!([{"type": {"coding": pt}, "value": "new-1"}]);
    assert_eq!(create(&gateway, &kept, "identifier=new-1", &[]).status, 201);
    assert_eq!(create(&gateway, &kept, "identifier=new-1", &[]).status, 200);
    assert_eq!(count(&gateway, "Identified"), 1);
}

#[test]
fn links_to_the_gateway_are_understood() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(configured(&openemr));
    let known = gateway.caller().get("/fhir/Patient?_count=1").json()["entry"][0]["fullUrl"].as_str().unwrap().to_owned();
    assert!(known.starts_with("http://gateway.example/fhir/"), "{known}");
    let answer = create(&gateway, &new_patient("Linked"), &format!("_id={known}"), &[]);
    assert_eq!((answer.status, answer.field("location")), (200, Some(known.as_str())), "{}", answer.text());
}

#[test]
fn nothing_is_created_where_the_search_fails() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(configured(&openemr));
    assert_eq!(count(&gateway, "Failing"), 0);
    for (fault, status) in [
        (json!({"fhir": {"error": "system", "times": 1}}), 502),
        (
            json!({"fhir": {"answer": {"status": 200, "body": "<b>Notice</b>", "content_type": "application/json"}, "times": 1}}),
            502,
        ),
        (json!({"fhir": {"answer": {"status": 200, "body": "[]", "content_type": "application/json"}, "times": 1}}), 502),
    ] {
        openemr.order(&fault);
        let words = create(&gateway, &new_patient("Failing"), "family=Failing", &[]).outcome(status);
        assert!(words.contains("nothing was created"), "{fault}: {words}");
        openemr.reset();
    }
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.write"]);
    let blind = Gateway::with(config);
    let words = create(&blind, &new_patient("Failing"), "family=Failing", &[]).outcome(403);
    assert!(words.contains("system/Patient.read"), "{words}");
    assert_eq!(count(&gateway, "Failing"), 0);
}

#[test]
fn a_client_that_goes_away_gives_its_turn_up() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(configured(&openemr));
    assert_eq!(count(&gateway, "Leaving"), 0);
    openemr.reset();
    openemr.order(&json!({"fhir": {"silent": true, "times": 1}}));
    let mut leaving = gateway.caller().connect();
    let fields = [JSON, ("If-None-Exist", "family=Leaving")];
    leaving.write(&request("POST", "/fhir/Patient", &fields, new_patient("Leaving").to_string().as_bytes()));
    eventually("the search arrives", || (openemr.count("fhir_requests") > 0).then_some(()));
    drop(leaving);
    let answer = create(&gateway, &new_patient("Leaving"), "family=Leaving", &[]);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(count(&gateway, "Leaving"), 1);
}

/// A server that answers every search with this Bundle, and every other request with this resource.
fn answering(of_patient: Value, bundle: Value) -> RawOpenEmr {
    let mut announced = json!({
        "type": "Patient",
        "interaction": [{"code": "read"}, {"code": "search-type"}, {"code": "create"}],
        "searchParam": [{"name": "family", "type": "string"}],
    });
    announced.as_object_mut().unwrap().extend(of_patient.as_object().unwrap().clone());
    let statement = json!({"resourceType": "CapabilityStatement", "software": {"name": "OpenEMR"},
        "rest": [{"mode": "server", "resource": [announced]}]});
    RawOpenEmr::start(move |request: &Received| {
        let body = match request.head.split_ascii_whitespace().nth(1) {
            Some("/fhir/metadata") => statement.to_string(),
            Some("/fhir/Patient/_search") => bundle.to_string(),
            _ => json!({"resourceType": "Patient", "id": "7"}).to_string(),
        };
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: {length}\r\n\r\n{body}").into()
    })
}

#[test]
fn a_server_that_pages_or_creates_conditionally_itself_comes_out_right() {
    let openemr = OpenEmr::start();
    let one = json!([{"fullUrl": "x", "resource": {"resourceType": "Patient", "id": "7"}, "search": {"mode": "match"}}]);
    let outcome = json!([{"resource": {"resourceType": "OperationOutcome", "issue": []}, "search": {"mode": "outcome"}}]);
    for (of_patient, bundle, status, posts) in [
        (json!({}), json!({"resourceType": "Bundle", "type": "searchset", "total": 0}), 200, 2),
        (json!({}), json!({"resourceType": "Bundle", "type": "searchset", "entry": outcome}), 200, 2),
        (json!({}), json!({"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": one}), 200, 1),
        (json!({}), json!({"resourceType": "Bundle", "type": "searchset", "total": 57, "entry": one}), 412, 1),
        (json!({}), json!({"resourceType": "Bundle", "type": "searchset", "total": 57, "entry": []}), 502, 1),
        (json!({"conditionalCreate": true}), json!({}), 200, 1),
    ] {
        let announces = of_patient["conditionalCreate"] == true;
        let raw = answering(of_patient, bundle.clone());
        let mut config = config(&openemr);
        config["sites"]["default"]["fhir_base"] = json!(raw.fhir_base());
        config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
        let gateway = Gateway::with(config);
        let answer = create(&gateway, &new_patient("Paged"), "family=Paged", &[]);
        assert_eq!(answer.status, status, "{bundle}: {}", answer.text());
        let received = raw.received("POST ");
        assert_eq!(received.len(), posts, "{bundle}");
        let sent_on: Vec<_> = received.iter().filter_map(|one| one.field("if-none-exist")).collect();
        assert_eq!(sent_on, if announces { vec!["family=Paged"] } else { Vec::new() });
        if !announces {
            // The condition is in no query: servers log those.
            assert!(received[0].head.starts_with("POST /fhir/Patient/_search HTTP"), "{}", received[0].head);
            assert!(received[0].body.starts_with(b"family=Paged"), "{:?}", received[0]);
        }
    }
}
