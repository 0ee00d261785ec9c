//! What a kick-off asks for: what cannot be had is refused or told of, before OpenEMR is asked in vain.

use super::{KICK_OFF, accepted, ended, errors, exporting, files, kick_off, kick_offs};
use crate::support::gateway::Gateway;
use crate::support::http::Caller;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

/// The OperationOutcomes behind a manifest's `error`: severity, code, text.
fn issues(caller: &Caller, manifest: &Value) -> Vec<[String; 3]> {
    let url = |entry: &Value| entry["url"].as_str().unwrap().strip_prefix("http://gateway.example").unwrap().to_owned();
    let lines = manifest["error"].as_array().unwrap().iter().map(|entry| caller.get(&url(entry)).text());
    let read = |line: &str| {
        let outcome: Value = serde_json::from_str(line).unwrap();
        ["severity", "code", "diagnostics"].map(|name| outcome["issue"][0][name].as_str().unwrap().to_owned())
    };
    lines.flat_map(|text| text.lines().map(read).collect::<Vec<_>>()).collect()
}

#[test]
fn what_openemr_does_not_export_is_told_of_without_a_token_or_a_job() {
    for (version, unsupported) in
        [("8.0", "Medication,PractitionerRole"), ("next", "Medication"), ("7.0.3", "Coverage,Medication,PractitionerRole")]
    {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<&str> = unsupported.split(',').collect();
        let gateway = Gateway::with(exporting(&openemr, &[&["Patient"], &names[..]].concat(), &folder));
        let caller = gateway.caller();
        let tokens = openemr.count("tokens_issued");
        let manifest = ended(&caller, &kick_off(&caller, &format!("/fhir/$export?_type=Patient,{unsupported}"))).json();
        assert_eq!(files(&caller, &manifest).into_keys().collect::<Vec<_>>(), ["Patient"]);
        let told = issues(&caller, &manifest);
        assert_eq!(told.len(), names.len(), "{told:?}");
        for name in &names {
            let is_it = |[severity, code, text]: &[String; 3]| {
                severity == "error" && code == "not-supported" && text.starts_with(&format!("{name} is not exported"))
            };
            assert!(told.iter().any(is_it), "{version} {name}: {told:?}");
        }
        // Also where nobody named them.
        let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export")).json();
        let told = issues(&caller, &manifest);
        assert!(told.len() == names.len() && told.iter().all(|[severity, ..]| severity == "information"), "{told:?}");
        assert!(kick_offs(&openemr).iter().all(|(types, _)| types == &["Patient"]), "{:?}", kick_offs(&openemr));
        assert_eq!(openemr.count("tokens_issued"), tokens + 2, "one for each job");
        // And with nothing else to export, or strictly, the kick-off is refused.
        let strict = [("Accept", "application/fhir+json"), ("Prefer", "respond-async, handling=strict")];
        for (query, fields) in [("Patient,Medication", &strict), ("Medication", &KICK_OFF)] {
            let told = caller.send("GET", &format!("/fhir/$export?_type={query}"), fields, b"").outcome(400);
            assert!(told.contains("Medication is not exported"), "{told}");
        }
    }
}

#[test]
fn a_refusal_of_the_type_is_no_refusal_of_the_token() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Condition"], &folder));
    let caller = gateway.caller();
    let body = json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing",
        "details": {"text": "AccessToken does not grant access to any supported system resources"}}]});
    openemr.order(&json!({"fhir": {"target": "_type=Patient", "answer": {"status": 401, "body": body.to_string()}}}));
    let tokens = openemr.count("tokens_issued");
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export?_type=Patient,Condition")).json();
    assert_eq!(files(&caller, &manifest).into_keys().collect::<Vec<_>>(), ["Condition"]);
    let told = issues(&caller, &manifest);
    assert_eq!((told.len(), told[0][1].as_str()), (1, "not-supported"), "{told:?}");
    assert_eq!(openemr.count("tokens_issued"), tokens + 2, "no second one for a type that is not exported");
}

#[test]
fn no_level_stands_for_another_and_the_missing_scope_is_named() {
    let levels =
        [("system/*.$export", "/fhir"), ("system/Patient.$export", "/fhir/Patient"), ("system/Group.$export", "/fhir/Group/1")];
    for (granted, _) in levels {
        let openemr = OpenEmr::start();
        let folder = tempfile::tempdir().unwrap();
        let mut config = exporting(&openemr, &["Patient"], &folder);
        config["sites"]["default"]["scopes"] =
            json!(["system/Patient.read", "system/Binary.read", "system/*.$bulkdata-status", granted]);
        let gateway = Gateway::with(config);
        let caller = gateway.caller();
        for (scope, base) in levels {
            let answer = caller.send("GET", &format!("{base}/$export"), &KICK_OFF, b"");
            if scope == granted {
                let manifest = ended(&caller, &accepted(&answer)).json();
                assert_eq!((manifest["output"].as_array().unwrap().len(), &manifest["error"]), (1, &json!([])), "{granted}");
            } else {
                let told = answer.outcome(403);
                assert!(told.contains(scope) && !told.contains(granted), "{granted}, {base}: {told}");
            }
        }
        assert_eq!(kick_offs(&openemr).len(), 1, "{granted}");
    }
}

#[test]
fn what_selects_resources_is_never_left_out() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    for prefer in ["respond-async", "respond-async, handling=strict", "respond-async, handling=lenient"] {
        for (query, name) in [("_typeFilter=Patient%3Fshoe%3DJane", "_typeFilter"), ("patient=Patient/Jane", "patient")] {
            let told = caller.send("GET", &format!("/fhir/$export?{query}"), &[("Prefer", prefer)], b"").outcome(400);
            assert!(told.contains(name) && !told.contains("was left out") && !told.contains("Jane"), "{prefer}: {told}");
        }
    }
    assert!(kick_offs(&openemr).is_empty());
}

#[test]
fn two_instants_in_since_contradict_each_other() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient"], &folder));
    let caller = gateway.caller();
    let body = json!({"resourceType": "Parameters", "parameter": [{"name": "_since", "valueInstant": "2021-01-01T00:00:00Z"}]});
    let fields = [("Prefer", "respond-async"), ("Content-Type", "application/fhir+json")];
    for (query, status) in [("?_since=2020-01-01T00:00:00Z", 400), ("?_since=2021-01-01T01:00:00+01:00", 202), ("", 202)] {
        let answer = caller.send("POST", &format!("/fhir/Patient/$export{query}"), &fields, body.to_string().as_bytes());
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }
    let twice = "/fhir/Patient/$export?_since=2020-01-01T00:00:00Z&_since=2021-01-01T00:00:00Z";
    caller.send("GET", twice, &KICK_OFF, b"").outcome(400);
}

#[test]
fn since_is_said_to_mean_nothing_where_openemr_keeps_no_times() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::with(exporting(&openemr, &["Patient", "Observation", "Location", "Condition"], &folder));
    let caller = gateway.caller();
    let manifest = ended(&caller, &kick_off(&caller, "/fhir/$export?_since=2001-01-01T00:00:00Z")).json();
    let told = issues(&caller, &manifest);
    assert_eq!((told.len(), told[0][0].as_str()), (1, "warning"), "{told:?}");
    assert!(told[0][2].starts_with("_since means nothing for Observation, Location:"), "{told:?}");
    for (query, said) in [("_type=Patient,Condition&_since=2001-01-01T00:00:00Z", 0), ("_type=Observation", 0)] {
        let manifest = ended(&caller, &kick_off(&caller, &format!("/fhir/$export?{query}"))).json();
        assert_eq!(errors(&caller, &manifest).len(), said, "{query}");
    }
}
