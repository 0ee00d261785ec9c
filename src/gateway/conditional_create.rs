//! Conditional creates (`If-None-Exist`; FHIR R4, "RESTful API", 3.1.0.8.1), which OpenEMR does not know: the gateway searches,
//! and creates only where nothing matches.
//!
//! Of the requests with one condition, one at a time searches and creates. There is no other lock on the way of a request, and
//! none at all for one without a condition.
//!
//! Decision: `docs/decisions/33-conditional-create.md`.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use log::{debug, warn};
use pingora::proxy::Session;
use tokio::time::timeout;

use crate::fhir::if_none_exist::IF_NONE_EXIST;
use crate::fhir::interaction::Kind;
use crate::fhir::media_type::Format;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Return;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::{Rejection, whole_seconds};
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::stop::{Step, Stop};
use crate::gateway::while_there::while_there;
use crate::gateway::{public_base, queue, request_links, search, write_answer};
use crate::http::answer::Answer;
use crate::openemr::search::condition::{Condition, Matches};
use crate::site::client::{FhirRequest, SiteClientError};
use crate::site::turns::{Key, Turn};

/// How long a conditional create waits for the CapabilityStatement, where that is not known.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits for those before it with the same condition.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// The longest Bundle that is read, in bytes. Where OpenEMR cannot be asked for two matches only, it sends all.
const MOST: usize = 16 * 1024 * 1024;
/// How soon it may be tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Why it cannot be told whether something matches.
#[derive(Debug, thiserror::Error)]
enum NotKnown {
    /// OpenEMR's CapabilityStatement cannot be had.
    #[error("the CapabilityStatement is not known")]
    NoCapabilities,
    /// Another request with the same condition takes too long.
    #[error("another request with the same condition has had its turn for {} s", TURN_WITHIN.as_secs())]
    Busy,
    /// The search was not answered.
    #[error("the search of a conditional create failed: {0}")]
    NoAnswer(SiteClientError),
    /// The token may not search the type.
    #[error("the search of a conditional create was refused")]
    Refused(&'static str),
    /// The answer to the search is no Bundle that can be counted.
    #[error("the answer to the search of a conditional create cannot be used: {0}")]
    Unusable(String),
}

impl From<NotKnown> for Rejection {
    fn from(unknown: NotKnown) -> Self {
        match &unknown {
            NotKnown::NoCapabilities => {
                Self::unavailable(Reason::Capabilities, RETRY, "OpenEMR does not say at the moment by what it can search, so nothing was created.")
            }
            NotKnown::Busy => {
                let text = "Another request with the same If-None-Exist is under way, so nothing was created. Try again later.";
                let rejection = Self::new(StatusCode::CONFLICT, IssueCode::LockError, Reason::Precondition, text);
                Self { retry_after: Some(whole_seconds(RETRY)), ..rejection }
            }
            NotKnown::NoAnswer(error) if error.is_unsent() => {
                Self::unavailable(Reason::OwnRequest, RETRY, "OpenEMR cannot be asked for matches at the moment, so nothing was created.")
            }
            NotKnown::NoAnswer(_) | NotKnown::Unusable(_) => Self::bad_gateway(
                IssueCode::Exception,
                Reason::OwnRequest,
                "OpenEMR did not answer the search of the conditional create, so nothing was created.",
            ),
            NotKnown::Refused(resource_type) => {
                let text = format!(
                    "OpenEMR does not let the gateway's client search {resource_type}, which a conditional create needs, so nothing \
                     was created. The scope is system/{resource_type}.read."
                );
                Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, Reason::Scope, text)
            }
        }
        .because(unknown)
    }
}

/// Decides on a conditional create: it goes on where nothing matches, and is answered with the one resource that does. One that
/// the server announces to know is sent on. Every other request passes.
///
/// # Errors
/// The answer; the condition cannot be asked, more than one resource matches, or it cannot be told; the client is gone.
pub(super) async fn decide(session: &mut Session, call: &Call, fhir: &mut FhirCall, attempt: &mut Attempt) -> Step {
    let Some(resource_type) = fhir.interaction.resource_type.filter(|_| is_meant(fhir)) else { return Ok(()) };
    let Some(value) = session.get_header(&IF_NONE_EXIST).cloned() else { return Ok(()) };
    let site = &fhir.site;
    let capabilities = timeout(PATIENCE, site.capabilities()).await.ok().flatten().ok_or(NotKnown::NoCapabilities)?;
    if capabilities.types.get(resource_type).is_some_and(|known| known.interactions.contains("conditional-create")) {
        return Ok(());
    }
    let mapped = request_links::in_condition(session, call, site, &value);
    let value = mapped.as_deref().unwrap_or(value.as_bytes());
    let bases = search::bases(site, Some(&capabilities), [value, b""]);
    let condition = Condition::read(value, resource_type, &capabilities, &bases)?;
    let (turn, matches) = while_there(session, ask(call, fhir, resource_type, &condition)).await?;
    match matches {
        Matches::None => {
            condition.check_new(fhir.plan.read.as_deref())?;
            fhir.plan.condition_is_met = true;
            attempt.turn = Some(turn);
            Ok(())
        }
        Matches::One(id) => {
            // The next one may go on while this answer is sent.
            drop(turn);
            Err(existing(session, call, fhir, &format!("/{resource_type}/{id}")).await.into())
        }
    }
}

fn is_meant(fhir: &FhirCall) -> bool {
    fhir.interaction.kind == Kind::Create && fhir.repairs().writes
}

/// What tells conditions apart: a digest, so that no value stays in memory.
fn key(resource_type: &str, form: &[u8]) -> Key {
    let digest = digest(&SHA256, &[resource_type.as_bytes(), b"?", form].concat());
    digest.as_ref().try_into().unwrap_or_default()
}

/// Waits for the turn of this condition, and asks OpenEMR what matches.
async fn ask(call: &Call, fhir: &FhirCall, resource_type: &'static str, condition: &Condition) -> Result<(Turn, Matches), Stop> {
    let key = key(resource_type, &condition.form);
    let turn = timeout(TURN_WITHIN, fhir.site.turns.take(key)).await.map_err(|_| NotKnown::Busy)?;
    debug!(request_id:% = call.id; "asks OpenEMR what matches If-None-Exist");
    let matches = matches(call, fhir, resource_type, condition).await?;
    Ok((turn, matches))
}

async fn matches(call: &Call, fhir: &FhirCall, resource_type: &'static str, condition: &Condition) -> Result<Matches, Stop> {
    let target = format!("/{resource_type}/_search");
    let request = FhirRequest::get(&target, MOST, fhir.site.config.upstream.timeouts.read);
    let mut request = request.of(queue::client(call, &fhir.site));
    request.method = Method::POST;
    request.fields.extend(call.trace.names(call.id));
    let form = Bytes::copy_from_slice(&condition.form);
    let found = fhir.site.client.search(&request, &form).await.map_err(NotKnown::NoAnswer)?;
    match found.status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(NotKnown::Refused(resource_type).into()),
        _ => return Err(NotKnown::Unusable(found.explain().to_string()).into()),
    }
    let matches = condition.matches(&found.body)?;
    Ok(matches.ok_or_else(|| NotKnown::Unusable("it is no Bundle that tells what matches".to_owned()))?)
}

/// The answer for a resource that exists: 200 with it, and with its place.
async fn existing(session: &Session, call: &Call, fhir: &FhirCall, target: &str) -> Answer {
    let site = &fhir.site;
    let body = match write_answer::preferred(session.req_header()) {
        Return::Minimal => Bytes::new(),
        Return::OperationOutcome => write_answer::outcome(call, "The resource exists already, and nothing was created."),
        Return::Representation => match write_answer::read(target, call, site).await {
            Some(resource) if fhir.shows(&resource) => resource,
            Some(_) => write_answer::outcome(
                call,
                "The resource exists already, and nothing was created. The policy of this client does not permit it to read the resource.",
            ),
            None => {
                warn!(request_id:% = call.id; "the answer to a conditional create has no resource");
                write_answer::outcome(
                    call,
                    "The resource exists already, and nothing was created. It cannot be read at the moment.",
                )
            }
        },
    };
    let (body, base) = if fhir.repairs().links {
        let public = public_base::of(session, call, site);
        let mapped = site.openemr_bases().links.rewritten(&body, public.replacement()).map(Bytes::from);
        (mapped.unwrap_or(body), public.as_str().to_owned())
    } else {
        (body, site.config.fhir_base().to_string())
    };
    let answer = Answer::new(StatusCode::OK, Format::Json.content_type(), body);
    let answer = answer.with(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match HeaderValue::from_str(&format!("{base}{target}")) {
        Ok(place) => answer.with(LOCATION, place),
        Err(_) => answer,
    }
}
