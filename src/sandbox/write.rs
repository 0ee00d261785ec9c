//! The create and update interactions as 8.0 does them, for a client with the `write` scope of the type.
//!
//! Fields that make a request conditional (`If-None-Exist`, `If-Match`, `If-None-Match`) are ignored, and so is an id in the
//! body. Of an update, only what is sent is changed.

use serde_json::{Map, Value, json};

use super::{
    access_token::Grant,
    answer::Answer,
    error_answers,
    faults::ServerError,
    fhir_request::FhirRequest,
    instance::Instance,
    php_json::Escapes,
    random::random_uuid,
    response::Body,
    scopes::{self, Interaction},
    written::{Invalid, Person, Site, public_id},
};

/// Answers `POST /{type}`: 201 with the number (`pid` of a Patient) and `uuid`, without a Location field.
pub(super) fn create(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, resource_type: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, resource_type, Interaction::Create) {
        return error_answers::scope_missing(instance.personality);
    }
    let sent = match parse(instance, request, resource_type) {
        Ok(sent) => sent,
        Err(answer) => return answer,
    };
    let uuid = random_uuid();
    let mut population = instance.population.write();
    let number = population.all(resource_type).len() + 1;
    let clinic = population.clinic();
    let resource = match resource_type {
        "Patient" => {
            let identifier = public_id(&sent).unwrap_or_else(|| number.to_string());
            Person::new(&sent, None).patient(clinic, &uuid, &identifier)
        }
        "Practitioner" => Person::new(&sent, None).practitioner(clinic, &uuid),
        _ => Site::new(&sent, None).map(|site| site.organization(clinic, &uuid)),
    };
    match resource {
        Ok(resource) => population.add(resource_type, resource),
        Err(invalid) => return not_valid(invalid),
    }
    let name = if resource_type == "Patient" { "pid" } else { "id" };
    Answer::value(201, &json!({name: number, "uuid": uuid}), Escapes::Hex)
}

/// Answers `PUT /{type}/{id}`: 200 with the resource.
pub(super) fn update(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, resource_type: &str, id: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, resource_type, Interaction::Update) {
        return error_answers::scope_missing(instance.personality);
    }
    if let Some(answer) = error_answers::malformed_id(id) {
        return answer;
    }
    let sent = match parse(instance, request, resource_type) {
        Ok(sent) => sent,
        Err(answer) => return answer,
    };
    let mut population = instance.population.write();
    let Some(held) = population.get(resource_type, id) else {
        return not_valid(Invalid::field("uuid", id, &format!("UUID {id} does not exist")));
    };
    let clinic = population.clinic();
    let held = Some(&held.value);
    let resource = match resource_type {
        "Patient" => {
            let identifier = held.and_then(|held| held.pointer("/identifier/0/value")).and_then(Value::as_str);
            let patient = Person::new(&sent, held).patient(clinic, id, identifier.unwrap_or_default());
            // They are made of columns that no update touches.
            let extensions = held.and_then(|held| held.get("extension")).cloned().unwrap_or_default();
            patient.map(|mut patient| {
                patient["extension"] = extensions;
                patient
            })
        }
        "Practitioner" => Person::new(&sent, held).practitioner(clinic, id),
        _ => Site::new(&sent, held).map(|site| site.organization(clinic, id)),
    };
    match resource {
        Ok(resource) => population.add(resource_type, resource),
        Err(invalid) => return not_valid(invalid),
    }
    match population.get(resource_type, id) {
        Some(resource) => Answer::new(200, "application/json", Body::Whole(resource.wire_at(instance.clock.seconds()))),
        None => Answer::json(404, "[]"),
    }
}

/// Parses the body; errors with the answer that says what is wrong. A body that was too long to be kept is malformed.
fn parse(instance: &Instance, request: &FhirRequest<'_>, resource_type: &str) -> Result<Value, Answer> {
    let body = request.body;
    let sent: Option<Map<String, Value>> = body.is_whole().then(|| serde_json::from_slice(&body.kept).ok()).flatten();
    let Some(sent) = sent.filter(|sent| sent.contains_key("resourceType")) else {
        let outcome = json!({
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": "invalid", "details": {"text": "resourceType Not Found"}}],
        });
        return Err(Answer::value(400, &outcome, Escapes::Plain));
    };
    let has_extension = sent.get("extension").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if resource_type == "Patient" && has_extension {
        return Err(error_answers::server_error(instance.personality, ServerError::System));
    }
    Ok(Value::Object(sent))
}

fn not_valid(invalid: Invalid) -> Answer {
    Answer::value(400, &json!({"validationErrors": invalid.into_errors()}), Escapes::Plain)
}
