//! Bulk export as OpenEMR does it: the kick-off request itself writes every file, and `_type` is ignored.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    access_token::Grant,
    answer::{Answer, HeaderSet},
    calendar, error_answers,
    exports::{Download, JobStatus},
    faults::ServerError,
    fhir_request::FhirRequest,
    instance::Instance,
    personality::Personality,
    php_json::{self, Escapes},
    population::Population,
    random::random_uuid,
    resource::Resource,
    response::Body,
    scopes::{self, Interaction},
};

/// Types with a route that no release exports.
const NOT_EXPORTED: [&str; 6] =
    ["Binary", "Medication", "OperationDefinition", "PractitionerRole", "Questionnaire", "QuestionnaireResponse"];

/// Returns whether a release exports a type.
fn is_exported(personality: Personality, resource_type: &str) -> bool {
    match resource_type {
        "Coverage" => personality != Personality::V7_0_3,
        other => !NOT_EXPORTED.contains(&other),
    }
}

/// Returns the scope that an export at the level of this route demands. None stands for another.
fn scope_of_level(route: &str) -> &'static str {
    match route.split('/').rev().nth(1) {
        Some("fhir") => "system/*.$export",
        Some("Patient") => "system/Patient.$export",
        _ => "system/Group.$export",
    }
}

fn outcome(status: u16, text: &str) -> Answer {
    let body = json!({
        "id": random_uuid(), "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "processing", "details": {"text": text}}],
    });
    Answer::value(status, &body, Escapes::Plain)
}

fn has(grant: &Grant, scopes: &[&str]) -> bool {
    grant.scopes.iter().any(|scope| scopes.contains(&scope.as_str()))
}

/// Answers `GET …/$export`: 202 with the job's address, once the file of every granted type is written.
pub(super) fn kick_off(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant) -> Answer {
    if !has(grant, &[scope_of_level(request.site_and_rest().1)]) {
        return error_answers::scope_missing(instance.personality);
    }
    if request.head.field("accept") != Some("application/fhir+json") {
        return outcome(400, "'Accept' header invalid");
    }
    if request.head.field("prefer") != Some("respond-async") {
        return outcome(400, "'Prefer' header invalid");
    }
    let mut types: Vec<&str> = instance.search_parameters.keys().map(String::as_str).collect();
    types.retain(|name| {
        is_exported(instance.personality, name) && scopes::allows(instance.personality, &grant.scopes, name, Interaction::Read)
    });
    types.sort_unstable();
    if types.is_empty() {
        let status = match instance.personality {
            Personality::V8_0 | Personality::Next => 401,
            Personality::V7_0_3 => 400,
        };
        return outcome(status, "AccessToken does not grant access to any supported system resources");
    }
    let (status, takes_ms) = {
        let mut exports = instance.exports.lock();
        let (status, takes_ms) = exports.behavior().kick_off(&types);
        exports.record_kick_off(json!({
            "target": request.head.target, "types": types, "status": status,
            "began_ms": calendar::machine_milliseconds(), "takes_ms": takes_ms,
        }));
        (status, takes_ms)
    };
    let answer = match status {
        202 => export(instance, request, grant, &types),
        504 => Answer::apache(
            504,
            "Gateway Timeout",
            "The gateway did not receive a timely response from the upstream server or application.",
        ),
        _ => outcome(status, "An internal server error occurred"),
    };
    answer.delayed_by(takes_ms)
}

/// Writes a file for every type, and a job that lists the files.
fn export(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant, types: &[&str]) -> Answer {
    let since = match request.parameter("_since").map(|since| parse_since(&since)) {
        None => None,
        Some(Some(since)) => Some(since),
        // OpenEMR does not catch the exception that the date parser throws.
        Some(None) => return error_answers::server_error(instance.personality, ServerError::System),
    };
    let job = random_uuid();
    let fhir_base = format!("{}/apis/{}/fhir", instance.site_address, request.site_and_rest().0);
    let population = instance.population.read();
    let output: Vec<Value> = types
        .iter()
        .map(|resource_type| {
            let content = Bytes::from(match *resource_type {
                "Provenance" => provenance(&population, types, since),
                _ => ndjson(&population, resource_type, since),
            });
            let name = format!("{resource_type}-{job}.ndjson");
            let id = instance.exports.lock().add_file(name, content, instance.clock.now());
            json!({"url": format!("{fhir_base}/Binary/{id}"), "type": resource_type})
        })
        .collect();
    let seconds = instance.clock.seconds();
    let manifest = json!({
        "transactionTime": {
            "date": format!("{} {}.000000", calendar::date(seconds), calendar::time(seconds)),
            "timezone_type": 3, "timezone": "UTC",
        },
        "request": recorded_request(instance.personality, request),
        "requiresAccessToken": true,
        "output": output,
        "error": [],
    });
    let manifest = php_json::encode(&manifest, Escapes::Plain);
    instance.exports.lock().add_job(job.clone(), grant.client.clone(), manifest);
    let status_url = format!("{fhir_base}/$bulkdata-status?job={job}");
    Answer::new(202, "application/json", Body::Empty).with("Content-Location", status_url)
}

/// Returns the path that a manifest's `request` has; it is not the one that the client used.
fn recorded_request(personality: Personality, request: &FhirRequest<'_>) -> String {
    match personality {
        Personality::V8_0 | Personality::Next => {
            format!("/apis/dispatch.php{}", request.head.target.strip_prefix("/apis").unwrap_or_default())
        }
        Personality::V7_0_3 => {
            let path = request.head.path().split_once("/fhir/").map_or("", |(_, path)| path);
            format!("/fhir/{path}")
        }
    }
}

/// Parses a time as OpenEMR does: up to four digits of a second, which it takes as a number of milliseconds.
fn parse_since(text: &str) -> Option<jiff::Timestamp> {
    let whole = match text.split_once('.') {
        None => text.to_owned(),
        Some((seconds, rest)) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, zone) = rest.split_at_checked(digits)?;
            let milliseconds = (1..=4).contains(&digits).then(|| fraction.parse::<u16>().ok())??.min(999);
            format!("{seconds}.{milliseconds:03}{zone}")
        }
    };
    whole.parse().ok()
}

/// Returns the rows of a type that changed at `since` or later.
fn changed<'a>(
    population: &'a Population,
    resource_type: &str,
    since: Option<jiff::Timestamp>,
) -> impl Iterator<Item = &'a Resource> {
    population.rows(resource_type).map(AsRef::as_ref).filter(move |resource: &&Resource| {
        let updated = resource.value.pointer("/meta/lastUpdated").and_then(Value::as_str);
        let updated = updated.and_then(|updated| updated.parse::<jiff::Timestamp>().ok());
        since.is_none_or(|since| resource.is_always_new() || updated.is_none_or(|updated| updated >= since))
    })
}

/// Returns the file of a type: a resource a line, with nothing behind the last one.
fn ndjson(population: &Population, resource_type: &str, since: Option<jiff::Timestamp>) -> String {
    let lines = changed(population, resource_type, since).map(|resource| php_json::encode(&resource.value, Escapes::Plain));
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the file of Provenance, which OpenEMR makes from the other types of the job: alone it is empty.
fn provenance(population: &Population, types: &[&str], since: Option<jiff::Timestamp>) -> String {
    let of_type = |resource_type: &&str| {
        let resources = changed(population, resource_type, since);
        let made = resources.map(|resource| population.clinic().provenance_of(resource_type, &resource.id));
        made.map(|one| php_json::encode(&one, Escapes::Plain)).collect::<Vec<_>>()
    };
    types.iter().flat_map(of_type).collect::<Vec<_>>().join("\n")
}

fn unknown_job(personality: Personality) -> Answer {
    match personality {
        Personality::V8_0 | Personality::Next => outcome(404, "The job id you submitted was not found"),
        Personality::V7_0_3 => outcome(400, "The job id you submitted was invalid"),
    }
}

/// Answers `GET …/$bulkdata-status?job=` with the manifest. A job belongs to its client.
pub(super) fn status(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant) -> Answer {
    if !has(grant, &["system/*.$bulkdata-status"]) {
        return error_answers::scope_missing(instance.personality);
    }
    let id = request.parameter("job").unwrap_or_default();
    match instance.exports.lock().poll(&id, &grant.client) {
        Some(JobStatus::InProgress) => Answer::empty(202),
        Some(JobStatus::Complete(manifest)) => Answer::json(200, manifest),
        None => unknown_job(instance.personality),
    }
}

/// Answers `DELETE …/$bulkdata-status?job=` with 202.
pub(super) fn delete(instance: &Instance, request: &FhirRequest<'_>, grant: &Grant) -> Answer {
    if !has(grant, &["system/*.$bulkdata-status"]) {
        return error_answers::scope_missing(instance.personality);
    }
    let id = request.parameter("job").unwrap_or_default();
    if instance.exports.lock().delete(&id, &grant.client) { Answer::empty(202) } else { unknown_job(instance.personality) }
}

/// Answers `GET …/Binary/{id}` with a file.
pub(super) fn binary(instance: &Instance, grant: &Grant, id: &str) -> Answer {
    if !scopes::allows(instance.personality, &grant.scopes, "Binary", Interaction::Read) {
        return error_answers::scope_missing(instance.personality);
    }
    let exports = instance.exports.lock();
    match exports.download(id, instance.clock.now()) {
        None if exports.has(id) || instance.personality == Personality::Next => Answer::json(404, "[]"),
        None => Answer::new(200, "", Body::Empty),
        Some(Download { content_type, body, file_name }) => {
            Answer::new(200, content_type, body).with_header_set(HeaderSet::Download { file_name })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_demands_its_own_scope() {
        for (route, scope) in [
            ("fhir/$export", "system/*.$export"),
            ("fhir/Patient/$export", "system/Patient.$export"),
            ("fhir/Group/7/$export", "system/Group.$export"),
        ] {
            assert_eq!(scope_of_level(route), scope, "{route}");
        }
    }

    #[test]
    fn provenance_is_made_from_the_other_types_of_the_job() {
        let population = Population::new(Personality::V8_0, "", 4, 1, 0);
        let lines = |types: &[&str]| provenance(&population, types, None).lines().count();
        assert_eq!(lines(&["Provenance"]), 0);
        assert_eq!(lines(&["Condition", "Patient", "Provenance"]), 6);
        let file = ndjson(&population, "Condition", None);
        assert!(file.lines().count() == 2 && !file.ends_with('\n'));
    }

    #[test]
    fn coverage_is_exported_by_8_0_alone() {
        assert!(is_exported(Personality::V8_0, "Coverage") && !is_exported(Personality::V7_0_3, "Coverage"));
        assert!(!is_exported(Personality::V8_0, "Medication"));
    }
}
