//! The create and update interactions of Patient, as 8.0 does them for a client with `system/Patient.write`.
//!
//! Practitioner and Organization have routes, but there is no system scope that allows them.

use serde_json::{Map, Value, json};

use super::{
    access_token::Grant,
    answer::Answer,
    error_answers,
    fhir_request::FhirRequest,
    http1::ReceivedBody,
    instance::Instance,
    php_json::Escapes,
    random::random_uuid,
    resources::{Clinic, patient_identifier},
    response::Body,
    scopes::{self, Interaction},
};

/// Answers `POST /{type}`: 201 with `pid` and `uuid`, without a Location field.
pub(super) fn create(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, resource_type: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, resource_type, Interaction::Create) {
        return error_answers::scope_missing(instance.personality);
    }
    if resource_type != "Patient" {
        return error_answers::route_not_found(instance.personality);
    }
    let person = match Person::parse(request.body) {
        Ok(person) => person,
        Err(answer) => return answer,
    };
    let uuid = random_uuid();
    let mut population = instance.population.write();
    let pid = population.all("Patient").len() + 1;
    let resource = person.resource(population.clinic(), &uuid, &pid.to_string());
    population.add("Patient", resource);
    Answer::value(201, &json!({"pid": pid, "uuid": uuid}), Escapes::Hex)
}

/// Answers `PUT /{type}/{id}`: 200 with the resource.
pub(super) fn update(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, resource_type: &str, id: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, resource_type, Interaction::Update) {
        return error_answers::scope_missing(instance.personality);
    }
    if resource_type != "Patient" {
        return error_answers::route_not_found(instance.personality);
    }
    if let Some(answer) = error_answers::malformed_id(id) {
        return answer;
    }
    let person = match Person::parse(request.body) {
        Ok(person) => person,
        Err(answer) => return answer,
    };
    let mut population = instance.population.write();
    let Some(existing) = population.get("Patient", id) else {
        return Answer::json(404, "[]");
    };
    let identifier = existing.value.pointer("/identifier/0/value").and_then(Value::as_str).unwrap_or_default();
    let resource = person.resource(population.clinic(), id, identifier);
    population.add("Patient", resource);
    match population.get("Patient", id) {
        Some(resource) => Answer::new(200, "application/json", Body::Whole(resource.wire.clone())),
        None => Answer::json(404, "[]"),
    }
}

/// The members that OpenEMR takes from a Patient in a request body.
struct Person {
    family: String,
    given: Vec<String>,
    gender: String,
    birth_date: String,
    telecom: Option<Value>,
    address: Option<Value>,
}

impl Person {
    /// Parses the body; errors with the answer that says what is wrong. A body that was too long to be kept is malformed.
    fn parse(body: &ReceivedBody) -> Result<Person, Answer> {
        let sent: Option<Map<String, Value>> = body.is_whole().then(|| serde_json::from_slice(&body.kept).ok()).flatten();
        let Some(sent) = sent.filter(|sent| sent.contains_key("resourceType")) else {
            let outcome = json!({
                "resourceType": "OperationOutcome",
                "issue": [{"severity": "error", "code": "invalid", "details": {"text": "resourceType Not Found"}}],
            });
            return Err(Answer::value(400, &outcome, Escapes::Plain));
        };
        let sent = Value::Object(sent);
        let text = |pointer: &str| sent.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let given: Vec<String> = sent
            .pointer("/name/0/given")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
            .unwrap_or_default();
        let person = Person {
            family: text("/name/0/family"),
            given,
            gender: text("/gender"),
            birth_date: text("/birthDate"),
            telecom: sent.get("telecom").filter(|list| list.is_array()).cloned(),
            address: sent.get("address").filter(|list| list.is_array()).cloned(),
        };
        let mut errors = Map::new();
        let mut missing = |field: &str, code: &str, words: String| {
            errors.insert(field.to_owned(), json!({code: words}));
        };
        let absent = "Required::NON_EXISTENT_KEY";
        if person.given.is_empty() {
            missing("fname", absent, "fname must be provided, but does not exist".to_owned());
        }
        if person.family.is_empty() {
            missing("lname", absent, "lname must be provided, but does not exist".to_owned());
        }
        if person.gender.is_empty() {
            missing("sex", "NotEmpty::EMPTY_VALUE", "Gender must not be empty".to_owned());
        }
        if person.birth_date.is_empty() {
            missing("DOB", "NotEmpty::EMPTY_VALUE", "Date of Birth must not be empty".to_owned());
        }
        if errors.is_empty() { Ok(person) } else { Err(Answer::value(400, &json!({"validationErrors": errors}), Escapes::Plain)) }
    }

    /// Returns the resource as OpenEMR will serve it.
    fn resource(&self, clinic: &Clinic, id: &str, identifier: &str) -> Value {
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
        Value::Object(resource)
    }
}
