//! What OpenEMR takes from a resource that is written, its rules for it, and the resource that it then serves.

use serde_json::{Map, Value, json};

use super::resources::{Clinic, patient_identifier};

/// The identifier system without which no practitioner and no organization can be created.
const NPI: &str = "http://hl7.org/fhir/sid/us-npi";

/// What is wrong with a resource, by OpenEMR's own name of the field.
#[derive(Debug, Default)]
pub(super) struct Invalid(Map<String, Value>);

impl Invalid {
    /// Returns one error of one field.
    pub(super) fn field(field: &str, code: &str, words: &str) -> Invalid {
        let mut invalid = Invalid::default();
        invalid.add(field, code, words);
        invalid
    }

    /// Returns the errors as the answer has them.
    pub(super) fn into_errors(self) -> Value {
        Value::Object(self.0)
    }

    fn add(&mut self, field: &str, code: &str, words: &str) {
        self.0.insert(field.to_owned(), json!({code: words}));
    }

    fn missing(&mut self, field: &str) {
        self.add(field, "Required::NON_EXISTENT_KEY", &format!("{field} must be provided, but does not exist"));
    }

    fn empty(&mut self, field: &str, title: &str) {
        self.add(field, "NotEmpty::EMPTY_VALUE", &format!("{title} must not be empty"));
    }

    fn or<T>(self, value: T) -> Result<T, Invalid> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Returns the NPI among the identifiers of a resource.
fn npi(resource: &Value) -> Option<String> {
    let identifiers = resource.get("identifier")?.as_array()?;
    let npi = identifiers.iter().find(|identifier| identifier.get("system").and_then(Value::as_str) == Some(NPI))?;
    Some(npi.get("value")?.as_str()?.to_owned())
}

/// Returns the value of the identifier whose type is PT, which a new Patient keeps, without its system.
pub(super) fn public_id(patient: &Value) -> Option<String> {
    let is_public = |identifier: &&Value| {
        let codings = identifier.pointer("/type/coding").and_then(Value::as_array);
        codings.is_some_and(|codings| codings.iter().any(|coding| coding.get("code").and_then(Value::as_str) == Some("PT")))
    };
    Some(patient.get("identifier")?.as_array()?.iter().find(is_public)?.get("value")?.as_str()?.to_owned())
}

/// Returns what was sent under this name, or what is held.
fn list(name: &str, sent: &Value, held: Option<&Value>) -> Option<Value> {
    sent.get(name).filter(|list| list.is_array()).or_else(|| held?.get(name)).cloned()
}

/// A Patient or a Practitioner.
pub(super) struct Person {
    family: String,
    given: Vec<String>,
    gender: String,
    birth_date: String,
    npi: Option<String>,
    telecom: Option<Value>,
    address: Option<Value>,
    is_new: bool,
}

impl Person {
    /// Takes what was sent, and the rest from the resource that is held, if one is. Of the names, the first official one
    /// counts: without one, a new resource has no name, and an existing one keeps its own.
    pub(super) fn new(sent: &Value, held: Option<&Value>) -> Person {
        let none = json!({});
        let names = sent.get("name").and_then(Value::as_array);
        let is_official = |name: &&Value| name.get("use").and_then(Value::as_str) == Some("official");
        let official = names.and_then(|names| names.iter().find(is_official)).unwrap_or(&none);
        let held_name = held.and_then(|held| held.pointer("/name/0")).unwrap_or(&none);
        let given = |name: &Value| -> Vec<String> {
            let given = name.get("given").and_then(Value::as_array).cloned().unwrap_or_default();
            given.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        };
        let (sent_family, sent_given) = (text(official, "/family"), given(official));
        Person {
            family: if sent_family.is_empty() { text(held_name, "/family") } else { sent_family },
            given: if sent_given.is_empty() { given(held_name) } else { sent_given },
            gender: text(sent, "/gender"),
            birth_date: text(sent, "/birthDate"),
            npi: npi(sent).or_else(|| npi(held?)),
            telecom: list("telecom", sent, held),
            address: list("address", sent, held),
            is_new: held.is_none(),
        }
    }

    fn check_name(&self) -> Invalid {
        let mut invalid = Invalid::default();
        if self.given.is_empty() {
            invalid.missing("fname");
        }
        if self.family.is_empty() {
            invalid.missing("lname");
        }
        invalid
    }

    /// Returns the Patient as OpenEMR will serve it.
    pub(super) fn patient(&self, clinic: &Clinic, id: &str, identifier: &str) -> Result<Value, Invalid> {
        let mut invalid = self.check_name();
        if self.gender.is_empty() {
            invalid.empty("sex", "Gender");
        }
        if self.birth_date.is_empty() {
            invalid.empty("DOB", "Date of Birth");
        } else if self.birth_date.parse::<jiff::civil::Date>().is_err() || self.birth_date.len() != 10 {
            invalid.add("DOB", "Datetime::INVALID_VALUE", "Date of Birth must be a valid date");
        }
        invalid.or(())?;
        let sex = match self.gender.as_str() {
            "female" => "F",
            "male" => "M",
            _ => "UNK",
        };
        let first = self.given.first().map_or("", String::as_str);
        let mut resource = clinic.patient_head(id, &format!("{first} {}", self.family), sex, false);
        let mut insert = |name: &str, value: Value| {
            resource.insert(name.to_owned(), value);
        };
        insert("identifier", patient_identifier(identifier));
        insert("active", json!(true));
        insert("name", json!([{"use": "official", "family": self.family, "given": self.given}]));
        if let Some(telecom) = &self.telecom {
            insert("telecom", telecom.clone());
        }
        insert("gender", json!(self.gender));
        insert("birthDate", json!(self.birth_date));
        insert("deceasedBoolean", json!(false));
        if let Some(address) = &self.address {
            insert("address", address.clone());
        }
        insert(
            "communication",
            json!([{"language": {"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/data-absent-reason",
                "code": "unknown", "display": "Unknown",
            }]}}]),
        );
        Ok(Value::Object(resource))
    }

    /// Returns the Practitioner as OpenEMR will serve it.
    pub(super) fn practitioner(&self, clinic: &Clinic, id: &str) -> Result<Value, Invalid> {
        let mut invalid = self.check_name();
        if self.npi.is_none() && self.is_new {
            invalid.missing("npi");
        }
        let mut resource = json!({
            "id": id,
            "meta": clinic.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-practitioner"]),
            "resourceType": "Practitioner",
            "identifier": [{"system": NPI, "value": self.npi.as_deref().unwrap_or_default()}],
            "active": true,
            "name": [{"use": "official", "family": self.family, "given": self.given}],
        });
        add_lists(&mut resource, &self.telecom, &self.address);
        invalid.or(resource)
    }
}

fn add_lists(resource: &mut Value, telecom: &Option<Value>, address: &Option<Value>) {
    let lists = [("telecom", telecom), ("address", address)];
    if let Some(members) = resource.as_object_mut() {
        members.extend(lists.into_iter().filter_map(|(name, list)| Some((name.to_owned(), list.clone()?))));
    }
}

/// An Organization.
pub(super) struct Site {
    name: String,
    npi: Option<String>,
    telecom: Option<Value>,
    address: Option<Value>,
}

impl Site {
    /// Takes what was sent, and the rest from the resource that is held, if one is.
    pub(super) fn new(sent: &Value, held: Option<&Value>) -> Result<Site, Invalid> {
        let sent_name = text(sent, "/name");
        let site = Site {
            name: if sent_name.is_empty() { held.map(|held| text(held, "/name")).unwrap_or_default() } else { sent_name },
            npi: npi(sent).or_else(|| npi(held?)),
            telecom: list("telecom", sent, held),
            address: list("address", sent, held),
        };
        let mut invalid = Invalid::default();
        if site.name.is_empty() {
            invalid.missing("name");
        }
        if site.npi.is_none() && held.is_none() {
            invalid.missing("facility_npi");
        }
        invalid.or(site)
    }

    /// Returns the Organization as OpenEMR will serve it.
    pub(super) fn organization(&self, clinic: &Clinic, id: &str) -> Value {
        let mut resource = json!({
            "id": id,
            "meta": clinic.meta(&["http://hl7.org/fhir/us/core/StructureDefinition/us-core-organization"]),
            "resourceType": "Organization",
        });
        if let (Some(npi), Some(members)) = (&self.npi, resource.as_object_mut()) {
            members.insert("identifier".to_owned(), json!([{"system": NPI, "value": npi}]));
        }
        if let Some(members) = resource.as_object_mut() {
            members.insert("active".to_owned(), json!(true));
            members.insert("name".to_owned(), json!(self.name));
        }
        add_lists(&mut resource, &self.telecom, &self.address);
        resource
    }
}
