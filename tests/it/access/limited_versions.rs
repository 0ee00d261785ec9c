//! A limited client sees of every OpenEMR just what its policy permits, however it asks: whole, in pages, by POST, one by one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::api_keys::{digest_of, key_of};
use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::openemr::OpenEmr;

const TYPES: [&str; 12] = [
    "AllergyIntolerance",
    "CareTeam",
    "Condition",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "Immunization",
    "MedicationRequest",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
];

/// Constraints, with the test of each by what stands in a resource.
type Constraint = (&'static str, &'static str, fn(&Value) -> bool);
const CONSTRAINTS: [Constraint; 6] = [
    ("Patient", "gender=female", |one| one["gender"] == "female"),
    ("Patient", "birthdate=ge1980", |one| one["birthDate"].as_str().is_some_and(|date| date >= "1980")),
    ("Observation", "status=final", |one| one["status"] == "final"),
    ("Observation", "category=http://terminology.hl7.org/CodeSystem/observation-category|vital-signs", |one| {
        one["category"].to_string().contains("vital-signs")
    }),
    ("Condition", "clinical-status=active", |one| one["clinicalStatus"]["coding"].to_string().contains("\"active\"")),
    ("Practitioner", "active=true", |one| one["active"] == true),
];

struct Clinic {
    gateway: Gateway,
    _openemr: OpenEmr,
}

impl Clinic {
    fn open(version: &str) -> Self {
        let openemr = OpenEmr::with(&["--openemr", version]);
        let mut config = config(&openemr);
        config["sites"]["default"]["scopes"] =
            TYPES.iter().chain(&["Provenance"]).map(|name| json!(format!("system/{name}.read"))).collect();
        config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
        config["access"]["clients"] = json!({"all": {"scopes": ["system/*.rs"], "api_keys": [digest_of("all")]}});
        let mut clinic = Self { gateway: Gateway::with(config.clone()), _openemr: openemr };
        let patients: Vec<Value> = clinic.found("all", "/Patient").into_iter().step_by(3).map(Value::from).collect();
        assert!(patients.len() > 3, "{version}");
        let clients = config["access"]["clients"].as_object_mut().unwrap();
        for (number, (resource_type, constraint, _)) in CONSTRAINTS.iter().enumerate() {
            let name = format!("c{number}");
            let scope = format!("system/{resource_type}.rs?{constraint}");
            clients.insert(name.clone(), json!({"scopes": [scope], "api_keys": [digest_of(&name)]}));
        }
        let few = &patients[..2];
        clients.insert(
            "few".to_owned(),
            json!({"scopes": ["system/*.rs"], "patients": {"ids": few}, "api_keys": [digest_of("few")]}),
        );
        // Too many for a parameter.
        let many: Vec<Value> = patients.iter().cloned().chain((0..30).map(|number| json!(format!("nobody-{number}")))).collect();
        clients.insert(
            "many".to_owned(),
            json!({"scopes": ["system/*.rs"], "patients": {"ids": many}, "api_keys": [digest_of("many")]}),
        );
        clinic.gateway = Gateway::with(config);
        clinic
    }

    fn send(&self, client: &str, method: &str, target: &str, form: &str) -> Answer {
        let key = key_of(client);
        let fields = [("X-API-Key", key.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
        let fields = if form.is_empty() { &fields[..1] } else { &fields[..] };
        self.gateway.caller().send(method, &format!("/fhir{target}"), fields, form.as_bytes())
    }

    /// The matches of a search, over all its pages.
    fn matches(&self, client: &str, target: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut next = Some(target.to_owned());
        let mut totals = BTreeSet::new();
        while let Some(target) = next.take() {
            let answer = self.send(client, "GET", &target, "");
            let bundle = answer.json();
            assert_eq!((answer.status, &bundle["type"]), (200, &json!("searchset")), "{client} {target}: {}", answer.text());
            let total = bundle["total"].as_u64();
            assert!(client == "all" || total.is_some(), "{client} {target}: {bundle}");
            totals.extend(total);
            let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
            found.extend(entries.into_iter().filter(|one| one["search"]["mode"] == "match").map(|one| one["resource"].clone()));
            let links = bundle["link"].as_array().unwrap();
            let link = links.iter().find(|link| link["relation"] == "next").map(|link| link["url"].as_str().unwrap().to_owned());
            next = link.map(|url| url.split_once("/fhir").unwrap().1.to_owned());
            assert!(found.len() < 10_000, "{client} {target}: the pages do not end");
        }
        assert!(totals.iter().all(|total| *total == found.len() as u64), "{client} {target}: {totals:?} of {}", found.len());
        found
    }

    fn found(&self, client: &str, target: &str) -> BTreeSet<String> {
        self.matches(client, target).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn ids(resources: &[Value]) -> BTreeSet<String> {
    resources.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn sees_what_is_permitted(version: &str) {
    let clinic = Clinic::open(version);
    let mut shown = 0;
    let mut check = |client: &str, resource_type: &str, is_permitted: &dyn Fn(&Value) -> bool| {
        let all = clinic.matches("all", &format!("/{resource_type}"));
        let (own, others): (Vec<Value>, Vec<Value>) = all.into_iter().partition(|one| is_permitted(one));
        let about = format!("{version} {client} {resource_type}");
        for target in
            [format!("/{resource_type}"), format!("/{resource_type}?_count=4"), format!("/{resource_type}?_sort=_lastUpdated")]
        {
            let answer = clinic.send(client, "GET", &target, "");
            if target.contains("_sort") && answer.status == 400 {
                continue;
            }
            assert_eq!(clinic.found(client, &target), ids(&own), "{about} {target}");
        }
        let posted = clinic.send(client, "POST", &format!("/{resource_type}/_search"), "_summary=count");
        assert_eq!((posted.status, &posted.json()["total"]), (200, &json!(own.len())), "{about}: {}", posted.text());
        for one in own.iter().take(2) {
            let read = clinic.send(client, "GET", &format!("/{resource_type}/{}", one["id"].as_str().unwrap()), "");
            assert!((read.status, &read.json()["id"]) == (200, &one["id"]), "{about}: {} {}", read.status, read.text());
        }
        for one in others.iter().take(2) {
            let read = clinic.send(client, "GET", &format!("/{resource_type}/{}", one["id"].as_str().unwrap()), "");
            assert!(matches!(read.status, 403 | 404), "{about}: {}", read.text());
        }
        shown += own.len();
    };
    for (number, (resource_type, _, test)) in CONSTRAINTS.iter().enumerate() {
        check(&format!("c{number}"), resource_type, test);
    }
    let patients = |client: &str| clinic.found(client, "/Patient");
    for client in ["few", "many"] {
        let listed = patients(client);
        assert!(!listed.is_empty(), "{version}");
        for resource_type in TYPES {
            check(client, resource_type, &|one| match resource_type {
                "Organization" | "Practitioner" => true,
                "Patient" => listed.contains(one["id"].as_str().unwrap()),
                _ => listed.iter().any(|id| one.to_string().contains(&format!("Patient/{id}\""))),
            });
        }
    }
    assert!(shown > 50, "{version}: {shown}");
}

#[test]
fn of_8_0() {
    sees_what_is_permitted("8.0.0");
}

#[test]
fn of_7_0_3() {
    sees_what_is_permitted("7.0.3");
}

#[test]
fn of_the_next_version() {
    sees_what_is_permitted("next");
}
