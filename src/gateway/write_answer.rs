//! The answers to creates and updates: where the resource is, and what of it comes back (FHIR R4, "RESTful API", 3.1.0.8 and
//! 3.1.0.4; `Prefer: return=…`).
//!
//! OpenEMR answers a create with its two ids and no Location. Without a preference the resource comes back, as from most
//! servers: client libraries take the answer's body for it.
//!
//! Decision: `docs/decisions/15-errors.md`.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderName, StatusCode};
use log::warn;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::fhir::body_step::BodyStep;
use crate::fhir::interaction::Kind;
use crate::fhir::media_type::Format;
use crate::fhir::operation_outcome::{Issue, IssueCode, OperationOutcome, Severity};
use crate::fhir::prefer::Return;
use crate::fhir::root::Root;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::due::Due;
use crate::gateway::mended_answer::mended;
use crate::gateway::negotiation::preferences;
use crate::gateway::shown_resource::Shown;
use crate::gateway::{queue, response_head};
use crate::http::set_field::SetField;
use crate::openemr::created::Created;
use crate::openemr::error::is_malformed_id;
use crate::site::client::FhirRequest;
use crate::site::prepared::Site;

static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");
const CREATED_UNSEEN: &str = "The resource was created. The policy of this client does not permit it to read the resource.";
const DONE_UNSEEN: &str = "It was done. The policy of this client does not permit it to read the resource.";
/// The longest resource that is read back, in bytes.
const MOST: usize = 4 * 1024 * 1024;

/// Returns the body of the answer to a create, and sets Location in its head.
pub(super) async fn of_create(
    request: &RequestHeader,
    head: &mut ResponseHeader,
    body: Bytes,
    call: &Call,
    fhir: &FhirCall,
) -> Bytes {
    let Some(resource_type) = fhir.interaction.resource_type else { return body };
    let created = Created::read(&body).unwrap_or_default();
    head.set(CONTENT_TYPE, FHIR_JSON);
    let target = match created.id {
        Some(id) => format!("/{resource_type}/{id}"),
        None => match mended(body, &fhir.site) {
            Ok(resource) if created.is_resource => return if_shown(resource, CREATED_UNSEEN, call, fhir),
            Ok(_) | Err(_) => return told(call, fhir, "The resource was created, and OpenEMR does not say where."),
        },
    };
    locate(head, target.as_bytes(), &fhir.site);
    note_preference(head, fhir);
    match wanted(request, fhir) {
        Return::Minimal => {
            head.remove_header(&CONTENT_TYPE);
            Bytes::new()
        }
        Return::OperationOutcome => told(call, fhir, "The resource was created."),
        Return::Representation => {
            let came = created.is_resource.then(|| mended(body, &fhir.site).ok()).flatten();
            let resource = if came.is_some() { came } else { read(&target, call, &fhir.site).await };
            match resource {
                Some(resource) => if_shown(resource, CREATED_UNSEEN, call, fhir),
                None => told(call, fhir, "The resource was created, and cannot be read back at the moment."),
            }
        }
    }
}

/// Sets Location in the head of the answer to an update; returns what stands in place of the resource in its body, if anything.
pub(super) fn of_update(request: &RequestHeader, head: &mut ResponseHeader, call: &Call, fhir: &FhirCall) -> Option<Instead> {
    if fhir.interaction.kind != Kind::Update || !fhir.repairs().writes || !head.status.is_success() {
        return None;
    }
    let path = fhir.path();
    locate(head, path.strip_suffix(b"/").unwrap_or(path), &fhir.site);
    note_preference(head, fhir);
    match wanted(request, fhir) {
        Return::Representation => None,
        Return::Minimal => {
            head.remove_header(&CONTENT_TYPE);
            Some(Instead(Bytes::new()))
        }
        Return::OperationOutcome => {
            head.set(CONTENT_TYPE, FHIR_JSON);
            Some(Instead(told(call, fhir, "The resource was updated.")))
        }
    }
}

/// The filter of the resource that comes as the answer to a write, where the client may not read every one.
#[must_use]
pub(super) fn shown(head: &ResponseHeader, call: &Call, fhir: &FhirCall) -> Option<Shown> {
    let test = fhir.plan.limit.as_ref()?.shown.clone()?;
    let resource_type =
        fhir.interaction.resource_type.filter(|_| head.status.is_success() && !response_head::is_of_a_create(head, fhir))?;
    Some(Shown::new(test, resource_type, told(call, fhir, DONE_UNSEEN)))
}

/// The resource, if the client may read it; what was done, otherwise.
fn if_shown(resource: Bytes, done: &str, call: &Call, fhir: &FhirCall) -> Bytes {
    if fhir.shows(&resource) { resource } else { told(call, fhir, done) }
}

/// Makes a 404 of the answer to an update of what does not exist: OpenEMR answers it with a 400 that names a column of its
/// database. Whether it exists is asked, because only OpenEMR's words would tell. Gives the body of the error.
pub(super) async fn of_unknown_id(head: &mut ResponseHeader, body: Bytes, call: &Call, fhir: &FhirCall) -> Bytes {
    if fhir.interaction.kind != Kind::Update || !fhir.repairs().writes || head.status != StatusCode::BAD_REQUEST {
        return body;
    }
    let Ok(path) = std::str::from_utf8(fhir.path_sent()) else { return body };
    match fhir.site.client.send_with_token(&own_read(path, call, &fhir.site)).await {
        Ok(read) if read.status == StatusCode::NOT_FOUND || is_malformed_id(read.status, &read.body) => {
            head.set_status(StatusCode::NOT_FOUND).expect("a StatusCode is a status");
            Bytes::new()
        }
        Ok(_) => body,
        Err(error) => {
            warn!(request_id:% = call.id; "it cannot be told whether the resource exists: {error}");
            body
        }
    }
}

/// What the client wants to get back.
#[must_use]
pub(super) fn preferred(request: &RequestHeader) -> Return {
    Return::of(preferences(&request.headers)).unwrap_or(Return::Representation)
}

/// What comes back: where something was lost and the client does not say what it wants, the outcome that tells it.
fn wanted(request: &RequestHeader, fhir: &FhirCall) -> Return {
    let is_lossy = fhir.plan.adapted.as_ref().is_some_and(|adapted| adapted.is_lossy);
    let default = if is_lossy { Return::OperationOutcome } else { Return::Representation };
    Return::of(preferences(&request.headers)).unwrap_or(default)
}

/// Says in the head that something was left out as the client agreed to (RFC 7240 section 3).
fn note_preference(head: &mut ResponseHeader, fhir: &FhirCall) {
    if fhir.plan.adapted.as_ref().is_some_and(|adapted| adapted.is_lossy) {
        head.set(&PREFERENCE_APPLIED, HeaderValue::from_static("handling=lenient"));
    }
}

/// Declares where the resource is, at OpenEMR's base: links to that become the gateway's further on.
fn locate(head: &mut ResponseHeader, target: &[u8], site: &Site) {
    let url = [site.config.fhir_base().to_string().as_bytes(), target].concat();
    if let Ok(url) = HeaderValue::from_bytes(&url) {
        head.set(LOCATION, url);
    }
    head.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// An outcome that informs of what was done, and of what the resource was changed to for OpenEMR.
fn told(call: &Call, fhir: &FhirCall, text: &str) -> Bytes {
    let notes = fhir.plan.adapted.iter().flat_map(|adapted| adapted.notes.iter().cloned());
    let done = Issue { severity: Severity::Information, ..Issue::error(IssueCode::Informational, text) };
    let outcome = OperationOutcome::of_all(std::iter::once(done).chain(notes));
    let outcome = outcome.map(|outcome| outcome.of_request(&call.id.to_string()).write(Format::Json));
    Bytes::from(outcome.unwrap_or_default())
}

/// An outcome that informs.
#[must_use]
pub(super) fn outcome(call: &Call, text: &str) -> Bytes {
    let issue = Issue { severity: Severity::Information, ..Issue::error(IssueCode::Informational, text) };
    Bytes::from(OperationOutcome::of(issue).of_request(&call.id.to_string()).write(Format::Json))
}

/// Reads a resource, and mends it; `None` where the token may not read, or OpenEMR does not answer with a whole resource.
pub(super) async fn read(target: &str, call: &Call, site: &Site) -> Option<Bytes> {
    match site.client.send_with_token(&own_read(target, call, site)).await {
        Ok(response) if response.status == StatusCode::OK => {
            let is_due = Due::Resource.judge(Root::of(&response.body)).map_err(|not| not.to_string());
            let resource = is_due.and_then(|_| mended(response.body, site).map_err(|broken| broken.to_string()));
            resource.inspect_err(|cause| warn!(request_id:% = call.id; "the resource cannot be read back: {cause}")).ok()
        }
        Ok(response) => {
            warn!(request_id:% = call.id; "the resource cannot be read back: {}", response.explain());
            None
        }
        Err(error) => {
            warn!(request_id:% = call.id; "the resource cannot be read back: {error}");
            None
        }
    }
}

/// A read of the gateway's own, on behalf of a client.
fn own_read<'a>(target: &'a str, call: &Call, site: &Site) -> FhirRequest<'a> {
    let mut request = FhirRequest::get(target, MOST, site.config.upstream.timeouts.read).of(queue::client(call, site));
    request.fields.extend(call.trace.names(call.id));
    request
}

/// Another body in place of the one that comes.
#[derive(Debug)]
pub(super) struct Instead(Bytes);

impl BodyStep for Instead {
    fn feed(&mut self, _piece: Bytes) -> Bytes {
        Bytes::new()
    }

    fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }
}
