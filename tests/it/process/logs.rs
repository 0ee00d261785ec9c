//! The log: one access line a request with everything an auditor asks for, and never anything of a patient, a token or
//! a key, whatever happens and whatever the level.

use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

/// Stands wherever a caller or OpenEMR can put a patient's data.
const CANARY: &str = "Zebedee4711";

fn with_log(openemr: &OpenEmr, level: &str, format: &str) -> Gateway {
    let mut config = config(openemr);
    config["log"] = json!({"level": level, "format": format});
    config["sites"]["default"]["timeouts"] = json!({"read": "4s"});
    Gateway::with(config)
}

#[test]
fn an_access_line_has_every_field() {
    let openemr = OpenEmr::start();
    let gateway = with_log(&openemr, "info", "text");
    let answer = gateway.caller().get("/fhir/Patient?_count=1");
    let id = answer.field("x-request-id").unwrap();
    let line = gateway.access_line(id);
    let bytes = format!(" bytes={} ", answer.body.len());
    for part in [
        " INFO ",
        "caller=127.0.0.1 ",
        "method=GET ",
        "site=default ",
        "resource_type=Patient ",
        "interaction=search-type ",
        "status=200 ",
        &bytes,
        "proto=HTTP/1.1 ",
        "tls=- ",
        "route=fhir ",
        "by=openemr ",
        "reason=- ",
        "bytes_in=0 ",
        "queue_ms=0 ",
        "token_ms=0 ",
        "node=http",
        "upstream_status=200 ",
        " retries=0",
        " shared=false",
        " left_out=0",
    ] {
        assert!(line.contains(part), "{part:?} in {line}");
    }
    for number in ["duration_ms=", "upstream_ms="] {
        let value: f64 = line.split_once(number).unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert!(value > 0.0, "{line}");
    }
    let lines = gateway.log().lines().filter(|line| line.contains(" access ")).count();
    assert_eq!(lines, 1);
    // Each field is documented, and nothing else is.
    let names = line.split(' ').filter_map(|word| Some(word.split_once('=')?.0));
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/logs.md")).unwrap();
    let table = document.split_once("| Field | Meaning |").unwrap().1.split_once("\n\n").unwrap().0;
    let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split_once('`').map(|(name, _)| name));
    assert_eq!(names.collect::<Vec<_>>(), rows.collect::<Vec<_>>());
}

#[test]
fn an_access_line_is_json_where_that_is_asked_for() {
    let openemr = OpenEmr::start();
    let gateway = with_log(&openemr, "info", "json");
    let answer = gateway.caller().send("DELETE", "/fhir/Observation/1", &[], b"");
    let id = answer.field("x-request-id").unwrap();
    let line: Value = serde_json::from_str(&gateway.access_line(id)).unwrap();
    assert_eq!(line["request_id"], id);
    assert_eq!((line["message"].as_str(), line["interaction"].as_str()), (Some("access"), Some("delete")));
    assert_eq!(line["level"], "info");
    assert_eq!((line["method"].as_str(), line["resource_type"].as_str()), (Some("DELETE"), Some("Observation")));
    assert_eq!((line["status"].as_u64(), line["retries"].as_u64()), (Some(405), Some(0)));
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line["duration_ms"].is_number());
    for line in gateway.log().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

#[test]
fn no_access_line_below_info() {
    let openemr = OpenEmr::start();
    let gateway = with_log(&openemr, "warn", "text");
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
    openemr.order(&json!({"fhir": {"html": true}}));
    gateway.caller().get("/fhir/Patient");
    gateway.logs(&["WARN", "web page"]);
    assert!(!gateway.log().contains("access"), "{}", gateway.log());
}

#[test]
fn a_failed_request_names_the_node_the_stage_and_the_cause() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["timeouts"] = json!({"read": "1s"});
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    assert_eq!(caller.get("/fhir/Patient?_count=1").status, 200);
    let node = format!("node {}/apis/default/fhir: ", openemr.base);

    openemr.order(&json!({"fhir": {"html": true, "times": 1, "target": "/Patient"}}));
    caller.get("/fhir/Patient?name=x").outcome(502);
    gateway.logs(&["WARN", "site default", &node, "web page", "sub-folder"]);
    openemr.order(&json!({"fhir": {"delay_ms": 20_000, "times": 1, "target": "/Patient"}}));
    caller.get("/fhir/Patient?name=x").outcome(504);
    gateway.logs(&["WARN", "site default", &format!("waiting for the answer, {node}"), "no answer came in time"]);
    openemr.order(&json!({"listener": "down"}));
    caller.get("/fhir/Patient?name=x").outcome(502);
    gateway.logs(&["WARN", "site default", &format!("connecting, {node}"), "nothing listens there"]);
    // No token, and so no node.
    openemr.order(&json!({"listener": "up", "token": {"down": true}}));
    let without = Gateway::start(&openemr);
    without.caller().get("/fhir/Patient?name=x").outcome(503);
    without.logs(&["WARN", "request_id=", "reason=no_token", "site default: there is no access token"]);
    assert!(!gateway.log().contains("name=x") && !without.log().contains("name=x"));
}

/// A patient's birth date, in the same places.
const BIRTH_DATE: &str = "1944-05-06";

/// Everything that can happen to a request, with the canary in every place that it has.
fn drive_everything(openemr: &OpenEmr, gateway: &Gateway) {
    let caller = gateway.caller();
    let target = format!("/fhir/Patient/{CANARY}?name={CANARY}");
    let search = format!("/fhir/Patient?name={CANARY}");
    let body = format!(r#"{{"resourceType":"Patient","id":"{CANARY}"}}"#);
    let page = format!("<html>Doe {CANARY} {BIRTH_DATE} Authorization: Bearer eyJ0.e30.c2ln</html>");
    let said = json!({"error": "x", "message": format!("{CANARY} born {BIRTH_DATE}"), "validationErrors": {"DOB": BIRTH_DATE}});
    let said = said.to_string();
    let fields = [("X-Patient", CANARY), ("Authorization", &*format!("Bearer {CANARY}")), ("Cookie", CANARY)];
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        caller.send(method, &target, &fields, b"");
    }
    for method in ["POST", "PUT", "PATCH"] {
        caller.send(method, &target, &fields, body.as_bytes());
    }
    for refused in ["/fhir/../", "/fhir/%2e%2e/", "/fhir//", "/", "/health/", "/oauth/token?site="] {
        caller.send("POST", &format!("{refused}{CANARY}?{CANARY}"), &fields, b"x");
    }
    for broken in [
        format!("GET /fhir/Patient?name={CANARY}\u{1} HTTP/9\r\n\r\n"),
        format!("{CANARY}\r\n\r\n"),
        format!("GET /fhir/Patient?name={CANARY} HTTP/1.1\r\nHost: {CANARY}\r\nHost: {CANARY}\r\n\r\n"),
        format!("GET /fhir/Patient?name={CANARY} HTTP/1.1\r\nHost: a\r\n{CANARY}\r\n\r\n"),
        format!("POST /fhir/Patient?{CANARY} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n"),
        format!("GET /fhir/Patient?{CANARY} HTTP/1.1\r\nHost: a\r\nConnection: host, {CANARY}\r\n\r\n"),
        format!("{CANARY} /fhir/{CANARY} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ] {
        let mut connection = caller.connect();
        let _ = connection.try_write(broken.as_bytes());
        connection.closes();
    }
    // Searches by form, and bulk exports: of everybody, of a group, with patients named.
    let form = format!("name={CANARY}&birthdate={BIRTH_DATE}");
    let as_form = [("Content-Type", "application/x-www-form-urlencoded"), ("Prefer", "handling=strict")];
    for target in ["/fhir/Patient/_search", "/fhir/_search", "/fhir/Observation/_search"] {
        caller.send("POST", &format!("{target}?_id={CANARY}"), &as_form, form.as_bytes());
        caller.send("POST", target, &as_form[..1], form.as_bytes());
    }
    let in_background = [("Prefer", "respond-async"), ("Accept", "application/fhir+json")];
    for target in [
        format!("/fhir/$export?_typeFilter=Patient%3Fname%3D{CANARY}"),
        format!("/fhir/Group/{CANARY}/$export?patient=Patient/{CANARY}"),
        format!("/fhir/Patient/$export?_since={BIRTH_DATE}"),
        format!("/fhir/$bulkdata-status?job={CANARY}"),
    ] {
        caller.send("GET", &target, &in_background, b"");
    }
    // Clients that hang up, before and after they have sent all of a request.
    drop_after(gateway, &request("GET", &search, &[], b"")[..40]);
    drop_after(gateway, &request("GET", &search, &[], b""));
    drop_after(gateway, format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n{CANARY}").as_bytes());
    for fault in [
        json!({"html": true}),
        json!({"hang_up": true}),
        json!({"delay_ms": 8_000}),
        json!({"error": "database"}),
        json!({"answer": {"status": 200, "body": CANARY, "content_type": "application/json"}}),
        json!({"answer": {"status": 500, "body": page, "content_type": "text/html"}}),
        json!({"answer": {"status": 400, "body": page, "content_type": "text/plain"}}),
        json!({"answer": {"status": 422, "body": said, "content_type": "application/json"}}),
        json!({"answer": {"status": 503, "body": said, "content_type": "application/json"}}),
        json!({"framing": "http10", "truncate_after": 200, "ending": "reset"}),
        json!({"framing": "http10", "truncate_after": 200, "ending": "close_notify"}),
        json!({"framing": "chunked", "truncate_after": 200}),
        json!({"framing": "content_length", "truncate_after": 200}),
        json!({"close_reused": true}),
    ] {
        openemr.order(&json!({"fhir": fault}));
        for method in ["GET", "POST"] {
            let mut connection = caller.connect();
            connection.write(&request(method, &search, &fields, if method == "POST" { body.as_bytes() } else { b"" }));
            let head = connection.read_head();
            connection.read_body(method, &head, |_| {});
        }
    }
    openemr.order(&json!({"fhir": null, "listener": "down"}));
    caller.get(&search);
    caller.send("POST", &search, &fields, body.as_bytes());
    gateway.token("?force=true");
    openemr.order(&json!({"listener": "up", "token": {"refuse": "bad_assertion", "times": 1}}));
    gateway.token("?force=true");
    eventually("a new token", || (gateway.token("?force=true").status == 200).then_some(()));
}

fn drop_after(gateway: &Gateway, bytes: &[u8]) {
    gateway.caller().connect().write(bytes);
}

#[test]
fn nothing_of_a_patient_a_token_or_a_key_is_ever_logged() {
    for (level, format) in [("info", "text"), ("debug", "json"), ("trace", "text")] {
        let openemr = OpenEmr::start();
        let gateway = with_log(&openemr, level, format);
        drive_everything(&openemr, &gateway);
        let last = gateway.caller().get("/health");
        gateway.access_line(last.field("x-request-id").unwrap());
        let log = gateway.log();
        assert!(log.lines().count() > 40, "{log}");
        let token = gateway.token("").json()["access_token"].as_str().unwrap().to_owned();
        for secret in [CANARY, BIRTH_DATE, &token, "eyJ", "Bearer", "client_assertion=", "PRIVATE KEY", "given=", "?name"] {
            assert!(!log.contains(secret), "{level}: {secret} in {}", log.lines().find(|line| line.contains(secret)).unwrap());
        }
    }
}
