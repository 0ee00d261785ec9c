//! Every input has a limit, and a client that exceeds it is told.

use crate::support::gateway::{Gateway, config};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;
use serde_json::json;

const PATIENTS: &str = "/fhir/Patient?_count=1";

fn with(openemr: &OpenEmr, limits: serde_json::Value) -> Gateway {
    let mut config = config(openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    config["limits"] = limits;
    Gateway::with(config)
}

#[test]
fn a_head_has_a_size_a_number_of_fields_and_a_target() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"request_head": "8KiB", "request_target": "2KiB", "header_fields": 20}));
    let before = openemr.count("fhir_requests");
    let long = "x".repeat(8 * 1024);
    gateway.caller().send("GET", PATIENTS, &[("X-Long", &long)], b"").outcome(431);
    let names: Vec<String> = (0..20).map(|number| format!("X-{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    gateway.caller().send("GET", PATIENTS, &many, b"").outcome(431);
    let target = format!("/fhir/Patient?name={}", "x".repeat(2 * 1024));
    let said = gateway.caller().get(&target).outcome(414);
    assert!(said.contains("_search"), "{said}");
    assert_eq!(openemr.count("fhir_requests"), before);
    // One less of each is fine, and local routes are bound by the same.
    assert_eq!(gateway.caller().send("GET", PATIENTS, &many[1..], b"").status, 200);
    assert_eq!(gateway.caller().get(&format!("/fhir/Patient?_count=1&name={}", "x".repeat(2 * 1024 - 40))).status, 200);
    assert_eq!(gateway.caller().get(&format!("/health?{}", "x".repeat(2 * 1024))).status, 414);
}

#[test]
fn a_body_that_says_that_it_is_too_large_is_refused_before_it_is_sent() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"request_body": "10KiB"}));
    let before = openemr.count("fhir_requests");
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut connection = gateway.caller().connect();
        connection
            .write(format!("POST /fhir/Patient HTTP/1.1\r\nHost: gateway\r\nContent-Length: 10241\r\n{expect}\r\n").as_bytes());
        let answer = connection.read("POST");
        answer.outcome(413);
        assert_eq!(answer.json()["issue"][0]["code"], "too-long");
    }
    assert_eq!(openemr.count("fhir_requests"), before);
    let body = vec![b' '; 10 * 1024];
    gateway.caller().post("/fhir/Patient", &[], &body).outcome(400);
    assert_eq!(openemr.state()["last_fhir_request"]["body_length"], 10 * 1024);
}

#[test]
fn a_body_that_turns_out_too_large_is_cut_off_and_never_looks_whole() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"request_body": "100KiB"}));
    let before = openemr.state()["last_fhir_request"].clone();
    let mut connection = gateway.caller().connect();
    connection.write(b"POST /fhir/Patient HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = [b' '; 1024];
    for _ in 0..200 {
        // The gateway may have closed by then.
        if connection
            .try_write(b"400\r\n")
            .and_then(|()| connection.try_write(&piece))
            .and_then(|()| connection.try_write(b"\r\n"))
            .is_err()
        {
            break;
        }
    }
    let _ = connection.try_write(b"0\r\n\r\n");
    let answer = connection.read("POST");
    answer.outcome(413);
    // The sandbox notes requests whose bodies it has read to the end.
    assert_eq!(openemr.state()["last_fhir_request"], before);
    gateway.logs(&["WARN", "larger than the gateway takes"]);
    // A chunked body within the limit passes.
    let mut connection = gateway.caller().connect();
    connection.write(b"POST /fhir/Patient HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    connection.read("POST").outcome(400);
    assert_eq!(openemr.state()["last_fhir_request"]["body_length"], 2);
}

#[test]
fn a_repeated_request_does_not_count_twice() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"request_body": "40KiB"}));
    openemr.order(&json!({"revoke_tokens": "by_admin"}));
    let body = format!(r#"{{"resourceType":"Patient","note":"{}"}}"#, "x".repeat(30 * 1024));
    // Refused once, sent again with a new token, and judged then.
    gateway.caller().post("/fhir/Patient", &[], body.as_bytes()).outcome(400);
    assert_eq!(openemr.state()["last_fhir_request"]["body_length"], body.len());
}

#[test]
fn openemrs_head_has_a_limit_too() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"response_head": "4KiB"}));
    let answer = |length: usize| {
        let content_type = format!("application/json; x={}", "x".repeat(length));
        openemr.order(
            &json!({"fhir": {"answer": {"status": 200, "content_type": content_type, "body": "{\"resourceType\":\"Patient\"}"}}}),
        );
        gateway.caller().get("/fhir/Patient/1")
    };
    answer(4 * 1024).outcome(502);
    assert_eq!(answer(1024).status, 200);
}

#[test]
fn the_connection_goes_on_where_it_can() {
    let openemr = OpenEmr::start();
    let gateway = with(&openemr, json!({"request_target": "1KiB"}));
    let mut connection = gateway.caller().connect();
    connection.write(&request("GET", &format!("/fhir/Patient?name={}", "x".repeat(1024)), &[], b""));
    connection.read("GET").outcome(414);
    connection.write(&request("GET", PATIENTS, &[], b""));
    assert_eq!(connection.read("GET").status, 200);
}
