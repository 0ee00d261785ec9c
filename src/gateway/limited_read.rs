//! A read for a client that may not have every resource of the type: the gateway reads it, tests it, and answers with it, or as if
//! there were none.
//!
//! Whether there is a resource that the client may not have shows nowhere: not in the status, not in the body, and not in fields of
//! OpenEMR's, of which none goes on.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::interaction::Kind;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_test::Permitted;
use crate::gateway::answer_body::Whole;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::limit::NotPermitted;
use crate::gateway::mended_answer::mended;
use crate::gateway::shared::Joined;
use crate::gateway::stop::{Step, Stop};
use crate::gateway::while_there::while_there;
use crate::gateway::{answer_body, queue, shared};
use crate::http::answer::Answer;
use crate::http::set_field::SetField;
use crate::nodes::in_flight::Permit;
use crate::openemr::error::is_malformed_id;
use crate::site::client::{FhirRequest, SiteClientError};

/// The longest resource that is read, in bytes.
const MOST: usize = 16 * 1024 * 1024;
/// How soon the read may be tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Why it is not known whether there is such a resource.
#[derive(Debug, thiserror::Error)]
enum NotRead {
    /// OpenEMR did not answer.
    #[error("the resource cannot be read: {0}")]
    NoAnswer(SiteClientError),
    /// The token may not read the type.
    #[error("OpenEMR refused the read")]
    Refused(&'static str),
    /// OpenEMR failed.
    #[error("the answer to the read cannot be used: {0}")]
    Unusable(String),
}

impl From<NotRead> for Rejection {
    fn from(not: NotRead) -> Self {
        match &not {
            NotRead::NoAnswer(error) if error.is_unsent() => {
                Self::unavailable(Reason::OwnRequest, RETRY, "OpenEMR cannot be asked at the moment.")
            }
            NotRead::NoAnswer(SiteClientError::Failed(error)) if error.is_timeout() => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                IssueCode::Timeout,
                Reason::UpstreamTimeout,
                "OpenEMR did not finish in time.",
            ),
            NotRead::NoAnswer(_) | NotRead::Unusable(_) => {
                Self::bad_gateway(IssueCode::Exception, Reason::OwnRequest, "OpenEMR did not answer with a resource.")
            }
            NotRead::Refused(resource_type) => {
                let text = format!(
                    "OpenEMR does not let the gateway's client read {resource_type}. The scope is system/{resource_type}.read."
                );
                Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, Reason::Scope, text)
            }
        }
        .because(not)
    }
}

/// Answers a read whose resource has to be tested. Every other request passes.
///
/// # Errors
/// [`Stop::Answered`] with the resource; there is none that the client may have, or OpenEMR cannot be asked; the client is gone.
pub(super) async fn answer(session: &mut Session, call: &Call, fhir: &mut FhirCall, attempt: &mut Attempt) -> Step {
    let Some(test) = fhir.test().filter(|_| fhir.interaction.kind == Kind::Read).cloned() else { return Ok(()) };
    let body = match shared::join_read(session, call, fhir, attempt).await? {
        Joined::Has(shared) => shared.body.clone(),
        Joined::Asks(leader) => {
            queue::enter(session, call, fhir, attempt).await?;
            let permit = attempt.permit.take();
            let found = while_there(session, found(call, fhir, permit.as_ref())).await?;
            shared::land(leader, &found);
            found
        }
    };
    let body = tested(fhir, &test, body)?;
    let mut head = ResponseHeader::build(StatusCode::OK, None).expect("a StatusCode is a status");
    head.set(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let Whole { head, body, .. } = answer_body::whole(session, head, body, call, fhir).await?;
    Err(Answer::of(head, body).into())
}

/// Reads the resource of the request as OpenEMR has it, for a client that may have those that pass the test.
///
/// # Errors
/// There is none that it may have, or OpenEMR cannot be asked.
pub(super) async fn permitted(call: &Call, fhir: &FhirCall, test: &Permitted, permit: Option<&Permit>) -> Result<Bytes, Stop> {
    tested(fhir, test, found(call, fhir, permit).await?)
}

/// Reads the resource of the request as OpenEMR has it.
async fn found(call: &Call, fhir: &FhirCall, permit: Option<&Permit>) -> Result<Bytes, Stop> {
    let (Some(resource_type), Ok(target)) = (fhir.interaction.resource_type, std::str::from_utf8(fhir.path_sent())) else {
        return Err(NotPermitted::Untested.into());
    };
    let request = FhirRequest::get(target, MOST, fhir.site.config.upstream.timeouts.read);
    let mut request = request.of(queue::client(call, &fhir.site));
    request.permit = permit;
    request.fields.extend(call.trace.names(call.id));
    let found = fhir.site.client.send_with_token(&request).await.map_err(NotRead::NoAnswer)?;
    match found.status {
        StatusCode::OK => Ok(found.body),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(NotPermitted::Unknown(resource_type).into()),
        status if is_malformed_id(status, &found.body) => Err(NotPermitted::Unknown(resource_type).into()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(NotRead::Refused(resource_type).into()),
        _ => Err(NotRead::Unusable(found.explain().to_string()).into()),
    }
}

/// The resource, if the client may have it.
fn tested(fhir: &FhirCall, Permitted(test): &Permitted, resource: Bytes) -> Result<Bytes, Stop> {
    let Some(resource_type) = fhir.interaction.resource_type else { return Err(NotPermitted::Untested.into()) };
    // It is tested as the client will see it.
    let seen = mended(resource.clone(), &fhir.site)?;
    match test.permits(resource_type, &seen).map_err(NotPermitted::from)? {
        true => Ok(resource),
        false => Err(NotPermitted::Unknown(resource_type).into()),
    }
}
