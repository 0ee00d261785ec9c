//! Bulk export: the whole of it happens in the kick-off request, and `_type` is ignored.
//!
//! On demand it is as bad as on real installs: more than a few types outlast Apache's patience, and Provenance fails.

use std::collections::HashMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    access_token::Grant,
    answer::{Answer, Dress, random_bytes},
    calendar,
    counters::milliseconds,
    faults::{ServerError, lock},
    fhir_api::FhirRequest,
    http1::Body,
    personality::Personality,
    php_json::{self, Escapes},
    population::{Population, uuid_of},
    refusals,
    scopes::{self, Interaction},
    world::World,
};

/// Types with a route that OpenEMR does not export.
const NOT_EXPORTED: [&str; 3] = ["Binary", "OperationDefinition", "PractitionerRole"];

/// How exports go.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Manner {
    /// A kick-off whose token grants more types than this outlasts Apache: 504, and the job is lost.
    pub most_types: Option<usize>,
    /// How long Apache waits, in milliseconds; it has 60 s.
    pub apache_waits_ms: u32,
    /// How long the export of one type takes, in milliseconds.
    pub type_takes_ms: u32,
    /// What a token that grants Provenance makes of an export.
    pub provenance: ProvenanceFails,
    /// How often the status says that the job is not at its end.
    pub polls: u32,
    /// How long files are there, in seconds; OpenEMR has an hour.
    pub files_live_seconds: u64,
}

/// What a token that grants Provenance makes of an export.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum ProvenanceFails {
    /// Nothing.
    #[default]
    No,
    /// 500, at once.
    Error,
    /// Apache's 504, after its patience.
    Timeout,
}

impl Default for Manner {
    fn default() -> Manner {
        Manner {
            most_types: None,
            apache_waits_ms: 60_000,
            type_takes_ms: 0,
            provenance: ProvenanceFails::No,
            polls: 0,
            files_live_seconds: 3600,
        }
    }
}

/// The jobs and the files they left.
#[derive(Default)]
pub struct Exports {
    jobs: HashMap<String, Job>,
    files: HashMap<String, File>,
    made: u64,
    manner: Manner,
    kick_offs: Vec<Value>,
}

struct Job {
    client: String,
    manifest: String,
    polls_left: u32,
}

enum File {
    Export {
        name: String,
        content: Bytes,
        gone_at: f64,
    },
    /// Published through the admin, to be streamed.
    Pattern(u64),
}

impl Exports {
    /// Publishes a Binary of that many bytes under the given id.
    pub fn publish(&mut self, id: String, bytes: u64) {
        self.files.insert(id, File::Pattern(bytes));
    }

    /// From now on exports go like this.
    pub fn go(&mut self, manner: Manner) {
        self.manner = manner;
    }

    /// Exports go well again, and no kick-off has been seen. Jobs and files stay.
    pub fn reset(&mut self) {
        self.manner = Manner::default();
        self.kick_offs.clear();
    }

    /// The kick-offs that were worked on: target, types, when each began (by the true clock) and how long it took.
    pub fn kick_offs(&self) -> &[Value] {
        &self.kick_offs
    }

    /// How many jobs are known.
    pub fn job_count(&self) -> usize {
        self.jobs.len()
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
    let mut types: Vec<&str> = world.search_parameters.keys().map(String::as_str).collect();
    types
        .retain(|name| !NOT_EXPORTED.contains(name) && scopes::allows(world.personality, &grant.scopes, name, Interaction::Read));
    types.sort_unstable();
    if types.is_empty() {
        return outcome(400, "AccessToken does grant access to any supported system resources");
    }
    let manner = lock(&world.exports).manner.clone();
    let grants_provenance = types.contains(&"Provenance");
    let takes = manner.type_takes_ms.saturating_mul(types.len() as u32);
    let (status, takes) = match manner.provenance {
        ProvenanceFails::Error if grants_provenance => (500, 0),
        ProvenanceFails::Timeout if grants_provenance => (504, manner.apache_waits_ms),
        _ if manner.most_types.is_some_and(|most| types.len() > most) => (504, manner.apache_waits_ms),
        _ if takes > manner.apache_waits_ms => (504, manner.apache_waits_ms),
        _ => (202, takes),
    };
    lock(&world.exports).kick_offs.push(json!({
        "target": request.head.target, "types": types, "status": status, "began_ms": milliseconds(), "takes_ms": takes,
    }));
    let answer = match status {
        202 => export(world, request, grant, &types),
        504 => Answer::apache(
            504,
            "Gateway Timeout",
            "The gateway did not receive a timely response from the upstream server or application.",
        ),
        _ => outcome(status, "An internal server error occurred"),
    };
    answer.after(takes)
}

/// Writes every type's file, and a job that lists them.
fn export(world: &World, request: &FhirRequest<'_>, grant: &Grant, types: &[&str]) -> Answer {
    let since = form_urlencoded::parse(request.head.query().as_bytes()).find(|(name, _)| name == "_since");
    let since = match since.map(|(_, since)| parse_since(&since)) {
        None => None,
        Some(Some(since)) => Some(since),
        // Nobody catches the exception.
        Some(None) => return refusals::server_error(world.personality, ServerError::System),
    };
    let job = random_uuid();
    let mut output = Vec::new();
    {
        let population = world.population();
        let mut exports = lock(&world.exports);
        let gone_at = world.clock.now() + exports.manner.files_live_seconds as f64;
        for resource_type in types {
            let content = ndjson(&population, resource_type, since);
            exports.made += 1;
            let id = (100_000 + exports.made).to_string();
            let name = format!("{resource_type}-{job}.ndjson");
            exports.files.insert(id.clone(), File::Export { name, content: Bytes::from(content), gone_at });
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
    let mut exports = lock(&world.exports);
    let polls_left = exports.manner.polls;
    exports.jobs.insert(job.clone(), Job { client: grant.client.clone(), manifest, polls_left });
    let status_url = format!("{}/apis/{}/fhir/$bulkdata-status?job={job}", world.site_address, request.site);
    Answer::new(202, "application/json", Body::Empty).with("Content-Location", status_url)
}

/// A time as OpenEMR reads it: up to four digits of a second, of which it takes the number for milliseconds.
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

/// One resource a line, of those that changed at that instant or later.
fn ndjson(population: &Population, resource_type: &str, since: Option<jiff::Timestamp>) -> String {
    let mut content = String::new();
    for resource in population.all(resource_type) {
        let updated = resource.value.pointer("/meta/lastUpdated").and_then(Value::as_str);
        let updated = updated.and_then(|updated| updated.parse::<jiff::Timestamp>().ok());
        if since.is_none_or(|since| updated.is_none_or(|updated| updated >= since)) {
            content.push_str(&php_json::encode(&resource.value, Escapes::Plain));
            content.push('\n');
        }
    }
    content
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
    match lock(&world.exports).jobs.get_mut(&job_of(request)) {
        Some(job) if job.client == grant.client && job.polls_left > 0 => {
            job.polls_left -= 1;
            Answer::empty(202)
        }
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
        Some(File::Export { gone_at, .. }) if world.clock.now() >= *gone_at => return Answer::json(404, "[]"),
        Some(File::Export { name, content, .. }) => ("application/fhir+ndjson", Body::Whole(content.clone()), name.clone()),
        Some(File::Pattern(length)) => ("application/octet-stream", Body::Pattern(*length), format!("{id}.bin")),
    };
    Answer::new(200, content_type, body).dressed(Dress::Download { file_name })
}
