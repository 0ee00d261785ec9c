//! The create and update interactions of the next OpenEMR, for the types of [`Personality::written_types`]: a resource is
//! kept as it was sent, extensions included.
//!
//! [`Personality::written_types`]: super::personality::Personality::written_types

use serde_json::{Value, json};

use super::{
    access_token::Grant,
    answer::Answer,
    calendar, error_answers,
    fhir_request::FhirRequest,
    instance::Instance,
    next_answers::{outcome, resource},
    random::random_uuid,
    scopes::{self, Interaction},
};

/// Answers `POST /{type}`: 201 with the resource and its Location.
pub(super) fn create(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, resource_type: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, resource_type, Interaction::Create) {
        return error_answers::scope_missing(instance.personality);
    }
    let id = random_uuid();
    match stored(instance, request, resource_type, &id) {
        Ok(value) => {
            let fhir = format!("{}/apis/{}/fhir", instance.site_address, request.site_and_rest().0);
            resource(201, &value).with("Location", format!("{fhir}/{resource_type}/{id}"))
        }
        Err(answer) => answer,
    }
}

/// Answers `PUT /{type}/{id}`: 200 with the resource, 404 if there is none.
pub(super) fn update(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, resource_type: &str, id: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, resource_type, Interaction::Update) {
        return error_answers::scope_missing(instance.personality);
    }
    if instance.population.read().get(resource_type, id).is_none() {
        return outcome(404, "not-found", "The resource was not found");
    }
    stored(instance, request, resource_type, id).map_or_else(|answer| answer, |value| resource(200, &value))
}

/// Stores the resource in the body under an id and returns it as it is served; errors with the answer that says what is
/// wrong.
fn stored(instance: &Instance, request: &FhirRequest<'_>, resource_type: &str, id: &str) -> Result<Value, Answer> {
    let sent = request.body.is_whole().then(|| serde_json::from_slice::<Value>(&request.body.kept).ok()).flatten();
    let Some(Value::Object(mut members)) = sent else {
        return Err(outcome(400, "structure", "The body is no JSON object"));
    };
    if members.get("resourceType").and_then(Value::as_str) != Some(resource_type) {
        return Err(outcome(400, "invalid", "The resourceType is not that of the address"));
    }
    let updated = format!("{}+00:00", calendar::date_time(instance.clock.seconds()));
    members.insert("id".to_owned(), json!(id));
    members.insert("meta".to_owned(), json!({"versionId": "1", "lastUpdated": updated}));
    let value = Value::Object(members);
    instance.population.write().add(resource_type, value.clone());
    Ok(value)
}
