//! A search on its way to OpenEMR: its parameters become ones that OpenEMR can be asked, before it waits for its permit.
//!
//! Decision: `docs/decisions/16-search.md`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, Method, StatusCode};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tokio::time::timeout;

use crate::config::{Answers, BaseUrl, Limits, Paging};
use crate::fhir::capabilities::Capabilities;
use crate::fhir::format_parameters::{FormatParameters, NamedFormat};
use crate::fhir::interaction::Kind;
use crate::fhir::media_type;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Handling;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::negotiation::preferences;
use crate::gateway::read_ahead::{self, RETRY_BUFFER};
use crate::gateway::request_links;
use crate::gateway::request_repairs::NotAcceptable;
use crate::gateway::stop::{Step, Stop};
use crate::openemr::search::paging::Pager;
use crate::openemr::search::plan::{SearchContext, SearchPlan, can_plan};
use crate::site::prepared::Site;

/// How long a search waits for the CapabilityStatement, where that is not known.
const PATIENCE: Duration = Duration::from_secs(5);
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Why the body of a search is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum BadForm {
    /// The body is no form.
    #[error("the body of a search is no form")]
    NoForm,
    /// The form is longer than what Pingora keeps for another try.
    #[error("the form of a search is longer than {RETRY_BUFFER} bytes")]
    TooLarge,
}

impl From<BadForm> for Rejection {
    fn from(bad: BadForm) -> Self {
        match bad {
            BadForm::NoForm => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                IssueCode::NotSupported,
                "A search by POST has its parameters in a form: application/x-www-form-urlencoded.",
            ),
            BadForm::TooLarge => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooCostly, "The form of a search may have 64 KiB at most.")
            }
        }
    }
}

/// Plans a search. Every other request passes, and so does a search that needs no change.
///
/// # Errors
/// The search is refused, or its client is gone.
pub(super) async fn plan(session: &mut Session, call: &Call, fhir: &mut FhirCall) -> Step {
    let Some(resource_type) = planned_type(fhir) else { return Ok(()) };
    let site = &fhir.site;
    // Without a CapabilityStatement the search is planned all the same.
    let capabilities = timeout(PATIENCE, site.capabilities()).await.ok().flatten();
    let capabilities = capabilities.as_deref();
    if !can_plan(capabilities, resource_type) {
        return Ok(());
    }
    let repairs = fhir.repairs();
    let Some(form) = read_form(session, repairs.search, &call.config().limits).await? else { return Ok(()) };
    fhir.plan.body_is_begun = session.is_body_done();
    let form = request_links::in_form(session, call, site, form);
    if repairs.content && FormatParameters::read(&form).format.is_some_and(|named| named != NamedFormat::Json) {
        return Err(NotAcceptable.into());
    }
    let query = fhir.query_sent();
    let query = query.strip_prefix(b"?").unwrap_or(query);
    let context = SearchContext {
        resource_type,
        capabilities,
        repairs: repairs.search,
        pager: pager(site.config.answers.paging),
        handling: Handling::of(preferences(&session.req_header().headers)),
        bases: &bases(site, capabilities, [query, &form]),
    };
    let Some(planned) = SearchPlan::new(query, &form, &context)? else { return Ok(()) };
    // What came in a form stays in one: a query is logged by more servers than a body.
    let (query, form) = if form.is_empty() { (planned.sent, None) } else { (Vec::new(), Some(planned.sent.into())) };
    fhir.plan.query = Some(if query.is_empty() { query } else { [b"?", query.as_slice()].concat() });
    fhir.plan.form = form;
    fhir.plan.search = Some(Box::new(planned.terms));
    Ok(())
}

/// The type of a search that is planned.
fn planned_type(fhir: &FhirCall) -> Option<&'static str> {
    let Answers { repairs, paging, .. } = &fhir.site.config.answers;
    let is_wanted = repairs.search || repairs.bundles || *paging != Paging::Off;
    fhir.interaction.resource_type.filter(|_| is_wanted && fhir.interaction.kind == Kind::Search)
}

/// The form of a search by POST; empty where there is none. `None` for a body that is no form, which is OpenEMR's business
/// unless parameters are repaired.
async fn read_form(session: &mut Session, repairs: bool, limits: &Limits) -> Result<Option<Bytes>, Stop> {
    session.as_mut().enable_retry_buffering();
    if session.req_header().method != Method::POST || session.is_body_empty() {
        return Ok(Some(Bytes::new()));
    }
    match (is_form(session.req_header()), repairs) {
        (true, _) => {}
        (false, true) => return Err(BadForm::NoForm.into()),
        (false, false) => return Ok(None),
    }
    let form = read_ahead::read(session, RETRY_BUFFER, limits).await?;
    Ok(Some(form.map_err(|_| BadForm::TooLarge)?))
}

/// Whether the body can be read as a form. Without a media type PHP would not read it at all, and answer with everybody.
fn is_form(head: &RequestHeader) -> bool {
    let has = |name: HeaderName, value: &[u8]| {
        head.headers.get(name).is_none_or(|told| media_type::essence(told.as_bytes()).eq_ignore_ascii_case(value))
    };
    has(CONTENT_TYPE, FORM) && has(CONTENT_ENCODING, b"identity")
}

fn pager(paging: Paging) -> Pager {
    match paging {
        Paging::Slice => Pager::Slice,
        Paging::Native => Pager::Native,
        Paging::Off => Pager::Off,
    }
}

/// The addresses by which a reference to this server may begin; none where nothing looks like an address.
fn bases(site: &Site, capabilities: Option<&Capabilities>, texts: [&[u8]; 2]) -> Vec<String> {
    if !texts.iter().any(|text| memchr::memmem::find(text, b"http").is_some()) {
        return Vec::new();
    }
    let configured = site.config.upstream.nodes.iter().map(|node| &node.fhir_base).chain(&site.config.answers.also_known_as);
    configured.map(BaseUrl::to_string).chain(capabilities.and_then(|capabilities| capabilities.base.clone())).collect()
}
