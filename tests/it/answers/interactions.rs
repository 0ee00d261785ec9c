//! Interactions that OpenEMR does not support are rejected in FHIR's terms, until its CapabilityStatement lists them.

use crate::support::gateway::{Gateway, config};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;
use serde_json::json;

const ID: &str = "11111111-2222-3333-4444-555555555555";

fn ask(gateway: &Gateway, method: &str, path: &str) -> crate::support::http::Answer {
    gateway.caller().send(method, &format!("/fhir{}", path.replace("ID", ID)), &[], b"")
}

#[test]
fn what_openemr_does_not_route_is_refused_here() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let gateway = Gateway::start(&openemr);
        let before = openemr.count("fhir_requests");
        for (method, path, status, allow) in [
            ("PATCH", "/Patient/ID", 405, Some("GET, HEAD, PUT")),
            ("DELETE", "/Patient/ID", 405, Some("GET, HEAD, PUT")),
            ("DELETE", "/Observation/ID", 405, Some("GET, HEAD")),
            ("POST", "/Observation", 405, Some("GET, HEAD")),
            ("PUT", "/Patient?identifier=1", 405, Some("GET, HEAD, POST")),
            ("GET", "/Patient/ID/_history", 501, None),
            ("GET", "/Patient/ID/_history/1", 501, None),
            ("GET", "/Patient/_history", 501, None),
            ("GET", "/_history", 501, None),
            ("GET", "/Patient/ID/Observation", 501, None),
            ("GET", "/Patient/ID/$everything", 501, None),
            ("POST", "", 501, None),
            ("GET", "", 501, None),
            ("GET", "/Nonsense", 404, None),
            ("POST", "/Nonsense/ID", 404, None),
            ("GET", "/patient", 404, None),
        ] {
            let answer = ask(&gateway, method, path);
            let said = answer.outcome(status);
            assert_eq!(answer.field("allow"), allow, "{version} {method} {path}: {said}");
            let code = answer.json()["issue"][0]["code"].clone();
            assert_eq!(code, if status == 404 { "not-found" } else { "not-supported" }, "{version} {method} {path}");
        }
        assert_eq!(openemr.count("fhir_requests"), before, "{version}");
        assert!(ask(&gateway, "GET", "/Pateint/1").outcome(404).contains("Is Patient meant?"));
    }
}

#[test]
fn the_connection_goes_on_behind_a_refusal_with_a_body() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut connection = gateway.caller().connect();
    for _ in 0..3 {
        connection.write(&request(
            "PATCH",
            &format!("/fhir/Patient/{ID}"),
            &[("Content-Type", "application/json-patch+json")],
            b"[]",
        ));
        connection.read("PATCH").outcome(405);
    }
    connection.write(&request("GET", "/fhir/Patient?_count=1", &[], b""));
    assert_eq!(connection.read("GET").status, 200);
}

#[test]
fn what_works_is_never_refused_here_listed_or_not() {
    for version in ["8.0", "7.0.3"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let mut config = config(&openemr);
        config["sites"]["default"]["repairs"] = json!({"bulk_data": false, "documents": false});
        let gateway = Gateway::with(config);
        for (method, path) in [
            ("GET", "/Patient"),
            ("HEAD", "/Patient/ID"),
            ("POST", "/Patient"),
            ("PUT", "/Patient/ID"),
            ("POST", "/Patient/_search"),
            ("GET", "/Binary/1"),
            ("GET", "/Patient/$export"),
            ("GET", "/$bulkdata-status?job=1"),
            ("DELETE", "/$bulkdata-status?job=1"),
            ("POST", "/DocumentReference/$docref?patient=1"),
            ("GET", "/OperationDefinition"),
            ("GET", "/OperationDefinition/$export"),
            ("GET", "/.well-known/smart-configuration"),
            ("GET", "/Claim"),
        ] {
            let (path_only, _) = path.split_once('?').unwrap_or((path, ""));
            let received =
                format!("{} /apis/default/fhir{}", if method == "HEAD" { "GET" } else { method }, path_only.replace("ID", ID));
            let before = openemr.came(&received);
            ask(&gateway, method, path);
            assert!(openemr.came(&received) > before, "{version} {method} {path}");
        }
    }
}

#[test]
fn what_a_newer_openemr_announces_passes() {
    let openemr = OpenEmr::start();
    let statement = json!({"resourceType": "CapabilityStatement", "software": {"name": "OpenEMR"}, "rest": [{
        "mode": "server", "interaction": [{"code": "batch"}], "operation": [{"name": "everything"}],
        "resource": [
            {"type": "Patient", "interaction": [{"code": "patch"}, {"code": "vread"}], "conditionalUpdate": true},
            {"type": "NewResource", "interaction": [{"code": "read"}]},
        ],
    }]});
    openemr.order(&json!({"fhir": {"target": "/metadata", "answer": {"status": 200, "body": statement.to_string()}}}));
    let gateway = Gateway::start(&openemr);
    for (method, path) in [
        ("PATCH", "/Patient/ID"),
        ("GET", "/Patient/ID/_history/1"),
        ("GET", "/Patient/ID/$everything"),
        ("PUT", "/Patient"),
        ("GET", "/NewResource/1"),
        ("POST", ""),
    ] {
        let received = format!("{method} /apis/default/fhir{}", path.replace("ID", ID));
        let before = openemr.came(&received);
        ask(&gateway, method, path);
        assert_eq!(openemr.came(&received), before + 1, "{method} {path}");
    }
    ask(&gateway, "DELETE", "/Patient/ID").outcome(405);
    ask(&gateway, "POST", "/Patient").outcome(405);
}

#[test]
fn without_a_capability_statement_everything_passes() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"fhir": {"target": "/metadata", "error": "system"}}));
    let gateway = Gateway::start(&openemr);
    for (method, path) in [("PATCH", "/Patient/ID"), ("GET", "/Nonsense")] {
        ask(&gateway, method, path).outcome(404);
        assert_eq!(openemr.came(&format!("{method} /apis/default/fhir{}", path.replace("ID", ID))), 1, "{method} {path}");
    }
}

#[test]
fn refusals_can_be_switched_off() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["repairs"] = json!({"interactions": false});
    let gateway = Gateway::with(config);
    ask(&gateway, "PATCH", "/Patient/ID").outcome(404);
    assert_eq!(openemr.came(&format!("PATCH /apis/default/fhir/Patient/{ID}")), 1);
}
