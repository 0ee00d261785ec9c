//! What of a client's request may reach OpenEMR: the parameters in its query and in its form, and the resource in its body. PHP
//! reads all three before OpenEMR does, and a part that the gateway cannot read does not pass.
//!
//! Decision: `docs/decisions/29-php-names.md`.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pingora::proxy::Session;

use crate::fhir::interaction::Kind;
use crate::fhir::media_type::{essence, is_json, is_of_other_version};
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_identity::{BadIdentity, IdentityCheck};
use crate::gateway::call::Call;
use crate::gateway::destination::{FhirCall, FhirKind};
use crate::gateway::export_file;
use crate::gateway::read_ahead::{self, RETRY_BUFFER};
use crate::gateway::stop::{Step, Stop};
use crate::http::request_target;
use crate::openemr::php::form::Form;
use crate::openemr::repeated::{MayRepeat, only_in_query};
use crate::openemr::request_parameters::{self, BadParameters};

/// Why a body is refused before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum BadBody {
    /// The body of a search is no form.
    #[error("the body of a search is no form")]
    NoForm,
    /// A form is longer than what Pingora keeps for another try.
    #[error("the form is longer than {RETRY_BUFFER} bytes")]
    FormTooLarge,
    /// No request to OpenEMR's FHIR API has parts.
    #[error("the body is multipart/form-data")]
    Multipart,
    /// OpenEMR takes a resource in JSON alone, and does not decompress it.
    #[error("the body of a create or an update is not declared as JSON, or encoded")]
    NoJson,
    /// OpenEMR would read it as R4.
    #[error("the body of a create or an update is of another version of FHIR")]
    OtherVersion,
    /// Servers differ on which one counts.
    #[error("the request has more than one Content-Type")]
    SeveralTypes,
}

impl From<BadBody> for Rejection {
    fn from(bad: BadBody) -> Self {
        let unsupported = |text| Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueCode::NotSupported, Reason::MediaType, text);
        match bad {
            BadBody::NoForm => unsupported("A search by POST has its parameters in a form: application/x-www-form-urlencoded."),
            BadBody::FormTooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                IssueCode::TooCostly,
                Reason::BodyTooLarge,
                "A form may have 64 KiB at most.",
            ),
            BadBody::Multipart => unsupported("OpenEMR's FHIR API takes no multipart/form-data."),
            BadBody::NoJson => {
                unsupported("OpenEMR takes a resource in JSON alone, without a content coding: application/fhir+json.")
            }
            BadBody::OtherVersion => unsupported("OpenEMR takes resources of FHIR R4 alone: fhirVersion=4.0."),
            BadBody::SeveralTypes => Self::invalid(Reason::Malformed, "The request has more than one Content-Type field."),
        }
    }
}

/// Checks the parameters of the query.
///
/// # Errors
/// The first parameter that must not reach OpenEMR.
pub(super) fn check_query(fhir: &FhirCall) -> Result<(), BadParameters> {
    let query = without_mark(fhir.query());
    let known = match fhir.kind {
        FhirKind::Proxied if export_file::may_be_one(fhir) => Some(request_parameters::EXPORT_FILE),
        FhirKind::Proxied => request_parameters::known(fhir.interaction),
        // The gateway answers, and knows itself what it takes.
        FhirKind::Export(_) | FhirKind::Capabilities | FhirKind::SmartConfiguration => None,
    };
    request_parameters::check(query, known)?;
    request_parameters::check_names(query, b"", may_repeat(fhir))
}

/// The names that may stand more than once with different values.
fn may_repeat(fhir: &FhirCall) -> MayRepeat {
    let by_gateway = match fhir.kind {
        FhirKind::Proxied => fhir.repairs().search,
        FhirKind::Export(_) | FhirKind::Capabilities | FhirKind::SmartConfiguration => true,
    };
    request_parameters::may_repeat(fhir.interaction.kind, by_gateway)
}

/// Checks the parameters of a form beside those of the query; takes out of the query those that the form repeats.
///
/// # Errors
/// A parameter that must not reach OpenEMR.
pub(super) fn check_form(form: &[u8], fhir: &mut FhirCall) -> Result<(), BadParameters> {
    request_parameters::check(form, request_parameters::known(fhir.interaction))?;
    request_parameters::check_names(without_mark(fhir.query()), form, may_repeat(fhir))?;
    if let Some(query) = only_in_query(without_mark(fhir.query_sent()), form) {
        fhir.plan.query = Some(if query.is_empty() { query } else { [b"?", query.as_slice()].concat() });
    }
    Ok(())
}

fn without_mark(query: &[u8]) -> &[u8] {
    query.strip_prefix(b"?").unwrap_or(query)
}

/// Checks the media type of the body, and the parameters of a form; plans the check of a resource.
///
/// # Errors
/// The body must not reach OpenEMR, or its client is gone.
pub(super) async fn check_body(session: &mut Session, call: &Call, fhir: &mut FhirCall) -> Step {
    if !matches!(session.req_header().method, Method::POST | Method::PUT | Method::PATCH) || session.is_body_empty() {
        return Ok(());
    }
    let fields = &session.req_header().headers;
    match (media_type(fields)?, fhir.interaction.kind) {
        (Some(Form::Multipart), _) => Err(BadBody::Multipart.into()),
        (form, Kind::Create | Kind::Update | Kind::ConditionalUpdate) => Ok(plan_check(fields, form, fhir)?),
        (Some(Form::UrlEncoded), _) | (None, Kind::Search | Kind::SearchSystem | Kind::SearchCompartment) => {
            let form = form(session, call).await?;
            fhir.plan.body_is_begun = true;
            Ok(check_form(&form, fhir)?)
        }
        (None, _) => Ok(()),
    }
}

/// Plans the check of the resource in the body of a create or an update.
fn plan_check(fields: &HeaderMap, form: Option<Form>, fhir: &mut FhirCall) -> Result<(), BadBody> {
    // A body without a type is taken for JSON, as which OpenEMR reads every body.
    let told = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_json = told.is_none_or(|told| is_json(essence(told)));
    // FHIR R4, "Binary": the content itself, of whatever type.
    let is_content = !is_json && fhir.interaction.resource_type == Some("Binary") && form.is_none();
    if is_encoded(fields) || !(is_json || is_content) {
        return Err(BadBody::NoJson);
    }
    if told.is_some_and(is_of_other_version) {
        return Err(BadBody::OtherVersion);
    }
    if is_json {
        fhir.plan.identity = Some(Box::new(identity(fhir)));
    }
    Ok(())
}

/// Checks a resource that was read whole. Any other is checked on its way.
///
/// # Errors
/// It is not the resource of its URL.
pub(super) fn check_resource(fhir: &mut FhirCall) -> Result<(), BadIdentity> {
    let Some(body) = &fhir.plan.read else { return Ok(()) };
    fhir.plan.identity.take().map_or(Ok(()), |mut check| check.feed(body))
}

/// Reads the form of a request whose body is one; one without a media type is taken for one.
///
/// # Errors
/// It is none, or too long; the client is gone.
pub(super) async fn form(session: &mut Session, call: &Call) -> Result<Bytes, Stop> {
    let fields = &session.req_header().headers;
    let is_form = fields.get(CONTENT_TYPE).is_none_or(|told| Form::of(told.as_bytes()) == Some(Form::UrlEncoded));
    if !is_form || is_encoded(fields) {
        return Err(BadBody::NoForm.into());
    }
    let form = read_ahead::read(session, RETRY_BUFFER, &call.config().limits).await?;
    Ok(form.map_err(|_| BadBody::FormTooLarge)?)
}

/// Reads the form of a search by POST; empty where there is none.
///
/// # Errors
/// As [`form`].
pub(super) async fn search_form(session: &mut Session, call: &Call) -> Result<Bytes, Stop> {
    session.as_mut().enable_retry_buffering();
    if session.req_header().method != Method::POST || session.is_body_empty() {
        return Ok(Bytes::new());
    }
    form(session, call).await
}

/// The kind of form that PHP takes the body for.
fn media_type(fields: &HeaderMap) -> Result<Option<Form>, BadBody> {
    let mut told = fields.get_all(CONTENT_TYPE).iter();
    let first = told.next();
    match told.next() {
        Some(_) => Err(BadBody::SeveralTypes),
        None => Ok(first.and_then(|first| Form::of(first.as_bytes()))),
    }
}

/// The check of a resource that is sent to this URL.
fn identity(fhir: &FhirCall) -> IdentityCheck {
    let mut segments = request_target::segments(fhir.path());
    let resource_type = segments.next().unwrap_or_default();
    let id = segments.next().filter(|_| fhir.interaction.kind == Kind::Update);
    IdentityCheck::new(&resource_type, id.as_deref())
}

fn is_encoded(fields: &HeaderMap) -> bool {
    fields.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}
