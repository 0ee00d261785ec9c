//! FHIR R4 `AuditEvent`s of a record, by IHE's Basic Audit Log Patterns (BALP 1.1, <https://profiles.ihe.net/ITI/BALP>).
//!
//! A record gives one event for each patient that it names, and one if it names none. An event claims a profile (`meta.profile`) where
//! it has all that the profile requires: those of single interactions are for what went well, so that a refused request has the form of
//! its interaction without the claim. What is no request to a FHIR route becomes a security event of DICOM PS3.15 section A.5.
//!
//! Each event has a tag (system `urn:ietf:rfc:3986`) with a UUID made of the record's content: the same event posted twice has the same.

mod agents;
mod coding;
mod entities;
mod forms;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Value, json};
use uuid::{Builder, Uuid};

pub(crate) use self::agents::Observer;
use self::coding::{SOURCE, coding, set};
use self::forms::{Form, Pattern};
use super::record::{Kind, Outcome, Record};

const PROFILES: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit";

/// How many events a record gives.
#[must_use]
pub(crate) fn count(record: &Record) -> u64 {
    u64::try_from(record.patients.len()).unwrap_or(u64::MAX).max(1)
}

/// The id of an event: the same whenever it is made of the same record.
#[must_use]
pub(crate) fn id(record: &Record, index: u64) -> Uuid {
    let mut content = Vec::new();
    record.write(&mut content);
    let mut context = Context::new(&SHA256);
    context.update(&content);
    context.update(&index.to_be_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(context.finish().as_ref()).for_each(|(byte, hashed)| *byte = *hashed);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// The event of a record with this index, the first being 0.
#[must_use]
pub(crate) fn event(record: &Record, index: u64, observer: &Observer) -> Value {
    let patient = usize::try_from(index).ok().and_then(|index| record.patients.get(index)).map(AsRef::as_ref);
    let form = Form::of(record, patient.is_some());
    let outcome = outcome(record);
    let mut meta = json!({"tag": [{"system": "urn:ietf:rfc:3986", "code": id(record, index).urn().to_string()}]});
    let profile = profile(record, &form, outcome, patient.is_some());
    set(&mut meta, "profile", profile.map(|profile| json!([format!("{PROFILES}.{profile}")])));
    let mut source = json!({});
    set(&mut source, "site", record.site.as_deref().map(Value::from));
    set(&mut source, "observer", Some(agents::gateway(observer)));
    set(&mut source, "type", Some(json!([coding(SOURCE, "4", "Application Server")])));
    let entities = entities::of(record, &form, patient);
    let mut event = json!({"resourceType": "AuditEvent", "meta": meta, "type": form.event});
    set(&mut event, "subtype", (!form.subtypes.is_empty()).then(|| json!(form.subtypes)));
    set(&mut event, "action", Some(json!(form.action)));
    set(&mut event, "recorded", Some(json!(format!("{:.3}", record.time))));
    set(&mut event, "outcome", Some(json!(outcome)));
    set(&mut event, "outcomeDesc", description(record).map(Value::from));
    set(&mut event, "purposeOfEvent", record.purpose.as_deref().map(|purpose| json!([agents::purpose(purpose)])));
    set(&mut event, "agent", Some(agents::of(record, &form, observer)));
    set(&mut event, "source", Some(source));
    set(&mut event, "entity", (!entities.is_empty()).then(|| json!(entities)));
    event
}

/// The profile whose requirements the event meets, after the common beginning of their names.
fn profile(record: &Record, form: &Form, outcome: &str, names_patient: bool) -> Option<String> {
    let name = match form.pattern {
        Pattern::Disclosure => return names_patient.then(|| "PrivacyDisclosure.Source".to_owned()),
        Pattern::Security | Pattern::Other => return None,
        Pattern::Query if record.query.is_none() => return None,
        Pattern::Read => "Read",
        Pattern::Query => "Query",
        Pattern::Create => "Create",
        Pattern::Update => "Update",
        Pattern::Delete => "Delete",
    };
    (outcome == "0").then(|| format!("{}{name}", if names_patient { "Patient" } else { "" }))
}

/// R4's code: 0 success, 4 minor failure, 8 serious failure.
fn outcome(record: &Record) -> &'static str {
    match (record.outcome, record.kind) {
        (_, Kind::Lost) | (Some(Outcome::Failed), _) => "8",
        (_, Kind::CredentialRefused) | (Some(Outcome::Refused | Outcome::BrokenOff), _) => "4",
        // Patients of an answer that has not ended: what they are named for has passed to the client.
        (Some(Outcome::Success) | None, _) => "0",
    }
}

fn description(record: &Record) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    words.extend(record.detail.as_deref().map(str::to_owned));
    words.extend(record.status.map(|status| format!("HTTP status {status}")));
    if record.outcome == Some(Outcome::BrokenOff) {
        words.push("the answer did not arrive whole".to_owned());
    }
    if record.patients_unknown {
        words.push("the answer may be about patients that are not named".to_owned());
    }
    (!words.is_empty()).then(|| words.join("; "))
}
