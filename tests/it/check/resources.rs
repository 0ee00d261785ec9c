//! From the CapabilityStatement to a patient: what can be searched, and what keeps it from being found.

use super::{check, says, with_scopes};
use crate::support::broken::dripping;
use crate::support::gateway::config;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

#[test]
fn each_type_of_the_scopes_is_counted_where_that_is_little_work() {
    for version in ["8.0", "7.0.3", "next"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let scopes = [
            "system/Encounter.read",
            "system/Patient.read",
            "system/Organization.read",
            "system/Provenance.read",
            "system/Binary.read",
        ];
        let checked = check(&with_scopes(&openemr, &scopes));
        checked.passes();
        let counts: Vec<(&str, &str)> =
            checked.steps("count").iter().map(|step| (step["did"].as_str().unwrap(), step["found"].as_str().unwrap())).collect();
        let expected = [
            ("count Patient", "20"),
            ("count Encounter of one patient", "2"),
            ("count Organization", "3"),
            ("search Provenance by an id that nobody has", "it may be searched"),
        ];
        assert!(expected.iter().all(|one| counts.contains(one)) && counts.len() == 4, "{version}: {counts:?}");
        assert_eq!(openemr.count("token_requests"), 1, "{version}");
    }
}

#[test]
fn a_large_population_is_not_read_whole() {
    let openemr = OpenEmr::with(&["--patients", "300"]);
    let checked = check(&with_scopes(&openemr, &["system/Patient.read"]));
    assert_eq!(checked.ended("count", "ok")["found"], "200 or more");
    let old = OpenEmr::with(&["--patients", "4000", "--openemr", "7.0.3"]);
    let checked = check(&with_scopes(&old, &["system/Patient.read", "system/Encounter.read"]));
    assert_eq!(checked.ended("count", "ok")["found"], "4000");
    says(checked.steps("count")[1], &["count Encounter of one patient"]);
}

#[test]
fn no_resource_is_shown() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"resources": [{
        "resourceType": "Patient", "id": "zebedee-1", "name": [{"use": "official", "family": "Zebedee", "given": ["Q"]}],
    }]}));
    let checked = check(&config(&openemr));
    checked.passes();
    assert!(!checked.said.to_lowercase().contains("zebedee"), "{}", checked.said);
}

#[test]
fn types_that_nobody_asked_for_are_not_searched() {
    let openemr = OpenEmr::start();
    let granted: Vec<String> = (0..50).map(|number| format!("system/A{number}.read")).collect();
    let granted = format!("{} system/Patient.read system/Observation.read", granted.join(" "));
    let token = json!({"access_token": "a", "token_type": "Bearer", "expires_in": 300, "scope": granted});
    openemr.order(&json!({"token": {"answer": {"status": 200, "body": token.to_string()}}}));
    let checked = check(&with_scopes(&openemr, &["system/Patient.read", "system/Encounter.read"]));
    assert_eq!(checked.steps("count").len(), 1, "{}", checked.said);
    says(checked.ended("scopes", "warning"), &["1 of 2", "system/Encounter.read"]);
}

#[test]
fn an_answer_that_never_ends_meets_a_limit() {
    let tokens = OpenEmr::start();
    let at = |base: String| {
        let mut config = with_scopes(&tokens, &["system/Patient.read"]);
        config["sites"]["default"]["fhir_base"] = json!(format!("{base}/fhir"));
        config["sites"]["default"]["timeouts"] = json!({"token": "2s", "read": "2s"});
        check(&config)
    };
    let words = ["no whole answer within 2s", "raise timeouts.read"];
    let checked = at(dripping(None));
    says(checked.ended("discovery", "warning"), &["no whole answer within 2s", "raise timeouts.token"]);
    checked.fails("metadata", 3, &words);
    let statement = r#"{"resourceType":"CapabilityStatement","rest":[{"resource":[{"type":"Patient"}]}]}"#;
    at(dripping(Some(statement))).fails("count", 4, &words);
}

/// What is said of a search for patients that meets this fault.
fn fails(fault: &Value, words: &[&str]) {
    let openemr = OpenEmr::start();
    let mut fault = fault.clone();
    fault["target"] = json!("/Patient");
    openemr.order(&json!({"fhir": fault}));
    check(&with_scopes(&openemr, &["system/Patient.read"])).fails("count", 4, words);
}

#[test]
fn a_search_that_is_refused_or_fails_says_what_to_look_at() {
    fails(&json!({"refuse": "scope_missing"}), &["401", "refuses the search although", "system/Patient.read", "log"]);
    fails(&json!({"error": "system"}), &["500", "OpenEMR failed", "log"]);
    fails(&json!({"error": "database"}), &["503", "database cannot be reached", "start the database"]);
    fails(&json!({"html": true}), &["HTML page"]);
    fails(&json!({"answer": {"status": 200, "body": "[]"}}), &["200 without a Bundle", "not FHIR"]);
}

#[test]
fn a_capability_statement_that_cannot_be_read_says_why() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"fhir": {"target": "/metadata", "error": "system"}}));
    let checked = check(&config(&openemr));
    checked.fails("metadata", 4, &["500", "OpenEMR's own log"]);
    assert_eq!(checked.ended("count", "skipped")["because"], "metadata");
    assert_eq!(checked.ended("version", "skipped")["because"], "metadata");
    checked.ended("token", "ok");
}

#[test]
fn a_type_that_this_version_does_not_have_is_a_warning() {
    let old = OpenEmr::with(&["--openemr", "7.0.3"]);
    old.order(&json!({"fhir": {"target": "/ServiceRequest", "answer": {"status": 404, "body": "{}"}}}));
    let checked = check(&with_scopes(&old, &["system/Patient.read"]));
    checked.passes();
}

#[test]
fn the_version_and_what_is_particular_to_it_are_named() {
    let old = check(&config(&OpenEmr::with(&["--openemr", "7.0.3"])));
    says(old.ended("version", "ok"), &["OpenEMR 7.0.3", "nothing can be written", "Practitioner cannot be searched by name"]);
    let new = check(&config(&OpenEmr::start()));
    says(new.ended("version", "ok"), &["7.0.4 or later", "--release", "more than 5 minutes ago", "Goal cannot be searched by"]);
    let next = check(&config(&OpenEmr::with(&["--openemr", "next"])));
    says(next.ended("version", "ok"), &["OpenEMR 8.4.0", "up to 8.1"]);
}
