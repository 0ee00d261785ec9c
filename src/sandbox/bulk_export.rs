//! Bulk export: the whole of it happens in the kick-off request, and `_type` is ignored.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::json;

use super::{
    access_token::Grant,
    answer::{Answer, Dress, random_bytes},
    calendar,
    faults::lock,
    fhir_api::FhirRequest,
    http1::Body,
    personality::Personality,
    php_json::{self, Escapes},
    population::uuid_of,
    refusals,
    scopes::{self, Interaction},
    world::World,
};

/// The jobs and the files they left.
#[derive(Default)]
pub struct Exports {
    jobs: HashMap<String, Job>,
    files: HashMap<String, File>,
    made: u64,
}

struct Job {
    client: String,
    manifest: String,
}

enum File {
    Export {
        name: String,
        content: Bytes,
    },
    /// Published through the admin, to be streamed.
    Pattern(u64),
}

impl Exports {
    /// Publishes a Binary of that many bytes under the given id.
    pub fn publish(&mut self, id: String, bytes: u64) {
        self.files.insert(id, File::Pattern(bytes));
    }
}

fn outcome(status: u16, text: &str) -> Answer {
    let body = json!({
        "id": random_uuid(), "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "processing", "details": {"text": text}}],
    });
    Answer::value(status, &body, Escapes::Plain)
}

fn random_uuid() -> String {
    uuid_of(random_bytes(16).iter().fold(0u128, |bits, &byte| bits << 8 | u128::from(byte)))
}

fn has(grant: &Grant, scopes: &[&str]) -> bool {
    grant.scopes.iter().any(|scope| scopes.contains(&scope.as_str()))
}

/// `GET …/$export`: 202 with the job's address, once every granted type is written.
pub fn kick_off(world: &World, request: &FhirRequest<'_>, grant: &Grant) -> Answer {
    if !has(grant, &["system/*.$export", "system/Patient.$export", "system/Group.$export"]) {
        return refusals::scope_missing(world.personality);
    }
    if request.head.field("accept") != Some("application/fhir+json") {
        return outcome(400, "'Accept' header invalid");
    }
    if request.head.field("prefer") != Some("respond-async") {
        return outcome(400, "'Prefer' header invalid");
    }
    let job = random_uuid();
    let mut output = Vec::new();
    {
        let population = world.population();
        let mut exports = lock(&world.exports);
        for resource_type in population.types() {
            if !scopes::allows(world.personality, &grant.scopes, resource_type, Interaction::Read) {
                continue;
            }
            let mut content = String::new();
            for resource in population.all(resource_type) {
                content.push_str(&php_json::encode(&resource.value, Escapes::Plain));
                content.push('\n');
            }
            exports.made += 1;
            let id = (100_000 + exports.made).to_string();
            let name = format!("{resource_type}-{job}.ndjson");
            exports.files.insert(id.clone(), File::Export { name, content: Bytes::from(content) });
            let url = format!("{}/apis/{}/fhir/Binary/{id}", world.site_address, request.site);
            output.push(json!({"url": url, "type": resource_type}));
        }
    }
    let seconds = world.clock.now() as i64;
    let fhir_path = request.head.path().split_once("/fhir/").map_or("", |(_, path)| path);
    let asked = match world.personality {
        Personality::V8_0 => {
            format!("/apis/dispatch.php{}", request.head.target.strip_prefix("/apis").unwrap_or_default())
        }
        Personality::V7_0_3 => format!("/fhir/{fhir_path}"),
    };
    let manifest = json!({
        "transactionTime": {
            "date": format!("{} {}.000000", calendar::date(seconds), calendar::time(seconds)),
            "timezone_type": 3, "timezone": "UTC",
        },
        "request": asked,
        "requiresAccessToken": true,
        "output": output,
        "error": [],
    });
    let manifest = php_json::encode(&manifest, Escapes::Plain);
    lock(&world.exports).jobs.insert(job.clone(), Job { client: grant.client.clone(), manifest });
    let status_url = format!("{}/apis/{}/fhir/$bulkdata-status?job={job}", world.site_address, request.site);
    Answer::new(202, "application/json", Body::Empty).with("Content-Location", status_url)
}

fn job_of(request: &FhirRequest<'_>) -> String {
    form_urlencoded::parse(request.head.query().as_bytes())
        .find(|(name, _)| name == "job")
        .map(|(_, job)| job.into_owned())
        .unwrap_or_default()
}

fn unknown_job(personality: Personality) -> Answer {
    match personality {
        Personality::V8_0 => outcome(404, "The job id you submitted was not found"),
        Personality::V7_0_3 => outcome(400, "The job id you submitted was invalid"),
    }
}

/// `GET …/$bulkdata-status?job=`: the manifest. A job belongs to its client.
pub fn status(world: &World, request: &FhirRequest<'_>, grant: &Grant) -> Answer {
    if !has(grant, &["system/*.$bulkdata-status"]) {
        return refusals::scope_missing(world.personality);
    }
    match lock(&world.exports).jobs.get(&job_of(request)) {
        Some(job) if job.client == grant.client => Answer::json(200, job.manifest.clone()),
        _ => unknown_job(world.personality),
    }
}

/// `DELETE …/$bulkdata-status?job=`: 202.
pub fn delete(world: &World, request: &FhirRequest<'_>, grant: &Grant) -> Answer {
    if !has(grant, &["system/*.$bulkdata-status"]) {
        return refusals::scope_missing(world.personality);
    }
    let id = job_of(request);
    let mut exports = lock(&world.exports);
    if exports.jobs.get(&id).is_none_or(|job| job.client != grant.client) {
        return unknown_job(world.personality);
    }
    exports.jobs.remove(&id);
    let of_this_job = format!("-{id}.ndjson");
    exports.files.retain(|_, file| !matches!(file, File::Export { name, .. } if name.ends_with(&of_this_job)));
    Answer::empty(202)
}

/// `GET …/Binary/{id}`.
pub fn binary(world: &World, grant: &Grant, id: &str) -> Answer {
    if !scopes::allows(world.personality, &grant.scopes, "Binary", Interaction::Read) {
        return refusals::scope_missing(world.personality);
    }
    let (content_type, body, file_name) = match lock(&world.exports).files.get(id) {
        None => return Answer::json(404, "[]"),
        Some(File::Export { name, content }) => ("application/fhir+ndjson", Body::Whole(content.clone()), name.clone()),
        Some(File::Pattern(length)) => ("application/octet-stream", Body::Pattern(*length), format!("{id}.bin")),
    };
    Answer::new(200, content_type, body).dressed(Dress::Download { file_name })
}
