//! What is recorded of requests and events.

use serde_json::{Value, json};

use super::trail::{Trail, is_private};
use crate::access::case_rows::filled;
use crate::access::limited::Clinic;
use crate::support::http::Answer;

/// The clinic with a trail.
fn audited(more: &Value) -> (Clinic, Trail) {
    let trail = Trail::new();
    let clinic = Clinic::with(|config| trail.keep_with(config, more));
    (clinic, trail)
}

/// The record of an answered request, which must be there by now.
fn record_of(trail: &Trail, answer: &Answer) -> Value {
    trail.of_request(answer.field("x-request-id").unwrap())
}

#[test]
fn each_request_to_a_fhir_route_has_one_record_when_its_answer_has_come() {
    let (clinic, trail) = audited(&json!({"ids": "plain"}));
    let p1 = filled("{P1}");
    for (client, method, target, body, expected) in [
        ("all", "GET", "/Patient/{P1}", "", json!({"interaction": "read", "type": "Patient", "id": p1, "status": 200, "outcome": "success",
            "decision": "allowed", "patients": [p1], "entries": 1, "credential": "api_key"})),
        ("all", "HEAD", "/Patient/{P1}", "", json!({"interaction": "read", "status": 200, "bytes": 0})),
        ("vit", "GET", "/Observation", "", json!({"interaction": "search-type", "decision": "narrowed", "outcome": "success"})),
        ("all", "GET", "/Observation/{O1}", "", json!({"id": filled("{O1}"), "patients": [p1], "patients_unknown": null})),
        ("all", "GET", "/Observation/{O0}", "", json!({"patients": null, "patients_unknown": true})),
        ("all", "GET", "/Patient?_id={P1}", "", json!({"interaction": "search-type", "patients": [p1], "entries": 1})),
        ("all", "GET", "/Patient?_id=nobody", "", json!({"entries": 0, "patients": null, "patients_unknown": null})),
        ("all", "GET", "/Patient/9d6cf1e0-0000-4000-8000-000000000000", "", json!({"status": 404, "outcome": "refused", "patients": null})),
        ("all", "GET", "/Patient?_sort=favourite", "", json!({"status": 400, "outcome": "refused"})),
        ("all", "GET", "/Nothing/1", "", json!({"status": 404, "type": null})),
        ("vit", "GET", "/Condition/{C1}", "", json!({"status": 403, "outcome": "refused", "decision": "refused"})),
        ("all", "GET", "/metadata", "", json!({"interaction": "capabilities", "status": 200, "patients_unknown": null})),
        ("nobody", "GET", "/Patient/{P1}", "", json!({"status": 401, "outcome": "refused", "decision": null, "client": null,
            "credential": "none"})),
        ("all", "GET", "/Patient/%2e%2e/x", "", json!({"status": 400, "outcome": "refused", "interaction": null})),
        ("all", "DELETE", "/Patient/{P1}", "", json!({"interaction": "delete"})),
    ] {
        let answer = clinic.ask(client, method, &filled(target), &[], body);
        let record = record_of(&trail, &answer);
        assert_eq!(record["status"], answer.status, "{method} {target}");
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(record[key], *value, "{key} of {method} {target}: {record}");
        }
        assert_eq!(record["address"], "127.0.0.1");
        assert!(record["duration_ms"].as_f64().unwrap() > 0.0 && record["time"].is_string());
        if record["status"] != 401 && record["interaction"].is_string() {
            assert_eq!((&record["client"], &record["site"]), (&json!(client), &json!("default")), "{target}");
        }
        if method != "HEAD" {
            assert_eq!(record["bytes"], answer.body.len(), "{method} {target}");
        }
    }
    assert!(trail.files().iter().all(|file| is_private(file)) && is_private(&trail.folder()));
}
