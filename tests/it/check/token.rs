//! The table "The gateway gets no token" of docs/troubleshooting.md.

use super::{check, check_in, check_with, says, with_scopes};
use crate::support::command::{Folder, own_key};
use crate::support::gateway::{config, copy_keys};
use crate::support::openemr::{CLIENT, OpenEmr};
use serde_json::{Value, json};

/// What `check` says of an OpenEMR with this fault at its token endpoint.
fn refused(fault: &Value, code: i32, words: &[&str]) {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"token": fault}));
    let checked = check(&config(&openemr));
    checked.fails("token", code, words);
    assert_eq!(checked.ended("scopes", "skipped")["because"], "token");
    assert_eq!(checked.ended("count", "skipped")["because"], "token");
    checked.ended("metadata", "ok");
}

/// A token endpoint that answers with this.
fn answer(status: u16, body: &Value) -> Value {
    json!({"answer": {"status": status, "body": body.to_string()}})
}

#[test]
fn a_client_that_is_not_enabled_is_401_with_the_click_that_enables_it() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"clients": {CLIENT: {"enabled": false}}}));
    let audience = format!("aud {}/oauth2/default/token", openemr.base);
    let words = ["401 invalid_client", "not enabled", "Admin > System > API Clients", "Enable Client", "kid ", &audience];
    check(&config(&openemr)).fails("token", 4, &words);
}

#[test]
fn a_key_that_is_not_registered_is_400_with_the_command_that_compares() {
    let openemr = OpenEmr::start();
    let other = own_key(&Folder::good());
    openemr.order(&json!({"clients": {CLIENT: {"jwks": {"keys": [other]}}}}));
    let words = ["400 invalid_client", "not the first RSA key", "keys kid --private-key", "kid "];
    check(&config(&openemr)).fails("token", 4, &words);
}

#[test]
fn another_audience_is_seen_in_the_smart_configuration() {
    let openemr = OpenEmr::with(&["--site-address", "https://emr.example.org"]);
    let checked = check(&config(&openemr));
    let remedy = "token_audience: https://emr.example.org/oauth2/default/token";
    checked.fails("token", 4, &["400 invalid_client", remedy, &openemr.base]);
    says(checked.ended("discovery", "warning"), &["https://emr.example.org/oauth2/default/token", remedy]);
    let mut mended = config(&openemr);
    mended["sites"]["default"]["token_audience"] = json!("https://emr.example.org/oauth2/default/token");
    check(&mended).passes();
}

#[test]
fn system_scopes_that_are_off_and_scopes_that_do_not_exist() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"system_scopes": "off"}));
    let words = ["400 invalid_scope", "Check the `system/Patient.read` scope", "Enable OpenEMR FHIR System Scopes"];
    check(&config(&openemr)).fails("token", 4, &words);
    let old = OpenEmr::with(&["--openemr", "7.0.3"]);
    check(&with_scopes(&old, &["system/Patient.rs"])).fails("token", 4, &["invalid_scope", "system/Patient.rs"]);
}

#[test]
fn the_other_answers_of_the_token_endpoint() {
    let error = |error: &str| json!({"error": error, "error_description": "Client authentication failed"});
    refused(&json!({"refuse": "issued_too_long_ago"}), 4, &["400 invalid_request", "issued too far in the past", "NTP"]);
    refused(&json!({"refuse": "not_set_up"}), 4, &["500 server_error", "oe-system", "try again"]);
    refused(&answer(429, &error("slow_down")), 4, &["429 slow_down", "wait"]);
    refused(&answer(200, &error("invalid_client")), 4, &["200 invalid_client", "first RSA key", "keys kid"]);
    refused(
        &answer(404, &json!({"error": "An error occurred"})),
        4,
        &["404 An error occurred", "APIs are off", "Enable OpenEMR Standard FHIR REST API"],
    );
    refused(&json!({"answer": {"status": 404}}), 3, &["OpenEMR's API is not there", "sub-folder"]);
    refused(&json!({"html": true}), 3, &["HTML page"]);
    refused(&json!({"down": true}), 3, &["closed"]);
}

#[test]
fn an_endpoint_that_does_not_answer_names_the_limit() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"token": {"silent": true}}));
    let mut config = config(&openemr);
    config["sites"]["default"]["timeouts"] = json!({"token": "1s"});
    check(&config).fails("token", 3, &["did not answer within 1s", "timeouts.token", "jwks_uri"]);
}

#[test]
fn scopes_that_are_not_granted_are_named() {
    let none = OpenEmr::with(&["--scope", "system/Encounter.read"]);
    let words = ["200 with an empty scope", "not registered", "register a new client", "cannot be changed later"];
    check(&config(&none)).fails("token", 4, &words);

    let fewer = OpenEmr::with(&["--scope", "system/Patient.read"]);
    let config = with_scopes(&fewer, &["system/Patient.read", "system/Observation.read"]);
    let checked = check(&config);
    checked.passes();
    says(checked.ended("scopes", "warning"), &["1 of 2", "system/Observation.read", "register a new client"]);
    assert_eq!(checked.steps("count").len(), 1, "{}", checked.said);
    assert_eq!(checked.document["verdict"], "warning");
    assert_eq!(check_with(&config, &["--strict"]).code, 5);
}

#[test]
fn a_clock_that_is_wrong_is_named_and_corrected() {
    let openemr = OpenEmr::with(&["--clock-offset", "600"]);
    let checked = check(&config(&openemr));
    checked.passes();
    says(checked.ended("clock", "warning"), &["behind OpenEMR's", "NTP"]);
    checked.ended("token", "ok");
}

#[test]
fn a_rotation_in_progress_is_said() {
    let openemr = OpenEmr::start();
    let folder = Folder::empty();
    let mut config = config(&openemr);
    copy_keys(&mut config, &folder.path(""));
    folder.chmod("private_key.pem", 0o600);
    folder.write("gateway.yaml", &config.to_string());
    assert_eq!(folder.run(&["keys", "rotate", "--config", "gateway.yaml"]).code, 0);
    let checked = check_in(&folder, &["--config", "gateway.yaml"]);
    checked.passes();
    says(checked.ended("keys", "ok"), &["a rotation is in progress", "the old key signs", "keys status"]);
}

#[test]
fn a_token_endpoint_that_has_to_be_discovered() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    let site = config["sites"]["default"].as_object_mut().unwrap();
    site.remove("openemr");
    site.insert("fhir_base".to_owned(), json!(format!("{}/apis/default/fhir", openemr.base)));
    let checked = check(&config);
    checked.passes();
    says(checked.ended("discovery", "ok"), &["/oauth2/default/token, and assertions are addressed to it"]);
    let smart = "smart-configuration";
    openemr.order(&json!({"fhir": {"target": smart, "answer": {"status": 200, "body": "{}"}}}));
    let checked = check(&config);
    checked.fails("discovery", 4, &["it names no token_endpoint", "Site Address Override"]);
    assert_eq!(checked.ended("token", "skipped")["because"], "discovery");
}
