//! The files of exports with `_typeFilter`: nobody gets from OpenEMR's file what the filter leaves out, by whatever address, and whatever
//! becomes of the export and the gateway meanwhile.

use std::fs;

use super::type_filter::{lines, url};
use super::{accepted, ended, exporting, kick_off};
use crate::support::eventually;
use crate::support::gateway::{Gateway, free_address};
use crate::support::http::{Caller, End};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};
use tempfile::TempDir;

const WOMEN: &str = "/fhir/$export?_type=Patient&_typeFilter=Patient?gender=female";

/// Whether all of these are women; none is there only where OpenEMR has none.
fn are_women(caller: &Caller, file: &str) -> bool {
    let lines = lines(&caller.get(file));
    !lines.is_empty() && lines.iter().all(|one| one["gender"] == "female")
}

/// The path of OpenEMR's Binary with the first file of an export, which only the plan tells, and the job.
fn binary(folder: &TempDir, file: &str) -> (String, String) {
    let job = file.strip_prefix("/fhir/$bulkdata-file/").and_then(|rest| rest.split('/').next()).unwrap();
    let plan = fs::read(folder.path().join(format!("bulk/default/{job}.json"))).unwrap();
    let plan: Value = serde_json::from_slice(&plan).unwrap();
    let of_patients = plan["types"].as_array().unwrap().iter().find(|one| one["type"] == "Patient").unwrap();
    (format!("/fhir/Binary/{}", of_patients["state"]["done"]["files"][0].as_str().unwrap()), job.to_owned())
}

#[test]
fn no_address_gives_what_the_filter_leaves_out() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Condition"], &folder));
    let caller = gateway.caller();
    // An export without a filter, before and behind it.
    let before = ended(&caller, &kick_off(&caller, "/fhir/$export?_type=Patient")).json();
    let manifest = ended(&caller, &kick_off(&caller, WOMEN)).json();
    let after = ended(&caller, &kick_off(&caller, "/fhir/$export?_type=Patient,Condition")).json();
    let file = url(&manifest, "Patient");
    let (path, job) = binary(&folder, &file);
    assert!(are_women(&caller, &file));
    // It is known by OpenEMR's id, too, with the export named as earlier versions did, and without.
    for target in [path.clone(), format!("{path}?_format=json"), format!("{path}?job={job}")] {
        assert!(are_women(&caller, &target), "{target}");
    }
    let id = path.strip_prefix("/fhir/Binary/").unwrap();
    for other in [&before, &after] {
        assert_eq!(lines(&caller.get(&url(other, "Patient"))).len(), 20);
    }
    let wrong = "00000000-0000-4000-8000-000000000000";
    for target in [
        format!("/fhir/Binary/0{id}"),
        format!("/fhir/Binary/{id}.0"),
        format!("/fhir/Binary/%31{}", &id[1..]),
        format!("{path}?job={wrong}"),
        format!("{path}?job="),
        format!("{path}?job={}", job.to_uppercase()),
        format!("{}?job={job}", binary(&folder, &url(&before, "Patient")).0),
        file.replace("/Patient", "/Condition"),
        file.replace("-1.", "-01."),
        file.replace("-1.", "-2."),
        file.replace("-1.", "-%31."),
        file.replace(&job, wrong),
        file.replace(&job, &job.to_uppercase()),
        file.replace(&job, &job.replace('-', "")),
        file.replace(".ndjson", ""),
        format!("{file}/x"),
    ] {
        // That OpenEMR would find it by another spelling is its own affair.
        openemr.order(&json!({"fhir": {"target": "/Binary/", "times": 1,
            "answer": {"status": 200, "content_type": "application/fhir+ndjson", "body": "{\"resourceType\":\"Patient\",\"id\":\"1\",\"gender\":\"male\"}"}}}));
        let answer = caller.get(&target);
        assert!(
            matches!(answer.status, 400 | 404) && !answer.text().contains("\"male\""),
            "{target}: {} {}",
            answer.status,
            answer.text()
        );
        openemr.order(&json!({"fhir": null}));
    }
    // A document is none of an export.
    let answer = json!({"status": 200, "content_type": "text/plain", "body": "a letter"});
    openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer}}));
    assert_eq!(caller.get("/fhir/Binary/7").text(), "a letter");
}

#[test]
fn a_file_that_openemr_writes_otherwise_is_not_served() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    let file = url(&ended(&caller, &kick_off(&caller, WOMEN)).json(), "Patient");
    let woman = r#"{"resourceType":"Patient","id":"1","gender":"female"}"#;
    let man = r#"{"resourceType":"Patient","id":"2","gender":"male"}"#;
    let body = format!("{woman}\n{man}");
    for content_type in ["application/json", "application/octet-stream", "text/plain", ""] {
        let answer = json!({"status": 200, "content_type": content_type, "body": body});
        openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer}}));
        let answer = caller.get(&file);
        assert!(
            answer.status == 502 && !answer.text().contains("Patient\""),
            "{content_type}: {} {}",
            answer.status,
            answer.text()
        );
    }
    // Of another type, or ambiguous.
    for bad in [
        r#"{"resourceType":"Person","id":"3","gender":"female"}"#,
        r#"{"resourceType":"Patient","gender":"male","gender":"female"}"#,
    ] {
        let answer =
            json!({"status": 200, "content_type": "application/fhir+ndjson", "body": format!("{woman}\n{bad}\n{woman}")});
        openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer, "piece_bytes": 100_000}}));
        let answer = caller.get(&file);
        assert!(answer.end != End::Whole || answer.status == 502, "{bad:.60}: {}", answer.status);
        assert!(!answer.text().contains("Person") && !answer.text().contains("male\",\"gender"), "{bad:.60}");
    }
    gateway.logs(&["cannot be tested by _typeFilter"]);
}

#[test]
fn nothing_is_served_of_an_export_whose_files_are_not_known_yet_or_not_any_more() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    // OpenEMR numbers its documents one after the other.
    let next = |manifest: &Value| {
        let (path, _) = binary(&folder, &url(manifest, "Patient"));
        let number: u64 = path.rsplit('/').next().unwrap().parse().unwrap();
        format!("/fhir/Binary/{}", number + 1)
    };
    let guess = next(&ended(&caller, &kick_off(&caller, "/fhir/$export?_type=Patient")).json());
    openemr.order(&json!({"export": {"polls": 1_000}}));
    let status = kick_off(&caller, WOMEN);
    eventually("OpenEMR has the file", || super::kick_offs(&openemr).get(1).map(|_| ()));
    eventually("the file is there, and not served", || (caller.get(&guess).status == 404).then_some(()));
    openemr.order(&json!({"export": {"polls": 0}}));
    // Deleted, while OpenEMR does not delete the file.
    openemr.order(&json!({"fhir": {"target": "$bulkdata-status", "answer": {"status": 500}}}));
    assert_eq!(caller.send("DELETE", &status, &[], b"").status, 202);
    gateway.logs(&["is deleted"]);
    let answer = caller.get(&guess);
    assert!(answer.status == 404, "{}", answer.text());
    assert_eq!(
        fs::read_dir(folder.path().join("bulk/default"))
            .unwrap()
            .filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "deleted"))
            .count(),
        1
    );
}

#[test]
fn a_filter_survives_restarts_and_reloads() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let mut config = exporting(&openemr, &["Condition", "Patient"], &folder);
    config["listen"] = json!([{"address": free_address().to_string()}]);
    let gateway = Gateway::with(config.clone());
    openemr.order(&json!({"export": {"type_takes_ms": 600}}));
    let answer = gateway.caller().send("GET", &WOMEN.replace("_type=Patient", "_type=Condition,Patient"), &super::KICK_OFF, b"");
    let status = accepted(&answer);
    eventually("the first type is under way", || (super::kick_offs(&openemr).len() == 1).then_some(()));
    drop(gateway);
    openemr.order(&json!({"export": {"type_takes_ms": 0}}));
    let gateway = Gateway::with(config.clone());
    let caller = gateway.caller();
    let manifest = ended(&caller, &status).json();
    let Some(file) = manifest["output"].as_array().unwrap().iter().find(|entry| entry["type"] == "Patient") else {
        panic!("the type that was not begun is exported: {manifest}")
    };
    let file = file["url"].as_str().unwrap().strip_prefix("http://gateway.example").unwrap();
    let (path, _) = &binary(&folder, file);
    assert!(are_women(&caller, file) && are_women(&caller, path));
    // The successor of an upgrade, and one that has just been started.
    drop(gateway);
    let gateway = Gateway::with(config.clone());
    assert!(are_women(&gateway.caller(), file) && are_women(&gateway.caller(), path));
    // Where the gateway keeps no exports, the address is none.
    let mut without = config.clone();
    without["sites"]["default"]["repairs"] = json!({"bulk_data": false});
    gateway.reload(&without);
    gateway.caller().get(file).outcome(404);
    gateway.reload(&config);
    assert!(are_women(&gateway.caller(), file));
    // Where its plan is damaged, the file is of no export any more.
    drop(gateway);
    for plan in fs::read_dir(folder.path().join("bulk/default")).unwrap() {
        fs::write(plan.unwrap().path(), b"{").unwrap();
    }
    let gateway = Gateway::with(config);
    gateway.caller().get(path).outcome(404);
    let answer = gateway.caller().get(file);
    assert!(matches!(answer.status, 404 | 500), "{}", answer.text());
    // Where the plans cannot be read at all, documents come all the same.
    fs::remove_dir_all(folder.path().join("bulk/default")).unwrap();
    fs::write(folder.path().join("bulk/default"), b"").unwrap();
    gateway.caller().get(path).outcome(404);
    let answer = json!({"status": 200, "content_type": "text/plain", "body": "a letter"});
    openemr.order(&json!({"fhir": {"target": "/Binary/", "answer": answer}}));
    assert_eq!(gateway.caller().get("/fhir/Binary/7").text(), "a letter");
}
