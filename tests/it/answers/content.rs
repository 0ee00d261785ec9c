//! Media types, `_format`, HEAD, trailing slashes, and what comes back for a write.

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, End, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";
const NEW_PATIENT: &str = r#"{"resourceType":"Patient","name":[{"use":"official","family":"Testing","given":["Tessa"]}],"gender":"female","birthDate":"1980-02-03"}"#;

fn last_target(openemr: &OpenEmr) -> String {
    openemr.state()["last_fhir_request"]["target"].as_str().unwrap().to_owned()
}

fn with(openemr: &OpenEmr, more: &Value) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write", "system/Binary.read"]);
    for (key, value) in more.as_object().unwrap() {
        config["sites"]["default"][key] = value.clone();
    }
    Gateway::with(config)
}

fn a_patient(gateway: &Gateway) -> String {
    gateway.caller().get("/fhir/Patient?_count=1").json()["entry"][0]["resource"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn fhir_json_has_fhirs_name_and_the_rest_has_its_own() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        openemr.order(&json!({"binary": {"id": "5000", "bytes": 1000}}));
        let gateway = Gateway::start(&openemr);
        let read = format!(
            "/fhir/Patient/{}",
            gateway.caller().get("/fhir/Patient").json()["entry"][0]["resource"]["id"].as_str().unwrap()
        );
        for (target, expected) in [
            ("/fhir/Patient", FHIR_JSON),
            (&read, FHIR_JSON),
            ("/fhir/metadata", FHIR_JSON),
            ("/fhir/.well-known/smart-configuration", "application/json"),
        ] {
            let answer = gateway.caller().get(target);
            assert_eq!((answer.status, answer.field("content-type")), (200, Some(expected)), "{version} {target}");
        }
        let binary = gateway.caller().get("/fhir/Binary/5000");
        let kind = binary.field("content-type").unwrap();
        assert!(!kind.starts_with("application/fhir+json"), "{kind}");
    }
}

#[test]
fn format_is_honoured_here_and_not_sent_on() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let id = a_patient(&gateway);
    for name in
        ["json", "application/json", "application/fhir+json", "application/fhir%2Bjson", "text/json", "application%2Fjson"]
    {
        for (target, received) in [
            (format!("/fhir/Patient/{id}?_format={name}"), format!("/Patient/{id}")),
            (format!("/fhir/Patient/{id}?_format={name}&_pretty=true"), format!("/Patient/{id}")),
            (
                format!("/fhir/Organization/{id}?_elements=%6eame&_format={name}&_summary"),
                format!("/Organization/{id}?_elements=%6eame&_summary"),
            ),
        ] {
            gateway.caller().send("GET", &target, &[("Accept", "application/fhir+xml")], b"");
            assert_eq!(last_target(&openemr), format!("/apis/default/fhir{received}"), "{target}");
        }
        let found = gateway.caller().get(&format!("/fhir/Patient?_id={id}&_format={name}"));
        assert_eq!((found.status, found.json()["total"].clone()), (200, json!(1)), "{name}");
        assert!(!last_target(&openemr).contains("_format"), "{name}");
    }
}

#[test]
fn what_openemr_does_not_speak_is_not_acceptable() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let before = openemr.count("fhir_requests");
    for (target, accept, is_xml) in [
        ("/fhir/Patient?_format=xml", "application/fhir+json", true),
        ("/fhir/Patient?_format=application/fhir+xml", "*/*", true),
        ("/fhir/Patient/1?_format=text/xml", "*/*", true),
        ("/fhir/metadata?_format=application%2Fxml", "*/*", true),
        ("/fhir/Patient?_format=ttl", "*/*", false),
        ("/fhir/Patient", "application/fhir+xml", true),
        ("/fhir/Patient/1", "text/xml, application/xml", true),
        ("/fhir/Patient", "application/fhir+json;q=0, application/fhir+xml", true),
    ] {
        let answer = gateway.caller().send("GET", target, &[("Accept", accept)], b"");
        assert_eq!(answer.status, 406, "{target} {accept}: {}", answer.text());
        let kind = if is_xml { "application/fhir+xml; charset=utf-8" } else { FHIR_JSON };
        assert_eq!(answer.field("content-type"), Some(kind), "{target} {accept}");
        assert!(answer.text().contains("OperationOutcome") && answer.text().contains("not-supported"));
    }
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(gateway.caller().post("/fhir/Patient/_search", &[form], b"name=A&_format=xml").status, 406);
    assert_eq!(openemr.count("fhir_requests"), before);
    assert_eq!(gateway.caller().post("/fhir/Patient/_search", &[form], b"name=A&_format=json").status, 200);
    for accept in [
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html",
        "application/fhir+xml, */*;q=0.1",
        "image/png",
    ] {
        let answer = gateway.caller().send("GET", "/fhir/Patient?_count=1", &[("Accept", accept)], b"");
        assert_eq!((answer.status, answer.field("content-type")), (200, Some(FHIR_JSON)), "{accept}");
    }
}

#[test]
fn content_can_be_switched_off() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, &json!({"conformance": "pass_through"}));
    let answer = gateway.caller().get("/fhir/Patient?_format=xml");
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json")));
    assert_eq!(last_target(&openemr), "/apis/default/fhir/Patient?_format=xml");
}

fn without_date(answer: &Answer) -> Vec<(String, String)> {
    let varies = |name: &str| matches!(name, "date" | "x-request-id" | "transfer-encoding" | "content-length" | "connection");
    let fields = answer.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    let mut fields: Vec<_> = fields.filter(|(name, _)| !varies(name)).collect();
    fields.sort();
    fields
}

#[test]
fn head_gives_the_head_of_a_get() {
    for options in [&[][..], &["--tls"]] {
        let openemr = OpenEmr::with(options);
        let gateway = Gateway::start(&openemr);
        let read = format!("/fhir/Patient/{}", a_patient(&gateway));
        let mut connection = gateway.caller().connect();
        for framing in ["chunked", "content_length", "http10"] {
            openemr.order(&json!({"fhir": {"framing": framing}}));
            for target in ["/fhir/Patient", &read, "/fhir/metadata", "/fhir/Patient/11111111-2222-3333-4444-555555555555"] {
                connection.write(&request("GET", target, &[], b""));
                let get = connection.read("GET");
                connection.write(&request("HEAD", target, &[], b""));
                let head = connection.read("HEAD");
                assert_eq!(head.status, get.status, "{framing} {target}");
                // The tag of a read is known when its body is whole, and may be missing (RFC 9110 section 9.3.2).
                let is_told = |(name, _): &(String, String)| target != read || name != "etag";
                let told = |answer: &Answer| without_date(answer).into_iter().filter(is_told).collect::<Vec<_>>();
                assert_eq!(told(&head), told(&get), "{framing} {target}");
                if target != "/fhir/metadata" {
                    assert_eq!(openemr.state()["last_fhir_request"]["method"], "GET", "{target}");
                }
                if let Some(length) = head.field("content-length") {
                    assert_eq!(length, get.body.len().to_string(), "{framing} {target}");
                }
            }
        }
        // Nothing of a body came after any of them.
        connection.write(&request("GET", &read, &[], b""));
        assert_eq!(connection.read("GET").end, End::Whole);
    }
}

#[test]
fn head_passes_where_it_is_not_to_be_repaired() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, &json!({"repairs": {"head": false}}));
    let answer = gateway.caller().send("HEAD", "/fhir/Patient?_count=1", &[], b"");
    assert_eq!((answer.status, answer.field("content-type")), (404, Some(FHIR_JSON)));
    assert_eq!(openemr.state()["last_fhir_request"]["method"], "HEAD");
}

#[test]
fn a_slash_at_the_end_does_no_harm() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let id = a_patient(&gateway);
    assert_eq!(gateway.caller().get("/fhir/Patient/").json()["resourceType"], "Bundle");
    let read = gateway.caller().get(&format!("/fhir/Patient/{id}/"));
    assert_eq!((read.status, last_target(&openemr)), (200, format!("/apis/default/fhir/Patient/{id}")));
    let off = with(&openemr, &json!({"repairs": {"trailing_slash": false}}));
    off.caller().get(&format!("/fhir/Patient/{id}/")).outcome(404);
    assert_eq!(last_target(&openemr), format!("/apis/default/fhir/Patient/{id}/"));
}

fn create(gateway: &Gateway, prefer: &[(&str, &str)]) -> Answer {
    let fields: Vec<_> = [("Content-Type", "application/fhir+json")].iter().chain(prefer).copied().collect();
    gateway.caller().post("/fhir/Patient", &fields, NEW_PATIENT.as_bytes())
}

/// The id at the end of Location.
fn located(answer: &Answer) -> String {
    let location = answer.field("location").unwrap_or_else(|| panic!("no Location: {answer:?}"));
    let (base, id) = location.rsplit_once('/').unwrap();
    assert!(base.starts_with("http") && base.ends_with("/fhir/Patient"), "{location}");
    id.to_owned()
}

#[test]
fn a_create_says_where_and_what_as_it_is_preferred() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, &json!({}));
    for prefer in [&[][..], &[("Prefer", "return=representation")]] {
        let before = openemr.count("fhir_requests");
        let answer = create(&gateway, prefer);
        assert_eq!(
            (answer.status, answer.field("content-type"), answer.end),
            (201, Some(FHIR_JSON), End::Whole),
            "{}",
            answer.text()
        );
        let patient = answer.json();
        assert_eq!((patient["resourceType"].clone(), patient["id"].clone()), (json!("Patient"), json!(located(&answer))));
        assert_eq!(patient["name"][0]["family"], "Testing");
        assert_eq!(openemr.count("fhir_requests"), before + 2, "one create and one read");
    }
    let before = openemr.count("fhir_requests");
    let minimal = create(&gateway, &[("Prefer", "return=minimal")]);
    assert_eq!((minimal.status, minimal.text().as_str()), (201, ""));
    let told = create(&gateway, &[("Prefer", "respond-async, return=OperationOutcome")]);
    assert_eq!((told.status, told.json()["resourceType"].clone()), (201, json!("OperationOutcome")));
    assert_eq!(told.json()["issue"][0]["severity"], "information");
    assert_eq!(openemr.count("fhir_requests"), before + 2);
    for answer in [minimal, told] {
        assert_eq!(gateway.caller().get(&format!("/fhir/Patient/{}", located(&answer))).status, 200);
    }
}

#[test]
fn a_new_resource_that_cannot_be_read_back_is_created_all_the_same() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, &json!({"scopes": ["system/Patient.write"]}));
    let answer = create(&gateway, &[]);
    assert_eq!((answer.status, answer.json()["resourceType"].clone()), (201, json!("OperationOutcome")), "{}", answer.text());
    assert!(!located(&answer).is_empty());
}

#[test]
fn a_create_and_its_read_share_one_place_in_flight() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, &json!({"in_flight": {"most": 1, "queue": 1, "queue_timeout": "2s"}}));
    assert_eq!(create(&gateway, &[]).json()["resourceType"], "Patient");
}

#[test]
fn an_update_says_where_and_what_as_it_is_preferred() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, &json!({}));
    let id = located(&create(&gateway, &[("Prefer", "return=minimal")]));
    let update = |prefer: &str, family: &str| {
        let fields = [("Content-Type", "application/fhir+json"), ("Prefer", prefer)];
        let answer = gateway.caller().send(
            "PUT",
            &format!("/fhir/Patient/{id}/"),
            &fields,
            NEW_PATIENT.replace("Testing", family).as_bytes(),
        );
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
        assert_eq!(located(&answer), id);
        answer
    };
    assert_eq!(update("return=representation", "One").json()["name"][0]["family"], "One");
    assert_eq!(update("handling=lenient", "Two").json()["name"][0]["family"], "Two");
    assert_eq!(update("return=minimal", "Three").text(), "");
    assert_eq!(update("return=OperationOutcome", "Four").json()["resourceType"], "OperationOutcome");
    assert_eq!(gateway.caller().get(&format!("/fhir/Patient/{id}")).json()["name"][0]["family"], "Four");
}

#[test]
fn answers_to_writes_can_be_left_alone() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, &json!({"repairs": {"writes": false}}));
    let answer = create(&gateway, &[("Prefer", "return=minimal")]);
    assert_eq!((answer.status, answer.field("location")), (201, None));
    assert!(answer.json()["uuid"].is_string());
}

#[test]
fn all_of_it_holds_in_http_2() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config);
    let client = Http2::plain(gateway.address);
    let read = format!("/fhir/Patient/{}", a_patient(&gateway));
    for target in ["/fhir/Patient", &read, "/fhir/metadata"] {
        let head = client.send("HEAD", target, &[], b"");
        assert_eq!((head.status, head.end, head.body.len()), (200, End::Whole, 0), "{target}");
        assert_eq!(head.field("content-type"), Some(FHIR_JSON), "{target}");
    }
    let created = client.send("POST", "/fhir/Patient", &[("content-type", "application/fhir+json")], NEW_PATIENT.as_bytes());
    assert_eq!((created.status, created.end, created.json()["id"].clone()), (201, End::Whole, json!(located(&created))));
    let minimal = client.send("PUT", &read, &[("prefer", "return=minimal")], NEW_PATIENT.as_bytes());
    assert_eq!((minimal.status, minimal.end, minimal.text().as_str()), (200, End::Whole, ""));
    client.get("/fhir/Patient/11111111-2222-3333-4444-555555555555").outcome(404);
    client.send("PATCH", &read, &[], b"[]").outcome(405);
    assert_eq!(client.get("/fhir/Patient?_format=xml").status, 406);
    openemr.order(&json!({"fhir": {"error": "php_fpm_down"}}));
    client.get(&read).outcome(503);
    let head = client.send("HEAD", &read, &[], b"");
    assert_eq!((head.status, head.end, head.body.len()), (503, End::Whole, 0));
}
