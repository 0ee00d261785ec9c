//! Exports belong to the client that asked for them.

use std::fs;

use serde_json::{Value, json};

use super::api_keys::{client, digest_of};
use super::exporting::{NO_JOB, Ward, below, file, job};
use crate::support::http::Answer;

fn two() -> Value {
    json!({"lab": client("lab"), "app": client("app")})
}

/// What of an answer does not name the request itself.
fn lasting(answer: &Answer) -> (u16, String, Vec<(String, String)>) {
    let mut fields = answer.fields.clone();
    fields.retain(|(name, _)| !["date", "x-request-id", "traceparent"].contains(&name.to_ascii_lowercase().as_str()));
    // An OperationOutcome has the request's name, too.
    let text = answer.text().replace(answer.field("x-request-id").unwrap(), "");
    (answer.status, text, fields)
}

#[test]
fn an_export_is_there_for_its_client_alone() {
    let ward = Ward::with(two());
    let status = ward.kick_off("lab", "/$export?_type=Patient,Medication");
    let manifest = ward.ended("lab", &status);
    assert_eq!(manifest["requiresAccessToken"], true);
    assert!(!manifest.to_string().contains("Binary"), "{manifest}");
    let errors = below(&manifest["error"][0]["url"]);
    let file = file(&manifest, "Patient");
    for (method, target) in [
        ("GET", &status),
        ("HEAD", &status),
        ("DELETE", &status),
        ("GET", &errors),
        ("HEAD", &errors),
        ("GET", &file),
        ("HEAD", &file),
    ] {
        let unknown = ward.ask("lab", method, &target.replace(job(&status), NO_JOB), &[], "");
        let foreign = ward.ask("app", method, target, &[], "");
        assert_eq!(foreign.status, 404, "{method} {target}");
        assert_eq!(lasting(&foreign), lasting(&unknown), "{method} {target}");
        assert_eq!(ward.ask("", method, target, &[], "").status, 401, "{method} {target}");
    }
    // Nothing of that was asked of OpenEMR, and the export is still there.
    assert_eq!(ward.came("/Binary/"), 0);
    assert_eq!(ward.ended("lab", &status), manifest);
    let answer = ward.get("lab", &file);
    assert_eq!(answer.field("content-disposition"), Some("attachment; filename=\"Patient-1.ndjson\""));
    assert_eq!(ward.lines("lab", &manifest, "Patient").len(), 20);
    assert!(ward.errors("lab", &manifest).contains("Medication"));
    assert_eq!(ward.ask("lab", "DELETE", &status, &[], "").status, 202);
    for target in [&status, &errors, &file] {
        ward.get("lab", target).outcome(404);
    }
}

#[test]
fn an_export_that_is_under_way_is_there_for_its_client_alone() {
    let ward = Ward::with(two());
    ward.openemr.order(&json!({"export": {"type_takes_ms": 2_000}}));
    let status = ward.kick_off("lab", "/$export?_type=Patient");
    assert_eq!(ward.get("lab", &status).status, 202);
    ward.get("app", &status).outcome(404);
    ward.ask("app", "DELETE", &status, &[], "").outcome(404);
    // Its files have no names yet.
    ward.get("lab", &format!("/fhir/$bulkdata-file/{}/Patient-1.ndjson", job(&status))).outcome(404);
    let manifest = ward.ended("lab", &status);
    assert_eq!(ward.lines("lab", &manifest, "Patient").len(), 20);
}

#[test]
fn a_client_that_a_reload_removes_loses_its_exports() {
    let mut ward = Ward::with(two());
    let status = ward.kick_off("lab", "/$export?_type=Patient");
    let manifest = ward.ended("lab", &status);
    let file = file(&manifest, "Patient");
    // The same key, of another client.
    ward.reload(json!({"lab2": {"policy": "everything", "api_keys": [digest_of("lab")]}, "app": client("app")}));
    for target in [&status, &file] {
        ward.get("lab", target).outcome(404);
        ward.get("app", target).outcome(404);
    }
    ward.reload(json!({"app": client("app")}));
    ward.get("lab", &status).outcome(401);
    // Nor is it everybody's where there are no clients.
    ward.reload(Value::Null);
    for target in [&status, &file] {
        ward.get("", target).outcome(404);
    }
    ward.reload(two());
    assert_eq!(ward.lines("lab", &manifest, "Patient").len(), 20);
}

#[test]
fn without_clients_exports_are_everybodys_and_no_clients_later() {
    let mut ward = Ward::with(Value::Null);
    let status = ward.kick_off("", "/$export?_type=Patient");
    let manifest = ward.ended("", &status);
    assert_eq!(manifest["requiresAccessToken"], false);
    assert_eq!(ward.lines("", &manifest, "Patient").len(), 20);
    // As version 1 of the plan was stored, which knew no owners.
    let stored = ward.folder.path().join(format!("bulk/default/{}.json", job(&status)));
    let mut plan: Value = serde_json::from_slice(&fs::read(&stored).unwrap()).unwrap();
    plan.as_object_mut().unwrap().remove("asked_by").unwrap();
    let original = fs::read(&stored).unwrap();
    for plan in [original, plan.to_string().into_bytes()] {
        fs::write(&stored, plan).unwrap();
        ward.reload(two());
        for target in [&status, &file(&manifest, "Patient")] {
            ward.get("lab", target).outcome(404);
        }
        ward.ask("lab", "DELETE", &status, &[], "").outcome(404);
        ward.reload(Value::Null);
        assert_eq!(ward.ended("", &status), manifest);
        assert_eq!(ward.lines("", &manifest, "Patient").len(), 20);
    }
}

#[test]
fn a_plan_that_cannot_be_read_is_nobodys_where_there_are_clients() {
    let mut ward = Ward::with(two());
    let status = ward.kick_off("lab", "/$export?_type=Patient");
    ward.ended("lab", &status);
    // Of a later version, so that it is not set aside.
    fs::write(ward.folder.path().join(format!("bulk/default/{}.json", job(&status))), r#"{"version":99}"#).unwrap();
    for client in ["lab", "app"] {
        ward.get(client, &status).outcome(404);
        ward.ask(client, "DELETE", &status, &[], "").outcome(404);
    }
    ward.reload(Value::Null);
    ward.get("", &status).outcome(500);
    assert_eq!(ward.ask("", "DELETE", &status, &[], "").status, 202);
}
