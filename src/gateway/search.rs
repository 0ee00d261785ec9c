//! A search on its way to OpenEMR: its parameters become ones that OpenEMR can be asked, before it waits for its permit.
//!
//! Decision: `docs/decisions/16-search.md`.

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, StatusCode};
use pingora::proxy::Session;
use tokio::time::timeout;

use crate::config::{Answers, BaseUrl, Paging, Unknown};
use crate::fhir::capabilities::Capabilities;
use crate::fhir::format_parameters::{FormatParameters, NamedFormat};
use crate::fhir::interaction::Kind;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Handling;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_test::Permitted;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::limit::{self, NotPermitted};
use crate::gateway::negotiation::preferences;
use crate::gateway::request_repairs::NotAcceptable;
use crate::gateway::stop::Step;
use crate::gateway::{gathered, outgoing, request_links};
use crate::http::query;
use crate::openemr::repeated::MayRepeat;
use crate::openemr::request_parameters;
use crate::openemr::search::paging::Pager;
use crate::openemr::search::plan::{SearchContext, SearchPlan, Unusable, can_plan};
use crate::openemr::search::read_terms::ReadTerms;
use crate::openemr::search::terms::{Page, SearchTerms};
use crate::site::prepared::Site;

/// How long a search waits for the CapabilityStatement, where that is not known.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest query that goes to OpenEMR as one. Apache takes 8,190 bytes in a request line, and others before it less than
/// that with the path.
const LONGEST_QUERY: usize = 6 * 1024;

/// Plans a search, and checks a read. Every other request passes, and so does a search that needs no change.
///
/// # Errors
/// The search is refused, or its client is gone.
pub(super) async fn plan(session: &mut Session, call: &Call, fhir: &mut FhirCall, attempt: &mut Attempt) -> Step {
    if fhir.interaction.kind == Kind::Read {
        return check_read(fhir);
    }
    if let Some(test) = fhir.test().filter(|_| limit::is_docref(fhir.interaction)) {
        fhir.plan.search = Some(Box::new(documents_found(test.clone())));
        return Ok(());
    }
    let Some(resource_type) = planned_type(fhir) else { return check_unplanned(session, call, fhir).await };
    let site = &fhir.site;
    // Without a CapabilityStatement the search is planned all the same.
    let capabilities = timeout(PATIENCE, site.capabilities()).await.ok().flatten();
    let capabilities = capabilities.as_deref();
    if !can_plan(capabilities, resource_type) {
        return check_unplanned(session, call, fhir).await;
    }
    let repairs = fhir.repairs();
    let form = outgoing::search_form(session, call).await?;
    let form = request_links::in_form(session, call, site, form);
    if repairs.content && FormatParameters::read(&form).format.is_some_and(|named| named != NamedFormat::Json) {
        return Err(NotAcceptable.into());
    }
    let query = narrowed(fhir);
    let context = SearchContext {
        resource_type,
        capabilities,
        repairs: repairs.search,
        pager: pager(site.config.answers.paging),
        keeps_pages: site.kept_pages.is_on() && session.req_header().method == Method::GET,
        handling: Handling::named(preferences(&session.req_header().headers)),
        unusable: unusable(site.config.answers.search.unknown),
        bases: &bases(site, capabilities, [&query, &form]),
        permitted: fhir.search_test(),
    };
    let Some(planned) = SearchPlan::new(&query, &form, &context)? else { return check_unplanned(session, call, fhir).await };
    if !can_be_followed(&planned.terms, site, call.config().limits.request_target) {
        return Err(NoLinks.into());
    }
    if !planned.pieces.is_empty() {
        fhir.plan.search = Some(Box::new(planned.terms));
        return gathered::answer(session, call, fhir, attempt, resource_type, planned.pieces).await;
    }
    // What came in a form stays in one: a query is logged by more servers than a body.
    if form.is_empty() && planned.sent.len() <= LONGEST_QUERY {
        fhir.plan.query = Some(if planned.sent.is_empty() { planned.sent } else { [b"?", planned.sent.as_slice()].concat() });
    } else {
        fhir.plan.adds_form = session.is_body_empty();
        send_in_form(planned.sent, resource_type, fhir);
    }
    fhir.plan.search = Some(Box::new(planned.terms));
    Ok(())
}

/// The query of a search (without `?`) with what it is narrowed by.
fn narrowed(fhir: &FhirCall) -> Cow<'_, [u8]> {
    let query = fhir.query_sent();
    let mut query = Cow::Borrowed(query.strip_prefix(b"?").unwrap_or(query));
    for (name, value) in fhir.plan.limit.iter().flat_map(|limit| &limit.narrowing) {
        query::push(query.to_mut(), name, value.as_bytes());
    }
    query
}

/// The terms on which the answer to `$docref` is rewritten.
fn documents_found(test: Permitted) -> SearchTerms {
    let found = SearchTerms::whole("DocumentReference", "/DocumentReference/$docref".to_owned());
    SearchTerms { permitted: Some(test), changed: true, ..found }
}

/// Checks that a search which goes on as it is has no name that PHP would drop, and that its answer need not be tested.
async fn check_unplanned(session: &mut Session, call: &Call, fhir: &FhirCall) -> Step {
    if fhir.interaction.kind == Kind::Search && fhir.test().is_some() {
        return Err(NotPermitted::Untested.into());
    }
    if fhir.interaction.kind != Kind::Search || !fhir.repairs().search {
        return Ok(());
    }
    let form = outgoing::search_form(session, call).await?;
    let query = fhir.query_sent();
    let query = query.strip_prefix(b"?").unwrap_or(query);
    Ok(request_parameters::check_names(query, &form, MayRepeat::Nothing)?)
}

/// Checks what a read asks of a resource.
fn check_read(fhir: &FhirCall) -> Step {
    let query = fhir.query();
    match fhir.interaction.resource_type.filter(|_| fhir.repairs().search && !query.is_empty()) {
        Some(resource_type) => Ok(ReadTerms::check(query.strip_prefix(b"?").unwrap_or(query), resource_type)?),
        None => Ok(()),
    }
}

/// Sends the parameters of a search in a form, whatever they came in.
fn send_in_form(parameters: Vec<u8>, resource_type: &str, fhir: &mut FhirCall) {
    fhir.plan.method = Some(Method::POST);
    fhir.plan.path = Some(format!("/{resource_type}/_search").into_bytes());
    fhir.plan.query = Some(Vec::new());
    fhir.plan.form = Some(parameters.into());
}

/// Whether the gateway itself would take the link to the next page of a search.
fn can_be_followed(terms: &SearchTerms, site: &Site, longest: usize) -> bool {
    let Some(Page { offset, count, .. }) = terms.page else { return true };
    let digits = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
    let page = "?_count=&_offset=".len() + digits(count) + digits(offset.saturating_add(count));
    site.fhir_path.as_ref().map_or(0, String::len) + terms.page_target.len() + page <= longest
}

/// The search is longer than the gateway takes in the links to its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the links to the pages of the search would be longer than limits.request_target")]
struct NoLinks;

impl From<NoLinks> for Rejection {
    fn from(_: NoLinks) -> Self {
        let text = "The search is too long to come in pages, because the links to them would be: leave _count out, or ask for fewer \
                    values at a time.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooLong, Reason::TooCostly, text)
    }
}

/// The type of a search that is planned.
fn planned_type(fhir: &FhirCall) -> Option<&'static str> {
    let Answers { repairs, paging, .. } = &fhir.site.config.answers;
    let is_wanted = repairs.search || repairs.bundles || *paging != Paging::Off || fhir.test().is_some();
    fhir.interaction.resource_type.filter(|_| is_wanted && fhir.interaction.kind == Kind::Search)
}

fn pager(paging: Paging) -> Pager {
    match paging {
        Paging::Slice => Pager::Slice,
        Paging::Native => Pager::Native,
        Paging::Off => Pager::Off,
    }
}

fn unusable(unknown: Unknown) -> Unusable {
    match unknown {
        Unknown::Refuse => Unusable::Refuse,
        Unknown::LeaveOut => Unusable::LeaveOut,
    }
}

/// The addresses by which a reference to this server may begin; none where nothing looks like an address.
#[must_use]
pub(super) fn bases(site: &Site, capabilities: Option<&Capabilities>, texts: [&[u8]; 2]) -> Vec<String> {
    if !texts.iter().any(|text| memchr::memmem::find(text, b"http").is_some()) {
        return Vec::new();
    }
    site.config
        .fhir_bases()
        .map(BaseUrl::to_string)
        .chain(capabilities.and_then(|capabilities| capabilities.base.clone()))
        .collect()
}
