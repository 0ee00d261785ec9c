//! Provenance, which OpenEMR makes from the other types of the same job: none is lost in silence, and what fails of it costs no
//! other type.

use std::collections::BTreeSet;

use super::{ended, errors, exporting, kick_off, kick_offs};
use crate::support::gateway::Gateway;
use crate::support::http::{Caller, End};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

/// The resources of all files of a type, in the order of the manifest.
pub(super) fn resources(caller: &Caller, manifest: &Value, resource_type: &str) -> Vec<Value> {
    let listed = manifest["output"].as_array().unwrap().iter().filter(|entry| entry["type"] == *resource_type);
    let read = |entry: &Value| {
        let answer = caller.get(entry["url"].as_str().unwrap().strip_prefix("http://gateway.example").unwrap());
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{entry}");
        answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    listed.flat_map(read).collect()
}

/// The resources that Provenance is of.
fn targets(provenance: &[Value]) -> BTreeSet<String> {
    provenance.iter().map(|one| one["target"][0]["reference"].as_str().unwrap().to_owned()).collect()
}

fn references(resources: &[Value]) -> BTreeSet<String> {
    let reference = |one: &Value| format!("{}/{}", one["resourceType"].as_str().unwrap(), one["id"].as_str().unwrap());
    resources.iter().map(reference).collect()
}

fn types(manifest: &Value) -> Vec<&str> {
    manifest["output"].as_array().unwrap().iter().map(|entry| entry["type"].as_str().unwrap()).collect()
}

#[test]
fn each_resource_has_its_provenance() {
    for version in ["8.0", "7.0.3", "next"] {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::with(exporting(&openemr, &["Patient", "Provenance", "Condition"], &folder));
        let caller = gateway.caller();
        for (query, of) in [("?_type=Condition,Provenance", &["Condition"][..]), ("", &["Patient", "Condition"])] {
            let manifest = ended(&caller, &kick_off(&caller, &format!("/fhir/Patient/$export{query}"))).json();
            assert_eq!(manifest["error"], json!([]), "{version}");
            let resources: Vec<Value> =
                of.iter().flat_map(|name| super::provenance::resources(&caller, &manifest, name)).collect();
            let provenance = self::resources(&caller, &manifest, "Provenance");
            assert_eq!(targets(&provenance), references(&resources), "{version} {query}");
            assert_eq!((provenance.len(), resources.is_empty()), (resources.len(), false));
            assert_eq!(types(&manifest).len(), 2 * of.len());
        }
    }
}

#[test]
fn provenance_alone_is_that_of_all_other_types_and_nothing_else_is_handed_out() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Provenance", "Patient", "Condition", "Medication"], &folder));
    let caller = gateway.caller();
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export?_type=Provenance")).json();
    assert_eq!((types(&manifest), &manifest["error"]), (vec!["Provenance", "Provenance"], &json!([])));
    assert_eq!(resources(&caller, &manifest, "Provenance").len(), 30);
    assert_eq!(kick_offs(&openemr).len(), 2, "no type has a job of its own");

    let gateway = Gateway::with(exporting(&openemr, &["Provenance", "Medication"], &folder));
    let told = gateway.caller().send("GET", "/fhir/$export?_type=Provenance", &super::KICK_OFF, b"").outcome(403);
    assert!(told.contains("made from other types"), "{told}");
}

#[test]
fn a_job_that_takes_too_long_costs_its_provenance_and_no_other_follows() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Observation", "Patient", "Provenance", "Condition"], &folder);
    config["sites"]["default"]["timeouts"] = json!({"export": "4s"});
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    openemr.order(&json!({"fhir": [
        {"target": "_type=Patient,Provenance", "delay_ms": 12_000},
        {"target": "_type=Patient", "delay_ms": 500}, {"target": "_type=Observation", "delay_ms": 1_000},
    ]}));
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export")).json();
    for (name, count) in [("Patient", 20), ("Observation", 108), ("Condition", 10)] {
        assert_eq!(resources(&caller, &manifest, name).len(), count, "{name}");
    }
    // The shortest job came first.
    assert_eq!(targets(&resources(&caller, &manifest, "Provenance")), references(&resources(&caller, &manifest, "Condition")));
    let said = errors(&caller, &manifest);
    let has = |words: &str| said.iter().any(|said| said.starts_with(words));
    assert!(has("Provenance of Patient: OpenEMR did not come to an end in time"), "{said:?}");
    assert!(has("Provenance of Observation: OpenEMR was not asked for it, because it may still be at work"), "{said:?}");
    assert_eq!((said.len(), openemr.came("GET /apis/default/fhir/$export")), (2, 5), "{said:?}");
}

#[test]
fn a_job_that_fails_at_once_costs_its_own_provenance_alone() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Provenance", "Condition"], &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"fhir": {"target": "_type=Patient,Provenance", "error": "system"}}));
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export")).json();
    assert_eq!(errors(&caller, &manifest), ["Provenance of Patient: OpenEMR failed with status 500. It was not tried again."]);
    assert_eq!(targets(&resources(&caller, &manifest, "Provenance")), references(&resources(&caller, &manifest, "Condition")));
    assert_eq!(resources(&caller, &manifest, "Patient").len(), 20);
}

#[test]
fn a_type_that_failed_is_not_asked_for_again_with_its_provenance() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Provenance", "Condition"], &folder));
    let caller = gateway.caller();
    openemr.order(&json!({"fhir": {"target": "_type=Patient", "error": "php_fpm_timeout", "times": 1}}));
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export")).json();
    let said = errors(&caller, &manifest);
    assert!(said[0].starts_with("Patient: OpenEMR failed with status 504"), "{said:?}");
    assert!(said[1].starts_with("Provenance of Patient: The export of the type itself failed"), "{said:?}");
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(types(&manifest), ["Condition", "Provenance"]);
}
