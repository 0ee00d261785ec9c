//! Searches that OpenEMR cannot be asked at once: the gateway asks for their parts, one after the other, and answers with what all of
//! them find.
//!
//! Each part is a request of its own, with a token as any other. The client's permit to be in flight is held for all of them, so that
//! a client has no more of OpenEMR by them than by one search. The answer is kept in memory until it is whole, up to a limit, and may then
//! be kept for further pages.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, HeaderValue};
use http::{Method, StatusCode};
use log::debug;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::answer_body::Whole;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::stop::{Step, Stop};
use crate::gateway::while_there::while_there;
use crate::gateway::{answer_body, queue, shared, shared_key};
use crate::http::answer::Answer;
use crate::http::set_field::SetField;
use crate::nodes::client::Response;
use crate::nodes::in_flight::Permit;
use crate::openemr::bundle::fault::Fault;
use crate::openemr::bundle::joined::joined;
use crate::site::client::{FhirRequest, SiteClientError};
use crate::site::flights::SharedAnswer;

/// The most that is read of all answers together, in bytes.
const MOST: usize = 16 * 1024 * 1024;
/// How soon the search may be tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Why there is no answer to a part of the search.
#[derive(Debug, thiserror::Error)]
enum NotGathered {
    /// It was not answered.
    #[error("a part of the search failed: {0}")]
    NoAnswer(SiteClientError),
    /// The answers are longer than the limit.
    #[error("the answers to the parts of the search are longer than {} MiB", MOST >> 20)]
    TooLong,
    /// OpenEMR sends the first page of a part alone.
    #[error("OpenEMR does not send all that a part of the search finds")]
    TooMany,
    /// The token may not search the type.
    #[error("a part of the search was refused")]
    Refused(&'static str),
    /// OpenEMR answered something else than a Bundle.
    #[error("the answer to a part of the search cannot be used: {0}")]
    Unusable(String),
}

impl From<NotGathered> for Rejection {
    fn from(missing: NotGathered) -> Self {
        match &missing {
            NotGathered::NoAnswer(error) if error.is_unsent() => {
                Self::unavailable(Reason::OwnRequest, RETRY, "OpenEMR cannot be asked at the moment.")
            }
            NotGathered::NoAnswer(SiteClientError::Failed(error)) if error.is_timeout() => {
                let text = "OpenEMR took too long to answer a part of the search: ask for one of the values at a time.";
                Self::new(StatusCode::GATEWAY_TIMEOUT, IssueCode::Timeout, Reason::UpstreamTimeout, text)
            }
            NotGathered::NoAnswer(_) | NotGathered::Unusable(_) => Self::bad_gateway(
                IssueCode::Exception,
                Reason::OwnRequest,
                "OpenEMR did not answer a part of the search with a Bundle.",
            ),
            NotGathered::TooLong | NotGathered::TooMany => {
                let text =
                    "OpenEMR finds more than the gateway can join: ask for one of the values at a time, or for one patient.";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooCostly, Reason::TooCostly, text)
            }
            NotGathered::Refused(resource_type) => {
                let text = format!(
                    "OpenEMR does not let the gateway's client search {resource_type}. The scope is system/{resource_type}.read."
                );
                Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, Reason::Scope, text)
            }
        }
        .because(missing)
    }
}

/// Answers a search, whose terms are in the plan, with what OpenEMR finds by each of these forms.
///
/// # Errors
/// [`Stop::Answered`] with the answer; a part of it is missing, or it is too long; the client is gone.
pub(super) async fn answer(
    session: &mut Session,
    call: &Call,
    fhir: &mut FhirCall,
    attempt: &mut Attempt,
    resource_type: &'static str,
    forms: Vec<Vec<u8>>,
) -> Step {
    let key = || shared_key::of_search_in_parts(call, fhir, resource_type, &forms);
    let found = match shared::kept_set(session, call, fhir, attempt, key) {
        Some(kept) => kept,
        None => Arc::new(gathered(session, call, fhir, attempt, resource_type, forms).await?),
    };
    let collected = attempt.collected.take();
    let (head, body) = (found.head.clone(), found.body.clone());
    let Whole { head, body, has_next_page } = answer_body::whole(session, head, body, call, fhir).await?;
    if let Some(mut collected) = collected.filter(|_| has_next_page)
        && collected.push(&found.body)
    {
        collected.keep(found.head.clone(), Instant::now());
    }
    Err(Answer::of(head, body).into())
}

/// What OpenEMR finds by each of these forms, as one Bundle of its own kind.
async fn gathered(
    session: &mut Session,
    call: &Call,
    fhir: &FhirCall,
    attempt: &mut Attempt,
    resource_type: &'static str,
    forms: Vec<Vec<u8>>,
) -> Result<SharedAnswer, Stop> {
    queue::enter(session, call, fhir, attempt).await?;
    let permit = attempt.permit.take();
    debug!(request_id:% = call.id; "asks OpenEMR {} times", forms.len());
    let (bodies, date) = while_there(session, ask(call, fhir, permit.as_ref(), resource_type, forms)).await?;
    drop(permit);
    let body = joined(&bodies).map_err(|fault| match fault {
        Fault::Incomplete => NotGathered::TooMany.into(),
        fault => Stop::from(fault.broken()),
    })?;
    drop(bodies);
    let mut head = ResponseHeader::build(StatusCode::OK, None).expect("a StatusCode is a status");
    head.set(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The zone of OpenEMR's times is measured by it.
    if let Some(date) = date {
        head.set(DATE, date);
    }
    Ok(SharedAnswer { head, body: body.into() })
}

/// The bodies of the answers, and the time of the first one.
async fn ask(
    call: &Call,
    fhir: &FhirCall,
    permit: Option<&Permit>,
    resource_type: &'static str,
    forms: Vec<Vec<u8>>,
) -> Result<(Vec<Bytes>, Option<HeaderValue>), Stop> {
    let target = format!("/{resource_type}/_search");
    let (mut bodies, mut date, mut room) = (Vec::with_capacity(forms.len()), None, MOST);
    for (number, form) in forms.into_iter().enumerate() {
        if let Some(permit) = permit.filter(|_| number > 0) {
            permit.sent_again();
        }
        let mut request = FhirRequest::get(&target, room, fhir.site.config.upstream.timeouts.read);
        request.method = Method::POST;
        request.permit = permit;
        request.fields.extend(call.trace.names(call.id));
        let found = fhir.site.client.search(&request, &form.into()).await.map_err(not_answered)?;
        check(&found, resource_type)?;
        room = room.saturating_sub(found.body.len());
        date = date.or_else(|| found.fields.get(DATE).cloned());
        bodies.push(found.body);
    }
    Ok((bodies, date))
}

fn not_answered(error: SiteClientError) -> NotGathered {
    match error {
        SiteClientError::Failed(error) if error.is_too_long() => NotGathered::TooLong,
        error => NotGathered::NoAnswer(error),
    }
}

fn check(found: &Response, resource_type: &'static str) -> Result<(), NotGathered> {
    match found.status {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(NotGathered::Refused(resource_type)),
        _ => Err(NotGathered::Unusable(found.explain().to_string())),
    }
}
