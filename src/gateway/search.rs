//! A search on its way to OpenEMR: its parameters become ones that OpenEMR can be asked, before it waits for its permit.
//!
//! Decision: `docs/decisions/16-search.md`.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use pingora::proxy::Session;
use tokio::time::timeout;

use crate::config::{Answers, BaseUrl, Paging};
use crate::fhir::capabilities::Capabilities;
use crate::fhir::format_parameters::{FormatParameters, NamedFormat};
use crate::fhir::interaction::Kind;
use crate::fhir::prefer::Handling;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::negotiation::preferences;
use crate::gateway::request_repairs::NotAcceptable;
use crate::gateway::stop::{Step, Stop};
use crate::gateway::{outgoing, request_links};
use crate::openemr::search::paging::Pager;
use crate::openemr::search::plan::{SearchContext, SearchPlan, can_plan};
use crate::site::prepared::Site;

/// How long a search waits for the CapabilityStatement, where that is not known.
const PATIENCE: Duration = Duration::from_secs(5);

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
    let form = read_form(session, call).await?;
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

/// The form of a search by POST; empty where there is none.
async fn read_form(session: &mut Session, call: &Call) -> Result<Bytes, Stop> {
    session.as_mut().enable_retry_buffering();
    if session.req_header().method != Method::POST || session.is_body_empty() {
        return Ok(Bytes::new());
    }
    outgoing::form(session, call).await
}

fn pager(paging: Paging) -> Pager {
    match paging {
        Paging::Slice => Pager::Slice,
        Paging::Native => Pager::Native,
        Paging::Off => Pager::Off,
    }
}

/// The addresses by which a reference to this server may begin; none where nothing looks like an address.
#[must_use]
pub(super) fn bases(site: &Site, capabilities: Option<&Capabilities>, texts: [&[u8]; 2]) -> Vec<String> {
    if !texts.iter().any(|text| memchr::memmem::find(text, b"http").is_some()) {
        return Vec::new();
    }
    let configured = site.config.upstream.nodes.iter().map(|node| &node.fhir_base).chain(&site.config.answers.also_known_as);
    configured.map(BaseUrl::to_string).chain(capabilities.and_then(|capabilities| capabilities.base.clone())).collect()
}
