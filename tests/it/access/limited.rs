//! The clinic of the policy cases: an OpenEMR with two patients on the list and one who is not, and clients with an API key each.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::api_keys::{digest_of, key_of};
use super::case_rows::{CLIENTS, filled, names};
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, Connection};
use crate::support::openemr::OpenEmr;

const TYPES: [&str; 14] = [
    "Appointment",
    "Binary",
    "CareTeam",
    "Condition",
    "DocumentReference",
    "Encounter",
    "Group",
    "Immunization",
    "Location",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "Provenance",
];
const OPERATIONS: [&str; 7] = [
    "system/*.$export",
    "system/Patient.$export",
    "system/Group.$export",
    "system/*.$bulkdata-status",
    "system/DocumentReference.$docref",
    "system/Patient.write",
    "system/Organization.write",
];

/// The clinic, with a gateway in front.
pub struct Clinic {
    pub openemr: OpenEmr,
    pub gateway: Gateway,
    _folder: TempDir,
}

impl Clinic {
    pub fn open() -> Self {
        Self::with(|_| {})
    }

    /// With a change of the configuration.
    pub fn with(change: impl FnOnce(&mut Value)) -> Self {
        let openemr = OpenEmr::start();
        openemr.order(&json!({"resources": resources()}));
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&openemr);
        let scopes = TYPES.iter().map(|name| format!("system/{name}.read")).chain(OPERATIONS.map(str::to_owned));
        config["sites"]["default"]["scopes"] = scopes.collect();
        config["sites"]["default"]["bulk_data"] = json!({"folder": folder.path().join("bulk")});
        config["access"]["allow_from"] = json!(["127.0.0.0/8"]);
        config["access"]["clients"] = clients();
        change(&mut config);
        Self { openemr, gateway: Gateway::with(config), _folder: folder }
    }

    /// The answer to a request of a client; `target` is below the FHIR base.
    pub fn ask(&self, client: &str, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Answer {
        let authorization = format!("Bearer {}", key_of(client));
        let mut all = vec![("Authorization", authorization.as_str())];
        all.extend_from_slice(fields);
        self.gateway.caller().send(method, &format!("/fhir{target}"), &all, body.as_bytes())
    }

    pub fn get(&self, client: &str, target: &str) -> Answer {
        self.ask(client, "GET", target, &[], "")
    }

    /// How many FHIR requests OpenEMR has had.
    pub fn asked(&self) -> u64 {
        self.openemr.count("fhir_requests")
    }

    pub fn connect(&self) -> Connection {
        self.gateway.caller().connect()
    }
}

/// The clients of the cases, as the configuration has them.
pub fn clients() -> Value {
    let client = |(name, scopes, more): &(&str, &str, &str)| {
        let mut client: Value = match *more {
            "" => json!({}),
            more => serde_json::from_str(&filled(&format!("{{{more}}}"))).unwrap(),
        };
        client["scopes"] = scopes.split_whitespace().map(|scope| json!(filled(scope))).collect();
        client["api_keys"] = json!([digest_of(name)]);
        if *name == "far" {
            client["allow_from"] = json!(["192.0.2.0/24"]);
        }
        ((*name).to_owned(), client)
    };
    Value::Object(CLIENTS.iter().map(client).collect())
}

/// What OpenEMR holds besides its population.
fn resources() -> Value {
    let id = |name: &str| names().find(|(known, _)| *known == name).unwrap().1;
    let of = |patient: &str| json!({"reference": format!("Patient/{}", id(patient))});
    let patient = |name: &str, family: &str| {
        json!({"resourceType": "Patient", "id": id(name), "active": true, "gender": "female", "birthDate": "1980-01-01",
            "name": [{"use": "official", "family": family, "given": ["A"]}]})
    };
    let observation = |name: &str, of: Option<Value>, code: &str| {
        let mut observation = json!({"resourceType": "Observation", "id": id(name), "status": "final",
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": code}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]},
            "effectiveDateTime": "2024-01-01T07:00:00+00:00", "valueQuantity": {"value": 60, "unit": "/min"}});
        if let Some(of) = of {
            observation["subject"] = of;
        }
        observation
    };
    let condition = |name: &str, patient: &str| {
        json!({"resourceType": "Condition", "id": id(name), "subject": of(patient),
            "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E11.9"}]}})
    };
    let document = |name: &str, patient: &str| {
        json!({"resourceType": "DocumentReference", "id": id(name), "status": "current", "subject": of(patient),
            "type": {"coding": [{"system": "http://loinc.org", "code": "34133-9"}]}, "date": "2024-01-01T07:00:00+00:00",
            "content": [{"attachment": {"contentType": "text/plain", "data": "aGVsbG8="}}]})
    };
    let group = |name: &str, patients: &[&str]| {
        let members: Vec<_> = patients.iter().map(|patient| json!({"entity": of(patient)})).collect();
        json!({"resourceType": "Group", "id": id(name), "type": "person", "actual": true, "member": members})
    };
    let team = |name: &str, patient: &str| json!({"resourceType": "CareTeam", "id": id(name), "status": "active", "subject": of(patient)});
    let participants: Vec<_> = ["P1", "P9"].iter().map(|patient| json!({"actor": of(patient), "status": "accepted"})).collect();
    json!([
        patient("P1", "Abel"), patient("P2", "Abel"), patient("P9", "Abel"),
        observation("O1", Some(of("P1")), "vital-signs"), observation("O2", Some(of("P1")), "laboratory"),
        observation("O3", Some(of("P1")), "social-history"), observation("O9", Some(of("P9")), "vital-signs"),
        observation("O0", None, "vital-signs"),
        condition("C1", "P1"), condition("C9", "P9"), document("D1", "P1"), document("D9", "P9"),
        group("G1", &["P1", "P2"]), group("G9", &["P9"]), team("T1", "P1"), team("T2", "P2"), team("T9", "P9"),
        {"resourceType": "Appointment", "id": id("A19"), "status": "booked", "participant": participants},
    ])
}

#[test]
fn the_clinic_has_what_the_cases_are_about() {
    let clinic = Clinic::with(|config| {
        config["access"].as_object_mut().unwrap().remove("clients");
    });
    for (name, id) in names() {
        let resource_type = match &name[..1] {
            "P" => "Patient",
            "O" => "Observation",
            "C" => "Condition",
            "D" => "DocumentReference",
            "G" => "Group",
            "T" => "CareTeam",
            _ => "Appointment",
        };
        let answer = clinic.gateway.caller().get(&format!("/fhir/{resource_type}/{id}"));
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let found = clinic.gateway.caller().get(&format!("/fhir/{resource_type}?_count=200"));
        assert!(found.text().contains(&id), "{name}");
    }
}
