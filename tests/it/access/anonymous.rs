//! Callers without credentials where they have a policy: what it refuses, a credential could permit.

use serde_json::{Value, json};

use super::api_keys::{client, digest_of, key_of};
use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;

const PATIENTS: &str = "/fhir/Patient?_count=1";
const OBSERVATIONS: &str = "/fhir/Observation?_count=1";

/// A gateway with this policy for callers without credentials, and one client.
fn gateway(openemr: &OpenEmr, policy: &Value) -> Gateway {
    let mut config = config(openemr);
    config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
    config["access"]["policies"] = json!({"public": policy});
    config["access"]["anonymous"] = json!("public");
    let limited = json!({"scopes": ["system/Patient.rs"], "api_keys": [digest_of("limited")]});
    config["access"]["clients"] = json!({"lab": client("lab"), "limited": limited});
    Gateway::with(config)
}

fn is_asked_for(answer: &Answer) {
    let text = answer.outcome(401);
    assert_eq!(answer.json()["issue"][0]["code"], "login", "{text}");
    assert_eq!(answer.field("www-authenticate"), Some("Bearer realm=\"openemr-gateway\""));
}

#[test]
fn a_caller_without_a_credential_is_asked_for_one_where_its_policy_refuses_it() {
    let openemr = OpenEmr::start();
    let gateway = gateway(&openemr, &json!({"scopes": []}));
    let caller = gateway.caller();
    let export = [("Prefer", "respond-async")];
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let json_body = [("Content-Type", "application/fhir+json")];
    let before = openemr.count("fhir_requests");
    for (method, target, fields, body) in [
        ("GET", PATIENTS, &[][..], &b""[..]),
        ("GET", "/fhir/Patient/p1", &[], b""),
        ("POST", "/fhir/Patient/_search", &form, b"name=a"),
        ("POST", "/fhir/Patient", &json_body, br#"{"resourceType":"Patient"}"#),
        ("DELETE", "/fhir/Patient/p1", &[], b""),
        ("GET", "/fhir/$export", &export, b""),
        ("GET", "/fhir/Patient/$export", &export, b""),
    ] {
        is_asked_for(&caller.send(method, target, fields, body));
    }
    assert_eq!(openemr.count("fhir_requests"), before, "none reached OpenEMR");
    // What is wrong whoever asks is no matter of credentials, and the documents are everybody's.
    caller.get("/fhir/Patient?_REWRITE_COMMAND=x").outcome(400);
    for document in ["/fhir/metadata", "/fhir/.well-known/smart-configuration"] {
        assert_eq!(caller.get(document).status, 200, "{document}");
    }
    let token = caller.post("/oauth/token?force=true", &[], b"");
    assert_eq!((token.status, &token.json()["error"]), (401, &json!("unauthorized")));
    assert!(token.field("www-authenticate").is_some());
}

#[test]
fn one_with_a_credential_is_told_that_it_is_not_allowed() {
    let openemr = OpenEmr::start();
    let gateway = gateway(&openemr, &json!({"scopes": ["system/Patient.rs"]}));
    let get = |target: &str, key: &str| gateway.caller().send("GET", target, &[("X-API-Key", key)], b"");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    is_asked_for(&gateway.caller().get(OBSERVATIONS));
    assert_eq!(get(OBSERVATIONS, &key_of("lab")).status, 200);
    let answer = get(OBSERVATIONS, &key_of("limited"));
    let text = answer.outcome(403);
    assert!(text.contains("system/Observation.s"), "{text}");
    assert_eq!((&answer.json()["issue"][0]["code"], answer.field("www-authenticate")), (&json!("forbidden"), None));
    let challenge = get(PATIENTS, &key_of("nobody"));
    assert!(challenge.field("www-authenticate").unwrap().contains("invalid_token"), "a wrong one is no missing one");
}

#[test]
fn where_there_are_no_clients_no_credential_is_asked_for() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["access"]["anonymous"] = json!("metadata-only");
    let gateway = Gateway::with(config);
    let answer = gateway.caller().get(PATIENTS);
    answer.outcome(403);
    assert_eq!(answer.field("www-authenticate"), None);
}
