//! Codings, and members of JSON objects.

use serde_json::{Value, json};

/// DICOM's codes (PS3.16).
pub(super) const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
/// Types of sources.
pub(super) const SOURCE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";

/// A Coding.
#[must_use]
pub(super) fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({"system": system, "code": code, "display": display})
}

/// Sets a member, if there is a value.
pub(super) fn set(object: &mut Value, name: &str, value: Option<Value>) {
    if let (Value::Object(members), Some(value)) = (object, value) {
        members.insert(name.to_owned(), value);
    }
}
