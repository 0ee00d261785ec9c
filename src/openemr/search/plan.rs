//! The plan of a search: the query for OpenEMR, and the terms on which its answer is rewritten.
//!
//! Decision: `docs/decisions/16-search.md`.

use http::StatusCode;

use crate::fhir::capabilities::{Capabilities, TypeCapabilities};
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Handling;
use crate::fhir::reason;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_test::Permitted;
use crate::fhir::search_date::with_pluses;
use crate::http::query::{self, as_uri};
use crate::openemr::breakages::{Measured, TakesMinutes, needs_id};
use crate::openemr::repeated::{MayRepeat, Repeated, distinct};
use crate::openemr::search::choice::Choice;
use crate::openemr::search::paging::{self, Limitation, MAX_AT_ONCE, PagePlan, PageRequest, Pager};
use crate::openemr::search::parameters::{PROVENANCES, SearchParameters, Summary, Total};
use crate::openemr::search::reading_context::ReadingContext;
use crate::openemr::search::refusal::{Refusal, Refusals, Why};
use crate::openemr::search::terms::{SearchTerms, hides};
use crate::openemr::search::warning::{self, Reason, Warning, Weight};
use crate::openemr::search::{honoured, names, usual};
use crate::openemr::version::Version;

/// The most parameters that a search may have.
const MAX_PARAMETERS: usize = 200;

/// What becomes of a parameter that cannot be used, and is no filter of FHIR's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The search is rejected.
    Refuse,
    /// It is left out, and the answer says so.
    LeaveOut,
}

/// The facts, besides its parameters, on which a search's plan depends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SearchContext<'a> {
    /// The type that is searched.
    pub(crate) resource_type: &'static str,
    /// The server's capabilities; `None` while they are not known.
    pub(crate) capabilities: Option<&'a Capabilities>,
    /// Whether other parameters than those of paging are repaired.
    pub(crate) repairs: bool,
    /// Who cuts pages.
    pub(crate) pager: Pager,
    /// Whether an answer with the whole set is kept for further pages.
    pub(crate) keeps_pages: bool,
    /// How the client wants parameters to be handled that cannot be used.
    pub(crate) handling: Option<Handling>,
    /// What becomes of them where the client does not say.
    pub(crate) unusable: Unusable,
    /// The addresses of this server, with which references to its resources may begin.
    pub(crate) bases: &'a [String],
    /// The test that every resource of the answer must pass, for a client that may not have everything.
    pub(crate) permitted: Option<&'a Permitted>,
}

/// A search that can be sent to OpenEMR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SearchPlan {
    /// The query (without `?`) or form to send.
    pub(crate) sent: Vec<u8>,
    /// The forms of the searches of which OpenEMR is asked each instead, where it cannot be asked for all at once; empty elsewhere.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// The terms on which the answer is rewritten.
    pub(crate) terms: SearchTerms,
}

/// The reason why a search is rejected. The text is a sentence for the client; it names parameters, and repeats no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchError {
    /// More than [`MAX_PARAMETERS`].
    #[error("A search may have {MAX_PARAMETERS} parameters at most.")]
    TooManyParameters,
    /// A name stands more than once that can have one value, or is written in two ways.
    #[error(transparent)]
    Repeated(#[from] Repeated),
    /// OpenEMR announces the search, and would work on it for minutes.
    #[error(transparent)]
    TakesMinutes(#[from] TakesMinutes),
    /// Parameters that can neither be used nor be left out.
    #[error("{0}")]
    Refused(Refusals),
}

impl From<SearchError> for Rejection {
    fn from(error: SearchError) -> Self {
        let (code, reason) = match error {
            SearchError::Refused(refusals) => return refusals.into(),
            SearchError::TooManyParameters | SearchError::TakesMinutes(_) => (IssueCode::TooCostly, reason::Reason::TooCostly),
            SearchError::Repeated(_) => (IssueCode::NotSupported, reason::Reason::Parameter),
        };
        Self::new(StatusCode::BAD_REQUEST, code, reason, error.to_string())
    }
}

/// Whether the gateway can plan searches of a type. Another server than OpenEMR is not understood, and a type that cannot be
/// searched is left to OpenEMR's own answer. While nothing is known of the server it is taken for OpenEMR.
#[must_use]
pub(crate) fn can_plan(capabilities: Option<&Capabilities>, resource_type: &str) -> bool {
    capabilities.is_none_or(|capabilities| searchable(capabilities, resource_type).is_some())
}

fn searchable<'a>(capabilities: &'a Capabilities, resource_type: &str) -> Option<(Version, &'a TypeCapabilities)> {
    let known = capabilities.types.get(resource_type).filter(|known| known.interactions.contains("search-type"))?;
    let version = Version::of(capabilities);
    (version != Version::Other).then_some((version, known))
}

impl SearchPlan {
    /// Plans a search with the parameters of a query (without `?`) and of a form; `None` where the gateway [cannot](can_plan).
    ///
    /// # Errors
    /// Too many parameters, a search that takes minutes, or a parameter that can neither be used nor be left out.
    pub(crate) fn new(query: &[u8], form: &[u8], context: &SearchContext<'_>) -> Result<Option<Self>, SearchError> {
        let &SearchContext { resource_type, repairs, bases, .. } = context;
        let (version, known) = match context.capabilities.map(|capabilities| searchable(capabilities, resource_type)) {
            None => (None, usual::of_type(resource_type)),
            Some(None) => return Ok(None),
            Some(Some((version, known))) => (Some(version), known),
        };
        let measured = Measured::of(context.capabilities);
        let pages = context.pager != Pager::Off;
        let reading = ReadingContext {
            resource_type,
            version,
            measured,
            known,
            bases,
            repairs,
            pages,
            tests_all: hides(context.permitted),
        };
        let mut parameters = SearchParameters::default();
        let as_asked = (query, form);
        let (query, form) = (with_pluses(query), with_pluses(form));
        if query::parameters(&query).chain(query::parameters(&form)).nth(MAX_PARAMETERS).is_some() {
            return Err(SearchError::TooManyParameters);
        }
        for parameter in &distinct(&query, &form, if repairs { MayRepeat::Filters } else { MayRepeat::Nothing })? {
            parameters.add(parameter, &reading);
        }
        let filters = std::mem::take(&mut parameters.filters);
        let choice = Choice::of(&filters, &reading);
        if repairs && needs_id(resource_type) && !choice.is_bounded {
            return Err(TakesMinutes.into());
        }
        for &(name, reason) in &choice.limited {
            parameters.warn(name, reason);
        }
        let mut plan = Self::of(&mut parameters, &choice, version, context);
        if let Some(refusals) = refusals(&parameters, &choice, &reading, context) {
            return Err(SearchError::Refused(refusals));
        }
        plan.terms.changed |= match as_asked {
            (asked, []) | ([], asked) => plan.sent != asked,
            // They go to OpenEMR in one place.
            _ => true,
        };
        Ok(Some(plan))
    }

    fn of(parameters: &mut SearchParameters, choice: &Choice<'_>, version: Option<Version>, context: &SearchContext<'_>) -> Self {
        let projection = parameters.projection();
        let only_counts = parameters.summary == Some(Summary::Count) || parameters.count == Some(0);
        // OpenEMR must send all matches for the gateway to count them.
        let paging = match only_counts {
            true if tests(choice, context) && is_newer(choice, context) => {
                PagePlan { count: Some(MAX_AT_ONCE), ..PagePlan::default() }
            }
            true => PagePlan::default(),
            false => page_plan(parameters, choice, version, context),
        };
        let resource_type = context.resource_type;
        let target = |query: Vec<u8>| match query.as_slice() {
            [] => format!("/{resource_type}"),
            query => format!("/{resource_type}?{}", as_uri(query)),
        };
        let wants_total = parameters.total != Some(Total::None);
        let terms = SearchTerms {
            resource_type,
            self_target: target(with_page(used(parameters, choice), parameters, &paging, only_counts)),
            page_target: target(used(parameters, choice)),
            criteria: choice.criteria.clone(),
            permitted: context.permitted.cloned(),
            page: paging.page,
            total: only_counts || (paging.total && !parameters.forwarded.count && wants_total),
            entries: !only_counts,
            projection,
            pretty: parameters.pretty == Some(true),
            changed: paging.page.is_some() || only_counts || !choice.criteria.is_empty() || context.permitted.is_some(),
            outcome: warning::outcome(&parameters.warnings),
        };
        let sent = sent(parameters, choice, &paging, only_counts);
        let piece = |piece: &Vec<u8>| if sent.is_empty() { piece.clone() } else { [&sent, &b"&"[..], piece].concat() };
        Self { pieces: choice.pieces.iter().map(piece).collect(), sent, terms }
    }
}

/// Why the search is rejected, if it is.
fn refusals(
    parameters: &SearchParameters,
    choice: &Choice<'_>,
    reading: &ReadingContext<'_>,
    context: &SearchContext<'_>,
) -> Option<Refusals> {
    let is_strict = context.handling == Some(Handling::Strict);
    let leaves_out = match context.handling {
        Some(handling) => handling == Handling::Lenient,
        // Without repairs only pages are read, and a page that is none has always been left out.
        None => context.unusable == Unusable::LeaveOut || !context.repairs,
    };
    let refused = |warning: &Warning| {
        let reason = warning.reason();
        let why = match reason.weight() {
            Weight::Unusable if !leaves_out => Why::Unusable(reason),
            Weight::Unusable if reason == Reason::Unknown && choice.shown.is_empty() => Why::LastFilter(reason),
            Weight::Limited if is_strict => Why::Unusable(reason),
            Weight::Unusable | Weight::Limited | Weight::Remarkable => return None,
        };
        Some(Refusal::of(warning.parameter(), why))
    };
    let refusals = parameters.refused.iter().chain(&choice.refused).cloned();
    let all: Vec<Refusal> = refusals.chain(parameters.warnings.iter().filter_map(refused)).collect();
    if all.is_empty() {
        return None;
    }
    let known = honoured::all(reading.resource_type, reading.version, reading.measured, reading.known);
    let known = known.iter().map(|one| one.name);
    let with_meant = |one: Refusal| one.with_meant(|name| names::meant(name, known.clone()).map(str::to_owned));
    let all = all.into_iter().map(with_meant).collect();
    let list = || format!("{} can be searched by: {}.", reading.resource_type, known.clone().collect::<Vec<_>>().join(", "));
    Refusals::new(all, list, is_strict)
}

/// Whether some of the matches are left out.
fn tests(choice: &Choice<'_>, context: &SearchContext<'_>) -> bool {
    !choice.criteria.is_empty() || hides(context.permitted)
}

/// Whether OpenEMR is newer than those that were measured, and cuts pages. What several searches find is cut as a whole.
fn is_newer(choice: &Choice<'_>, context: &SearchContext<'_>) -> bool {
    choice.pieces.is_empty() && context.capabilities.is_some_and(|capabilities| !Version::is_measured(capabilities))
}

/// Plans the page, and warns of the parts of the request that cannot be done.
fn page_plan(
    parameters: &mut SearchParameters,
    choice: &Choice<'_>,
    version: Option<Version>,
    context: &SearchContext<'_>,
) -> PagePlan {
    let plan = paging::plan(&PageRequest {
        pager: context.pager,
        version,
        patients: context.resource_type == "Patient",
        newer: is_newer(choice, context),
        doubled: paging::is_doubled(context.resource_type),
        includes: parameters.provenances || parameters.forwarded.includes,
        sorted: !parameters.sort.is_empty() || parameters.forwarded.sort,
        counts_all: parameters.total == Some(Total::Accurate),
        count: parameters.count,
        offset: parameters.offset,
        fails: context.repairs && Measured::of(context.capabilities).fails_on_count(context.resource_type),
        tests: tests(choice, context),
        keeps: context.keeps_pages,
        hides: hides(context.permitted),
    });
    for limitation in &plan.limitations {
        match limitation {
            Limitation::NoCount => parameters.warn("_count", Reason::NotPaged),
            Limitation::NoOffset => parameters.warn("_offset", Reason::NotPaged),
            Limitation::CountReduced => parameters.warn("_count", Reason::TooLarge),
            Limitation::NoTotal => {
                parameters.total = None;
                parameters.warn("_total", Reason::NotCounted);
            }
        }
    }
    plan
}

/// Writes the query for OpenEMR.
fn sent(parameters: &SearchParameters, choice: &Choice<'_>, paging: &PagePlan, only_counts: bool) -> Vec<u8> {
    let mut sent = choice.asked.join(&b'&');
    if !only_counts {
        push_order(&mut sent, parameters);
    }
    push_numbers(&mut sent, paging.count, paging.offset);
    sent
}

/// Writes the parameters that were used, whether by OpenEMR or by the gateway, without those of the page.
fn used(parameters: &SearchParameters, choice: &Choice<'_>) -> Vec<u8> {
    let mut used = choice.shown.join(&b'&');
    push_order(&mut used, parameters);
    if !parameters.elements.is_empty() {
        query::push(&mut used, "_elements", parameters.elements.join(",").as_bytes());
    }
    for (name, value) in [
        ("_summary", parameters.summary.map(Summary::word)),
        ("_total", parameters.total.map(Total::word)),
        ("_pretty", parameters.pretty.map(|pretty| if pretty { "true" } else { "false" })),
    ] {
        if let Some(value) = value {
            query::push(&mut used, name, value.as_bytes());
        }
    }
    used
}

fn with_page(mut used: Vec<u8>, parameters: &SearchParameters, paging: &PagePlan, only_counts: bool) -> Vec<u8> {
    let (count, offset) = match paging.page {
        _ if only_counts => (parameters.count.filter(|_| parameters.summary != Some(Summary::Count)), None),
        Some(page) => (Some(page.count), parameters.offset),
        None => (paging.count, paging.offset),
    };
    push_numbers(&mut used, count, offset);
    used
}

fn push_order(query: &mut Vec<u8>, parameters: &SearchParameters) {
    if parameters.provenances {
        query::push(query, "_revinclude", PROVENANCES.as_bytes());
    }
    if !parameters.sort.is_empty() {
        query::push(query, "_sort", parameters.sort.join(",").as_bytes());
    }
}

fn push_numbers(query: &mut Vec<u8>, count: Option<u64>, offset: Option<u64>) {
    for (name, number) in [("_count", count), ("_offset", offset)] {
        if let Some(number) = number {
            query::push(query, name, number.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
