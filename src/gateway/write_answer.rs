//! The answers to creates and updates: where the resource is, and what of it comes back (FHIR R4, "RESTful API", 3.1.0.8 and
//! 3.1.0.4; `Prefer: return=…`).
//!
//! OpenEMR answers a create with its two ids and no Location. Without a preference the resource comes back, as from most
//! servers: client libraries take the answer's body for it.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use log::warn;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::fhir::body_step::BodyStep;
use crate::fhir::interaction::Kind;
use crate::fhir::media_type::Format;
use crate::fhir::operation_outcome::{Issue, IssueCode, OperationOutcome, Severity};
use crate::fhir::prefer::Return;
use crate::gateway::context::RequestContext;
use crate::gateway::negotiation::preferences;
use crate::gateway::route::Route;
use crate::gateway::tracing;
use crate::http::request_target::Target;
use crate::openemr::created::Created;
use crate::site::client::FhirRequest;

/// A longer resource is not read back.
const MOST: usize = 4 * 1024 * 1024;

/// Whether this is the answer to a create, whose body tells where the new resource is.
#[must_use]
pub(super) fn is_of_a_create(head: &ResponseHeader, context: &RequestContext) -> bool {
    let is_create = context.interaction.is_some_and(|interaction| interaction.kind == Kind::Create);
    is_create && context.repairs().writes && matches!(head.status, StatusCode::CREATED | StatusCode::OK)
}

/// The body of the answer to a create; its head gets Location.
///
/// # Errors
/// None in practice: the fields that are set are valid.
pub(super) async fn of_create(
    request: &RequestHeader,
    head: &mut ResponseHeader,
    body: Bytes,
    context: &RequestContext,
) -> pingora::Result<Bytes> {
    let resource_type = context.interaction.and_then(|interaction| interaction.resource_type);
    let Some(resource_type) = resource_type else { return Ok(body) };
    let created = Created::read(&body).unwrap_or_default();
    head.insert_header(CONTENT_TYPE, Format::Json.content_type())?;
    let target = match created.id {
        Some(id) => format!("/{resource_type}/{id}"),
        None if created.is_resource => return Ok(body),
        None => return Ok(outcome(context, "The resource was created, and OpenEMR does not say where.")),
    };
    locate(head, target.as_bytes(), context)?;
    match preferred(request) {
        Return::Minimal => {
            head.remove_header(&CONTENT_TYPE);
            Ok(Bytes::new())
        }
        Return::OperationOutcome => Ok(outcome(context, "The resource was created.")),
        Return::Representation if created.is_resource => Ok(body),
        Return::Representation => Ok(match read(&target, context).await {
            Some(resource) => resource,
            None => outcome(context, "The resource was created, and cannot be read back at the moment."),
        }),
    }
}

/// An answer to an update: its head gets Location, and its body what stands in the place of the resource, if anything.
///
/// # Errors
/// None in practice: the fields that are set are valid.
pub(super) fn of_update(
    request: &RequestHeader,
    head: &mut ResponseHeader,
    context: &RequestContext,
) -> pingora::Result<Option<Instead>> {
    let is_update = context.interaction.is_some_and(|interaction| interaction.kind == Kind::Update);
    let Route::Fhir { prefix, .. } = context.route else { return Ok(None) };
    if !is_update || !context.repairs().writes || !head.status.is_success() {
        return Ok(None);
    }
    let path = Target::parse(request.raw_path()).path.get(prefix..).unwrap_or_default();
    locate(head, path.strip_suffix(b"/").unwrap_or(path), context)?;
    match preferred(request) {
        Return::Representation => Ok(None),
        Return::Minimal => {
            head.remove_header(&CONTENT_TYPE);
            Ok(Some(Instead(Bytes::new())))
        }
        Return::OperationOutcome => {
            head.insert_header(CONTENT_TYPE, Format::Json.content_type())?;
            Ok(Some(Instead(outcome(context, "The resource was updated."))))
        }
    }
}

fn preferred(request: &RequestHeader) -> Return {
    Return::of(preferences(&request.headers)).unwrap_or(Return::Representation)
}

/// Says where the resource is, at OpenEMR's base: links to that become the gateway's further on.
fn locate(head: &mut ResponseHeader, target: &[u8], context: &RequestContext) -> pingora::Result<()> {
    let Some(site) = context.site() else { return Ok(()) };
    let url = [site.config.fhir_base().to_string().as_bytes(), target].concat();
    if let Ok(url) = HeaderValue::from_bytes(&url) {
        head.insert_header(LOCATION, url)?;
    }
    head.insert_header(CACHE_CONTROL, "no-store")
}

fn outcome(context: &RequestContext, text: &str) -> Bytes {
    let issue = Issue { severity: Severity::Information, ..Issue::error(IssueCode::Informational, text) };
    Bytes::from(OperationOutcome::of(issue).of_request(&context.id.to_string()).write(Format::Json))
}

/// The new resource; `None` where the token may not read, or OpenEMR does not answer.
async fn read(target: &str, context: &RequestContext) -> Option<Bytes> {
    let site = context.site()?;
    let mut request = FhirRequest::get(target, MOST, site.config.timeouts.read);
    request.fields.extend(tracing::names(context));
    match site.client.send_with_token(&request).await {
        Ok(response) if response.status == StatusCode::OK => Some(response.body),
        Ok(response) => {
            warn!("request {}: the new resource cannot be read back: {}", context.id, response.explain());
            None
        }
        Err(error) => {
            warn!("request {}: the new resource cannot be read back: {error}", context.id);
            None
        }
    }
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
