//! What an event is about: data, the patient, the query, the request's id, and what was decided.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::coding::{coding, set};
use super::forms::{Form, Pattern};
use crate::audit::record::{Decision, Record};

/// The entities of an event about this patient.
#[must_use]
pub(super) fn of(record: &Record, form: &Form, patient: Option<&str>) -> Vec<Value> {
    let mut entities = Vec::new();
    match form.pattern {
        Pattern::Read | Pattern::Create | Pattern::Update | Pattern::Delete | Pattern::Disclosure => entities.push(data(record)),
        Pattern::Query => entities.extend(query(record)),
        Pattern::Other => {
            if record.resource_type.is_some() {
                entities.push(data(record));
            }
            entities.extend(query(record));
        }
        Pattern::Security => {}
    }
    entities.extend(patient.map(|id| {
        let role = role("1", "Patient");
        json!({"what": {"reference": format!("Patient/{id}")}, "type": kind("1", "Person"), "role": role})
    }));
    entities.extend(record.request_id.as_deref().map(|id| {
        let system = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";
        json!({"what": {"identifier": {"value": id}}, "type": {"system": system, "code": "XrequestId"}})
    }));
    entities.extend(decided(record));
    entities
}

/// The resource; its type alone where it has no id, or where no single one is meant.
fn data(record: &Record) -> Value {
    let what = match (record.resource_type.as_deref(), record.id.as_deref()) {
        (Some(resource_type), Some(id)) => json!({"reference": format!("{resource_type}/{id}")}),
        (Some(resource_type), None) => json!({"type": resource_type}),
        (None, _) => json!({"display": "not known"}),
    };
    json!({"what": what, "type": kind("2", "System Object"), "role": role("4", "Domain Resource")})
}

/// What was asked, as the client sent it.
fn query(record: &Record) -> Option<Value> {
    let query = STANDARD.encode(record.query.as_deref()?);
    Some(json!({"type": kind("2", "System Object"), "role": role("24", "Query"), "query": query}))
}

/// What the gateway knows besides: how the caller showed who it is, what was decided by which lines, and how much it got.
fn decided(record: &Record) -> Option<Value> {
    let mut details: Vec<Value> = Vec::new();
    let mut add = |name: &str, value: &str| details.push(json!({"type": name, "valueString": value}));
    if let Some(credential) = record.credential.as_deref() {
        add("credential", credential);
    }
    if let Some(decision) = record.decision {
        add("decision", word(decision));
    }
    record.by.iter().for_each(|line| add("by", line));
    if let Some(operation) = record.operation.as_deref() {
        add("operation", operation);
    }
    if let Some(entries) = record.entries {
        add("entries", &entries.to_string());
    }
    if record.left_out > 0 {
        add("left_out", &record.left_out.to_string());
    }
    if let Some(bytes) = record.bytes {
        add("bytes", &bytes.to_string());
    }
    if details.is_empty() {
        return None;
    }
    let mut entity = json!({"type": kind("4", "Other"), "role": role("13", "Security Resource")});
    set(&mut entity, "detail", Some(Value::Array(details)));
    Some(entity)
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allowed => "allowed",
        Decision::Narrowed => "narrowed",
        Decision::Tested => "tested",
        Decision::Refused => "refused",
    }
}

fn kind(code: &str, display: &str) -> Value {
    coding("http://terminology.hl7.org/CodeSystem/audit-entity-type", code, display)
}

fn role(code: &str, display: &str) -> Value {
    coding("http://terminology.hl7.org/CodeSystem/object-role", code, display)
}
