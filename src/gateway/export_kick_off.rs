//! The kick-off of a bulk export: judged from its head, then from its body, and answered at once. The work begins behind it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LOCATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use pingora::proxy::Session;
use tokio::time::timeout;
use uuid::Uuid;

use crate::access::caller::PatientsOf;
use crate::exports::jobs::{AddError, Exports, now};
use crate::fhir::export_level::Level;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::parameters::{self, MAX_PARAMETERS};
use crate::fhir::prefer::{self, Handling};
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::export_answers::{empty, method_not_allowed, plans_failed};
use crate::gateway::export_owner::{check_level, owner};
use crate::gateway::negotiation::preferences;
use crate::gateway::stop::Stop;
use crate::gateway::{public_base, read_ahead, token};
use crate::http::answer::Answer;
use crate::http::fields::content_length;
use crate::openemr::export::kick_off::{KickOff, May, honoured_query};
use crate::openemr::export::level::{depends_on_version, scope};
use crate::openemr::export::plan::{MAX_URL, Plan};
use crate::openemr::version::Version;
use crate::scopes::export;
use crate::site::prepared::Site;

/// How long a kick-off waits for the CapabilityStatement, where that is not known.
const VERSION_WITHIN: Duration = Duration::from_secs(2);
/// When there may be room for another export, in seconds.
const ROOM_AGAIN: u64 = 60;

/// Answers a kick-off. OpenEMR is not asked for it, and may be out of reach; the token must be there, because it tells what can
/// be exported.
///
/// # Errors
/// The kick-off is refused, or its client is gone.
pub(super) async fn answer(
    session: &mut Session,
    call: &Call,
    fhir: &FhirCall,
    attempt: &mut Attempt,
    exports: &Exports,
    level: Level,
) -> Result<Answer, Stop> {
    if !matches!(session.req_header().method, Method::GET | Method::POST) {
        return Err(method_not_allowed("GET, POST").into());
    }
    check_level(call, &level)?;
    token::take(call, &fhir.site, attempt).await?;
    let granted = attempt.token.as_ref().map(|token| token.scope.as_str()).unwrap_or_default();
    check_head(call, &session.req_header().headers, &level, granted)?;
    let body = read_ahead::read(session, MAX_PARAMETERS, &call.config().limits).await?;
    let body = body.map_err(|_| too_large())?;
    let query = String::from_utf8_lossy(fhir.query().strip_prefix(b"?").unwrap_or_default()).into_owned();
    let types = export::readable_types(granted);
    let may = May {
        granted: &types,
        version: version(&fhir.site, &types).await,
        have_type: &|name| call.caller.policy.may_export_type(name),
        have_patient: &|value| may_have_patients(call, fhir, value),
    };
    let kick_off = judge(level, &session.req_header().headers, &query, &body, &may)?;
    let base = public_base::of(session, call, &fhir.site);
    let honoured = honoured_query(&query);
    let separator = if honoured.is_empty() { "" } else { "?" };
    let request = format!("{}{}{separator}{honoured}", base.as_str(), kick_off.level.path());
    if request.len() > MAX_URL {
        return Err(
            Rejection::new(StatusCode::URI_TOO_LONG, IssueCode::TooCostly, Reason::HeadTooLarge, "The URL is too long.").into()
        );
    }
    let job = Uuid::new_v4();
    begin(fhir, exports, Plan::new(job, kick_off, request, owner(call), now()), base.as_str()).await
}

/// Whether the caller may have the data of the patients that a value of the parameter `patient` names.
fn may_have_patients(call: &Call, fhir: &FhirCall, value: &str) -> bool {
    let list = match call.caller.patients() {
        PatientsOf::All => return true,
        PatientsOf::Listed(list) => list,
        PatientsOf::Unknown => return false,
    };
    let bases = fhir.site.openemr_bases();
    let is_listed = |reference: &str| {
        let relative = bases.texts.iter().find_map(|base| reference.strip_prefix(base.as_str())?.strip_prefix('/'));
        let reference = relative.unwrap_or(reference);
        list.has(reference.strip_prefix("Patient/").unwrap_or(reference))
    };
    value.split(',').map(str::trim).all(is_listed)
}

/// OpenEMR's version, where one of the types depends on it; `None` where it cannot be told in time.
async fn version(site: &Site, types: &[&str]) -> Option<Version> {
    if !types.iter().any(|name| depends_on_version(name)) {
        return None;
    }
    let capabilities = timeout(VERSION_WITHIN, site.capabilities()).await.ok().flatten();
    capabilities.map(|capabilities| Version::of(&capabilities))
}

/// Takes the export on, and tells where its progress is shown.
async fn begin(fhir: &FhirCall, exports: &Exports, plan: Plan, base: &str) -> Result<Answer, Stop> {
    let job = plan.job;
    let jobs = exports.of(&fhir.site);
    match jobs.add(plan).await {
        Ok(()) => {}
        Err(AddError::TooMany) => return Err(too_many().into()),
        Err(AddError::Store(error)) => return Err(plans_failed(&jobs, error).into()),
    }
    match HeaderValue::try_from(format!("{base}/$bulkdata-status?job={job}")) {
        Ok(location) => Ok(empty(StatusCode::ACCEPTED).with(CONTENT_LOCATION, location)),
        Err(_) => Err(Rejection::invalid(Reason::Malformed, "The Host cannot be used.").into()),
    }
}

/// Judges what the head tells, before the body is read.
fn check_head(call: &Call, fields: &HeaderMap, level: &Level, granted: &str) -> Result<(), Rejection> {
    let missing = export::missing(granted, scope(level));
    if !missing.is_empty() {
        let what = match level {
            Level::System => "the whole system",
            Level::Patient => "all patients",
            Level::Group(_) => "a group",
        };
        let text = format!("An export of {what} needs the scope {}, which the gateway's token lacks.", missing.join(" and "));
        return Err(Rejection::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, Reason::Scope, text));
    }
    if !call.negotiated.acceptable {
        let text = "An export is told of in application/fhir+json alone.";
        return Err(Rejection::new(StatusCode::NOT_ACCEPTABLE, IssueCode::NotSupported, Reason::NotAcceptable, text));
    }
    if prefer::value_of(preferences(fields), "respond-async").is_none() {
        return Err(Rejection::invalid(Reason::Parameter, "An export needs the field  Prefer: respond-async"));
    }
    if content_length(fields).is_some_and(|length| length > 0) { check_media_type(fields) } else { Ok(()) }
}

fn check_media_type(fields: &HeaderMap) -> Result<(), Rejection> {
    if fields.get(CONTENT_TYPE).is_some_and(is_json) {
        return Ok(());
    }
    let text = "The body of a kick-off is a Parameters resource in JSON.";
    Err(Rejection::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, IssueCode::NotSupported, Reason::MediaType, text))
}

/// Judges the parameters, by what can be exported.
fn judge(level: Level, fields: &HeaderMap, query: &str, body: &Bytes, may: &May<'_>) -> Result<KickOff, Rejection> {
    if !body.is_empty() {
        check_media_type(fields)?;
    }
    let mut parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let of_body = parameters::read(body);
    parameters.extend(of_body.ok_or_else(|| Rejection::invalid(Reason::Resource, "The body is no Parameters resource."))?);
    let handling = Handling::named(preferences(fields));
    Ok(KickOff::validate(level, &parameters, handling, may)?)
}

fn is_json(media_type: &HeaderValue) -> bool {
    let essence = media_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    ["application/fhir+json", "application/json"].iter().any(|json| essence.eq_ignore_ascii_case(json))
}

fn too_large() -> Rejection {
    let text = format!("The body of a kick-off is larger than {MAX_PARAMETERS} bytes.");
    Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooCostly, Reason::BodyTooLarge, text)
}

fn too_many() -> Rejection {
    let text = "As many exports are under way as the gateway takes on.";
    let rejection = Rejection::new(StatusCode::TOO_MANY_REQUESTS, IssueCode::TooCostly, Reason::ExportLimit, text);
    Rejection { retry_after: Some(ROOM_AGAIN), ..rejection }
}
