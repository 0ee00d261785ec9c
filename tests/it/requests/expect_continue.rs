//! A client that waits for "100 Continue" gets it once, whoever reads its body, and never when the head is refused already
//! (RFC 9110 section 10.1.1).

use crate::support::gateway::{Gateway, config, pass_through};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};
use tempfile::TempDir;

const HERE: &str = "http://gateway.example/fhir";

/// A site with every repair, and exports of its own.
fn repaired(openemr: &OpenEmr, folder: &TempDir) -> Value {
    let mut config = config(openemr);
    let site = &mut config["sites"]["default"];
    let resources = ["system/Patient.read", "system/Patient.write", "system/Binary.read"];
    let operations = ["system/*.$export", "system/*.$bulkdata-status"];
    site["scopes"] = resources.into_iter().chain(operations).collect();
    site["bulk_data"] = json!({"folder": folder.path().join("bulk")});
    config
}

fn head(target: &str, fields: &str, length: usize) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: gateway.example\r\n{fields}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n")
}

/// Sends the head, waits for the one 100, sends the body, and gives the answer, which no other 100 comes before.
fn told_once(gateway: &Gateway, target: &str, fields: &str, body: &[u8]) -> Answer {
    let mut connection = gateway.caller().connect();
    connection.write(head(target, fields, body.len()).as_bytes());
    assert_eq!(connection.read_head().status, 100, "{target}");
    connection.write(body);
    let answer = connection.read("POST");
    assert!(answer.status >= 200, "{target}: a second {}", answer.status);
    answer
}

#[test]
fn a_body_that_the_gateway_reads_ahead_is_asked_for_once() {
    let openemr = OpenEmr::start();
    let folder = TempDir::new().unwrap();
    let gateway = Gateway::with(repaired(&openemr, &folder));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let resource = "Content-Type: application/fhir+json\r\n";
    let export = "Content-Type: application/fhir+json\r\nPrefer: respond-async\r\n";
    let parameters = br#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient"}]}"#;
    let patient = |more: &str| {
        format!(
            r#"{{"resourceType":"Patient","name":[{{"use":"official","family":"Doe","given":["Jo"]}}],"gender":"other","birthDate":"1980-01-01"{more}}}"#
        )
    };
    let plain = patient("");
    let with_a_link = patient(&format!(r#","link":[{{"other":{{"reference":"{HERE}/Patient/1"}},"type":"seealso"}}]"#));
    for (target, fields, body, status) in [
        ("/fhir/Patient/_search", form, &b"name=A"[..], 200),
        ("/fhir/$export", export, parameters, 202),
        ("/fhir/Patient", resource, plain.as_bytes(), 201),
        ("/fhir/Patient", resource, with_a_link.as_bytes(), 201),
    ] {
        let answer = told_once(&gateway, target, fields, body);
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
}

#[test]
fn a_body_that_passes_is_asked_for_by_openemr_alone() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(pass_through(&openemr));
    for length in [30, 100_000] {
        told_once(&gateway, "/fhir/Patient", "Content-Type: application/fhir+json\r\n", &vec![b'x'; length]);
    }
}

#[test]
fn no_body_is_asked_for_whose_head_is_refused() {
    let openemr = OpenEmr::start();
    let folder = TempDir::new().unwrap();
    let gateway = Gateway::with(repaired(&openemr, &folder));
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    let before = openemr.count("fhir_requests");
    for (target, fields, length, status) in [
        // The path.
        ("/fhir/%2e%2e/x", "", 10, 400),
        // A search: no form, too long.
        ("/fhir/Patient/_search", "Content-Type: application/json\r\n", 10, 415),
        ("/fhir/Patient/_search", "Content-Type: application/x-www-form-urlencoded\r\n", 70_000, 413),
        // A kick-off: not asynchronous, no resource, too long, an answer in XML.
        ("/fhir/$export", "Content-Type: application/fhir+json\r\n", 10, 400),
        ("/fhir/$export", "Content-Type: text/plain\r\nPrefer: respond-async\r\n", 10, 415),
        ("/fhir/$export", "Content-Type: application/fhir+json\r\nPrefer: respond-async\r\n", 70_000, 413),
        ("/fhir/$export", "Accept: application/fhir+xml\r\nPrefer: respond-async\r\n", 10, 406),
        // What OpenEMR does not offer.
        ("/fhir/Nonsense", "Content-Type: application/fhir+json\r\n", 10, 404),
        // A local route.
        ("/health", "", 10, 405),
    ] {
        let mut connection = gateway.caller().connect();
        connection.write(head(target, fields, length).as_bytes());
        assert_eq!(connection.read("POST").status, status, "{target} {fields}");
    }
    assert_eq!(openemr.count("fhir_requests"), before);
}
