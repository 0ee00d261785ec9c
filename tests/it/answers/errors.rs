//! Every error on a FHIR route is an OperationOutcome that says what went wrong and reveals nothing of the server.

use crate::support::gateway::{Gateway, config, config_for};
use crate::support::http::{Answer, End, request};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_id=1";
const PREFERS_XML: (&str, &str) = ("Accept", "application/fhir+xml, application/fhir+json;q=0.5");
/// Of OpenEMR, its web server, PHP and its database: none of these may reach a caller.
const OF_THE_SERVER: [&str; 14] = [
    "<p>",
    "html",
    "127.0.0.1",
    "prepare()",
    "dispatch.php",
    "/var/www",
    "OpenEMR\\\\",
    "Service",
    "SQLSTATE",
    "patient_data",
    "Apache",
    "Stack trace",
    "TypeError",
    "An error occurred",
];

fn fixed(status: u16, content_type: &str, body: &str) -> Value {
    json!({"answer": {"status": status, "content_type": content_type, "body": body}})
}

fn php_page() -> Value {
    let page = "<br />\n<b>Fatal error</b>:  Uncaught TypeError: OpenEMR\\Services\\FHIR\\FhirPatientService::getAll(): Argument #1 must be of type array, null given, called in /var/www/localhost/htdocs/openemr/apis/dispatch.php on line 27\nStack trace:\n#0 {main}\n";
    fixed(500, "text/html; charset=UTF-8", page)
}

fn sql_error() -> Value {
    let body = r#"{"error":"An error occurred","message":"SQLSTATE[42S22]: Unknown column 'patient_data.-_id' in 'order clause' in \/var\/www\/localhost\/htdocs\/openemr\/src\/Common\/Database\/QueryUtils.php, OpenEMR\\Services\\PatientService","code":0}"#;
    fixed(500, "application/json", body)
}

fn ask(gateway: &Gateway, target: &str, fields: &[(&str, &str)]) -> Answer {
    gateway.caller().send("GET", target, fields, b"")
}

/// Checks an error in FHIR's JSON, and gives its only issue.
fn issue(answer: &Answer, status: u16) -> Value {
    answer.outcome(status);
    let outcome = answer.json();
    assert_eq!(outcome["id"].as_str(), answer.field("x-request-id"), "{outcome}");
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    for name in ["www-authenticate", "set-cookie", "content-encoding", "location"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
    assert_eq!(outcome["issue"].as_array().unwrap().len(), 1, "{outcome}");
    outcome["issue"][0].clone()
}

#[test]
fn whatever_openemr_says_is_said_in_fhirs_words() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let denied = r#"{"error":"An error occurred","message":"Organization policy does not have permit access resource","code":0}"#;
    let mut connection = gateway.caller().connect();
    for (order, status, code, words) in [
        (json!({"error": "system"}), 500, "exception", "OpenEMR failed."),
        (json!({"error": "database"}), 503, "transient", "not available"),
        (json!({"error": "php_fpm_down"}), 503, "transient", "not available"),
        (json!({"error": "php_fpm_timeout"}), 504, "timeout", "did not finish in time"),
        (php_page(), 500, "exception", "OpenEMR failed."),
        (sql_error(), 500, "exception", "OpenEMR failed."),
        (fixed(500, "application/json", ""), 500, "exception", "OpenEMR failed."),
        (fixed(501, "text/html", ""), 501, "not-supported", "does not do this"),
        (fixed(404, "application/json", "[]"), 404, "not-found", "no Patient"),
        (fixed(404, "text/html; charset=utf-8", ""), 404, "not-found", "no Patient"),
        (
            fixed(404, "text/html", "<html><h1>Not Found</h1><address>Apache at 127.0.0.1 Port 80</address></html>"),
            404,
            "not-found",
            "no Patient",
        ),
        (json!({"refuse": "policy"}), 403, "forbidden", "Organization policy does not have permit access resource"),
        (fixed(403, "application/json", &format!("{denied}{denied}")), 403, "forbidden", "Organization policy"),
        (fixed(400, "application/json", &format!("Warning in /var/www/x.php {denied}")), 400, "invalid", "Organization policy"),
        (
            fixed(
                400,
                "application/json",
                r#"{"error":"invalid_request","error_description":"Bad.","hint":"Look at the date","message":"Bad."}"#,
            ),
            400,
            "invalid",
            "Look at the date",
        ),
        (
            fixed(
                422,
                "application/json",
                r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"business-rule","details":{"text":"Not on a Sunday"}}]}"#,
            ),
            422,
            "business-rule",
            "Not on a Sunday",
        ),
        (
            fixed(409, "application/json", r#"{"message":"OpenEMR\\Services\\PatientService says no"}"#),
            409,
            "conflict",
            "contradicts",
        ),
        (fixed(429, "application/json", "nonsense"), 429, "throttled", "too often"),
        (
            fixed(400, "application/json", &format!(r#"{{"message":"{}"}}"#, "x".repeat(300_000))),
            400,
            "invalid",
            "does not understand",
        ),
    ] {
        openemr.order(&json!({"fhir": order}));
        connection.write(&request("GET", PATIENTS, &[], b""));
        let answer = connection.read("GET");
        let said = issue(&answer, status);
        assert_eq!(said["code"], code, "{order}");
        assert!(said["diagnostics"].as_str().unwrap().contains(words), "{order}: {said}");
        for word in OF_THE_SERVER {
            assert!(!answer.text().contains(word), "{order}: {word}: {}", answer.text());
        }
        let line = gateway.access_line(answer.field("x-request-id").unwrap());
        assert!(line.contains(&format!("status={status}")) && line.contains("whole=true"), "{line}");
    }
    openemr.order(&json!({"fhir": null}));
    connection.write(&request("GET", "/fhir/Patient?_count=1", &[], b""));
    assert_eq!(connection.read("GET").status, 200);
}

#[test]
fn nobody_is_sent_to_another_address() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for status in [301, 302, 307] {
        openemr.order(&json!({"fhir": fixed(status, "text/html", "<a href=\"https://127.0.0.1/interface/login\">moved</a>")}));
        let said = issue(&ask(&gateway, PATIENTS, &[]), 502);
        assert!(said["diagnostics"].as_str().unwrap().contains("another address"), "{said}");
    }
}

#[test]
fn what_is_wrong_with_a_resource_names_its_elements() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config);
    let answer =
        gateway.caller().post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], br#"{"resourceType":"Patient"}"#);
    answer.outcome(400);
    let outcome = answer.json();
    let named = |issue: &Value| (issue["code"].as_str().unwrap().to_owned(), issue["expression"][0].as_str().unwrap().to_owned());
    let mut found: Vec<_> = outcome["issue"].as_array().unwrap().iter().map(named).collect();
    found.sort();
    let expected = ["Patient.birthDate", "Patient.gender", "Patient.name.family", "Patient.name.given"];
    assert_eq!(found, expected.map(|element| ("required".to_owned(), element.to_owned())));

    let answer = gateway.caller().get("/fhir/Patient/abc");
    let said = issue(&answer, 400);
    assert_eq!((said["code"].clone(), said["expression"].clone()), (json!("value"), json!(["Patient.id"])));

    let none = gateway.caller().post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], b"{\"name\":[]}");
    assert_eq!(issue(&none, 400)["diagnostics"], "resourceType Not Found");
}

#[test]
fn both_versions_are_said_alike() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = Gateway::start(&openemr);
        let unknown = ask(&gateway, "/fhir/Patient/11111111-2222-3333-4444-555555555555", &[]);
        assert_eq!(issue(&unknown, 404)["code"], "not-found", "{version}");
        openemr.order(&json!({"fhir": {"error": "system"}}));
        assert_eq!(issue(&ask(&gateway, PATIENTS, &[]), 500)["diagnostics"], "OpenEMR failed.", "{version}");
    }
}

#[test]
fn a_caller_who_prefers_xml_is_told_in_xml() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"fhir": {"error": "php_fpm_down"}}));
    for target in [PATIENTS, "/fhir/Patient/../x", "/fhir/Patient/%2e%2e"] {
        let answer = ask(&gateway, target, &[PREFERS_XML]);
        assert_eq!(answer.field("content-type"), Some("application/fhir+xml; charset=utf-8"), "{target}");
        let id = answer.field("x-request-id").unwrap();
        let text = answer.text();
        let begins = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><OperationOutcome xmlns="http://hl7.org/fhir"><id value="{id}"/><issue><severity value="error"/><code value=""#
        );
        assert!(text.starts_with(&begins) && text.ends_with("</issue></OperationOutcome>"), "{target}: {text}");
        assert_eq!(answer.status, if target == PATIENTS { 503 } else { 400 }, "{target}");
    }
    assert_eq!(
        ask(&gateway, PATIENTS, &[("Accept", "application/fhir+xml;q=0.5, application/fhir+json")]).outcome(503),
        "OpenEMR is not available at the moment."
    );
}

#[test]
fn a_refusal_of_the_gateways_token_is_never_the_callers() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let unauthorized = r#"{"error":"An error occurred","message":"Unauthorized","code":0}"#;
    for (content_type, body) in [("application/json", unauthorized), ("text/html", ""), ("text/html", "<h1>401</h1>")] {
        for target in ["/fhir/metadata/x", "/fhir/Patient/1/$docref", "/fhir/.well-known/other"] {
            openemr.order(&json!({"fhir": {"answer": {"status": 401, "content_type": content_type, "body": body}}}));
            let said = issue(&ask(&gateway, target, &[]), 403);
            assert_eq!(said["code"], "forbidden", "{target} {body}");
        }
    }
}

#[test]
fn heads_and_old_callers() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"fhir": php_page()}));
    let mut connection = gateway.caller().connect();
    for _ in 0..2 {
        connection.write(&request("HEAD", PATIENTS, &[], b""));
        let head = connection.read("HEAD");
        assert_eq!((head.status, head.field("content-type")), (500, Some("application/fhir+json; charset=utf-8")));
    }
    let mut old = gateway.caller().connect();
    old.write(b"GET /fhir/Patient HTTP/1.0\r\n\r\n");
    let answer = old.read("GET");
    assert!(matches!(answer.end, End::Whole | End::Closed) && answer.field("transfer-encoding").is_none(), "{answer:?}");
    assert_eq!((answer.status, answer.json()["resourceType"].clone()), (500, json!("OperationOutcome")));
}

#[test]
fn openemrs_own_words_are_in_no_log_and_their_kind_is_at_level_debug() {
    for (level, told) in [("debug", true), ("info", false)] {
        let openemr = OpenEmr::start();
        let mut config = config(&openemr);
        config["log"]["level"] = json!(level);
        let gateway = Gateway::with(config);
        openemr.order(&json!({"fhir": sql_error()}));
        let answer = ask(&gateway, PATIENTS, &[]);
        issue(&answer, 500);
        let id = answer.field("x-request-id").unwrap();
        gateway.access_line(id);
        let log = gateway.log();
        assert!(!log.contains("SQLSTATE"), "{log}");
        let kind = log.lines().any(|line| line.contains(id) && line.contains("OpenEMR answered 500 with a"));
        assert_eq!(kind, told, "{level}");
    }
}

#[test]
fn errors_of_the_gateways_own_are_outcomes_too() {
    // A port on which nobody listens.
    let gateway = Gateway::with(config_for("http://127.0.0.1:9"));
    for fields in [&[][..], &[PREFERS_XML]] {
        let answer = ask(&gateway, PATIENTS, fields);
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.text().contains("OperationOutcome") && answer.text().contains(answer.field("x-request-id").unwrap()));
        assert!(!answer.text().contains("127.0.0.1"));
    }
}

#[test]
fn switched_off_everything_passes_as_it_is() {
    let openemr = OpenEmr::start();
    for (site, value) in [("repairs", json!({"errors": false})), ("conformance", json!("pass_through"))] {
        let mut config = config(&openemr);
        config["sites"]["default"][site] = value;
        let gateway = Gateway::with(config);
        let body = r#"{"validationErrors":{"_id":"wrong"}}"#;
        for (status, content_type, body) in
            [(400, "application/json", body), (404, "application/json", "[]"), (503, "text/html", "<h1>503</h1>")]
        {
            openemr.order(&json!({"fhir": fixed(status, content_type, body)}));
            let answer = ask(&gateway, PATIENTS, &[]);
            assert_eq!(
                (answer.status, answer.text().as_str(), answer.field("content-type")),
                (status, body, Some(content_type)),
                "{site}"
            );
        }
        openemr.order(&json!({"fhir": null}));
    }
}
