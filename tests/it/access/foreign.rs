//! An OpenEMR that answers with another patient's resources, or as if it had not read the search: nothing of that reaches a client
//! that is limited.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::api_keys::key_of;
use super::case_rows::names;
use super::limited::Clinic;
use crate::support::http::{Connection, request};

/// How many requests are sent, over all threads.
const REQUESTS: usize = 10_000;
const THREADS: usize = 4;
const TYPES: [&str; 8] =
    ["Patient", "Observation", "Condition", "Encounter", "CareTeam", "DocumentReference", "Immunization", "Group"];

fn id(name: &str) -> String {
    names().find(|(known, _)| *known == name).unwrap().1
}

/// Whether a resource is about the patient who is on no list, and about none who is.
fn is_foreign(resource: &Value) -> bool {
    let text = resource.to_string();
    let is_about = |name: &str| text.contains(&id(name));
    is_about("P9") && !is_about("P1") && !is_about("P2")
}

fn resources(body: &Value) -> Vec<Value> {
    match body["entry"].as_array() {
        Some(entries) => entries.iter().map(|entry| entry["resource"].clone()).collect(),
        None => vec![body.clone()],
    }
}

/// The targets of one round: every type by search, by read, with what it includes, and page by page.
fn targets() -> Vec<String> {
    let (p1, p2) = (id("P1"), id("P2"));
    let mut targets = Vec::new();
    for name in TYPES {
        targets.push(format!("/fhir/{name}"));
        targets.push(format!("/fhir/{name}?_count=2"));
        targets.push(format!("/fhir/{name}?_revinclude=Provenance:target"));
        if name != "Patient" && name != "Group" {
            targets.push(format!("/fhir/{name}?patient={p1}"));
            targets.push(format!("/fhir/{name}?patient=Patient/{p2}&_count=1"));
        }
    }
    for (name, ids) in
        [("Patient", ["P1", "P2"]), ("Observation", ["O1", "O2"]), ("Condition", ["C1", "C1"]), ("Group", ["G1", "G1"])]
    {
        targets.extend(ids.map(|one| format!("/fhir/{name}/{}", id(one))));
    }
    targets
}

/// Sends one request, follows the links to further pages, and gives what was shown; how many requests it took.
fn ask(connection: &mut Connection, client: &str, target: &str, mut check: impl FnMut(&Value)) -> usize {
    let authorization = format!("Bearer {}", key_of(client));
    let mut next = Some(target.to_owned());
    let mut sent = 0;
    while let Some(target) = next.take().filter(|_| sent < 5) {
        connection.write(&request("GET", &target, &[("Authorization", &authorization)], b""));
        let answer = connection.read("GET");
        sent += 1;
        let body = answer.json();
        if answer.status == 200 {
            resources(&body).iter().for_each(&mut check);
            let links = body["link"].as_array().cloned().unwrap_or_default();
            let link =
                links.iter().find(|link| link["relation"] == "next").and_then(|link| link["url"].as_str().map(str::to_owned));
            next = link.map(|url| url[url.find("/fhir").unwrap()..].to_owned());
        }
    }
    sent
}

#[test]
fn another_patients_resources_never_reach_a_limited_client() {
    let clinic = Clinic::open();
    let faults = [
        json!({"foreign_patient": id("P9")}),
        json!({"ignore_parameters": ["patient", "subject", "_id", "category"]}),
        json!({"foreign_patient": id("P9"), "ignore_parameters": ["patient", "subject", "_id", "category"]}),
    ];
    let (sent, shown) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for fault in &faults {
        clinic.openemr.order(&json!({"fhir": fault}));
        let due = sent.load(Ordering::Relaxed) + REQUESTS.div_ceil(faults.len());
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (clinic, sent, shown) = (&clinic, &sent, &shown);
                scope.spawn(move || {
                    let mut connection = clinic.connect();
                    let targets = targets();
                    let mut at = thread * 7;
                    while sent.load(Ordering::Relaxed) < due {
                        let client = if at % 3 == 0 { "pvit" } else { "panel" };
                        let target = &targets[at % targets.len()];
                        let requests = ask(&mut connection, client, target, |resource| {
                            shown.fetch_add(1, Ordering::Relaxed);
                            assert!(!is_foreign(resource), "{client} {target}: {resource}");
                            let is_vital =
                                resource["resourceType"] != "Observation" || resource.to_string().contains("vital-signs");
                            assert!(client != "pvit" || is_vital, "{target}: {resource}");
                        });
                        sent.fetch_add(requests, Ordering::Relaxed);
                        at += 1;
                    }
                });
            }
        });
    }
    assert!(sent.load(Ordering::Relaxed) >= REQUESTS);
    assert!(shown.load(Ordering::Relaxed) > REQUESTS / 10, "what is theirs was shown");
}
