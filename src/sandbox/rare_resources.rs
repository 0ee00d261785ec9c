//! The resources of the types of which the sandbox has only a few, in the shapes that OpenEMR gives them, as far as these
//! are valid R4.

use serde_json::{Value, json};

use super::{personality::Personality, random::SeededRandom, resources::Clinic};

/// What the ids are made from, besides the seed: not the random numbers of the patients, who stay as they are.
const SALT: u64 = 0x5EED_0F0F_4A4E;

/// Returns value sets, and for each tenth patient an immunization and a goal, on 8.0 also an order and a dispense, each with
/// its type.
pub(super) fn made_for(clinic: &Clinic, patients: &[&str], seed: u64) -> Vec<(&'static str, Value)> {
    let mut random = SeededRandom::new(seed ^ SALT);
    let mut made: Vec<(&str, Value)> = ["language", "state"].map(|name| ("ValueSet", value_set(clinic, name))).into();
    for patient in patients.iter().skip(9).step_by(10) {
        let subject = json!({"reference": format!("Patient/{patient}"), "type": "Patient"});
        made.push(("Immunization", immunization(clinic, &random.uuid(), &subject)));
        made.push(("Goal", goal(clinic, &random.uuid(), &subject)));
        if clinic.personality != Personality::V7_0_3 {
            made.push(("ServiceRequest", service_request(clinic, &random.uuid(), &subject)));
            made.push(("MedicationDispense", dispense(clinic, &random.uuid(), &subject)));
        }
    }
    made
}

/// Returns the only operation that OpenEMR defines; it has no id.
pub(super) fn operation_definition() -> Value {
    let parameter = json!({"name": "job", "use": "in", "min": 1, "max": "1", "type": "string"});
    json!({
        "resourceType": "OperationDefinition", "name": "$bulkdata-status", "status": "active", "kind": "operation",
        "code": "bulkdata-status", "system": true, "type": false, "instance": false, "parameter": [parameter],
    })
}

fn value_set(clinic: &Clinic, name: &str) -> Value {
    json!({
        "id": name, "meta": clinic.meta(&[]), "resourceType": "ValueSet", "name": name, "title": name, "status": "active",
        "compose": {"include": [{"system": "http://openemr.org/lists", "concept": [{"code": "one", "display": "One"}, {"code": "two", "display": "Two"}]}]},
    })
}

fn immunization(clinic: &Clinic, id: &str, patient: &Value) -> Value {
    json!({
        "id": id, "meta": clinic.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-immunization"]),
        "resourceType": "Immunization", "status": "completed",
        "vaccineCode": {"coding": [{
            "system": "http://hl7.org/fhir/sid/cvx", "code": "140", "display": "Influenza, seasonal, injectable",
        }]},
        "patient": patient, "occurrenceDateTime": "2023-10-02T09:00:00+00:00", "primarySource": true,
    })
}

fn goal(clinic: &Clinic, id: &str, patient: &Value) -> Value {
    json!({
        "id": id, "meta": clinic.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-goal"]),
        "resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "Walk half an hour a day"},
        "subject": patient, "startDate": "2024-01-02",
    })
}

fn service_request(clinic: &Clinic, id: &str, patient: &Value) -> Value {
    json!({
        "id": id, "meta": clinic.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-servicerequest"]),
        "resourceType": "ServiceRequest", "status": "completed", "intent": "order",
        "category": [{"coding": [{
            "system": "http://snomed.info/sct", "code": "108252007", "display": "Laboratory procedure",
        }]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "24323-8", "display": "Comprehensive metabolic panel"}]},
        "subject": patient, "authoredOn": "2024-01-02T09:00:00+00:00",
    })
}

fn dispense(clinic: &Clinic, id: &str, patient: &Value) -> Value {
    json!({
        "id": id, "meta": clinic.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-medicationdispense"]),
        "resourceType": "MedicationDispense", "status": "completed",
        "medicationCodeableConcept": {"coding": [{
            "system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "197361", "display": "Amlodipine 5 MG Oral Tablet",
        }]},
        "subject": patient, "whenHandedOver": "2024-01-02T10:00:00+00:00",
    })
}
