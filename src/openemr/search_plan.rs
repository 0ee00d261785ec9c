//! The plan of a search: what goes to OpenEMR for what the caller asked, and what is to become of the answer.

use http::StatusCode;

use crate::fhir::capabilities::{Capabilities, TypeCapabilities, Version};
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Handling;
use crate::fhir::rejection::Rejection;
use crate::http::query::{self, as_uri, parameters};
use crate::openemr::search_page::{self, Asked, Pager, Question, Shortcoming};
use crate::openemr::search_reading::{PROVENANCES, Reading, Searched, Summary, Total};
use crate::openemr::search_remark::{self, Why};
use crate::openemr::search_terms::SearchTerms;

/// More parameters than anybody searches by.
const MOST_PARAMETERS: usize = 200;

/// What a search is planned for.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The type that is searched.
    pub resource_type: &'static str,
    /// What the server says that it can do; `None` where it said nothing.
    pub capabilities: Option<&'a Capabilities>,
    /// Whether parameters are repaired, besides those of paging.
    pub repairs: bool,
    /// Who cuts pages.
    pub pager: Pager,
    /// What happens to parameters that cannot be used.
    pub handling: Handling,
    /// The addresses of this server, by which references to it may begin.
    pub bases: &'a [String],
}

/// A search that can go to OpenEMR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPlan {
    /// The query, or the form.
    pub sent: Vec<u8>,
    /// What was searched for, and how it is answered.
    pub terms: SearchTerms,
}

/// Whether a search is the gateway's to judge: another server than OpenEMR knows its own ways, and of a type that cannot be
/// searched OpenEMR says so. Where nothing is known of the server it is taken for OpenEMR.
#[must_use]
pub fn is_judged(capabilities: Option<&Capabilities>, resource_type: &str) -> bool {
    capabilities.is_none_or(|capabilities| known(capabilities, resource_type).is_some())
}

fn known<'a>(capabilities: &'a Capabilities, resource_type: &str) -> Option<(Version, &'a TypeCapabilities)> {
    let known = capabilities.types.get(resource_type).filter(|known| known.interactions.contains("search-type"))?;
    (capabilities.version != Version::Other).then_some((capabilities.version, known))
}

/// Plans a search with the parameters of a query (without `?`) and of a form; `None` where it is not [`is_judged`].
///
/// # Errors
/// Too many parameters; with [`Handling::Strict`], one that cannot be used as it is.
pub fn plan(query: &[u8], form: &[u8], circumstances: &Circumstances<'_>) -> Result<Option<SearchPlan>, Rejection> {
    let known = match circumstances.capabilities.map(|capabilities| known(capabilities, circumstances.resource_type)) {
        None => None,
        Some(None) => return Ok(None),
        Some(known) => known,
    };
    let &Circumstances { resource_type, repairs, bases, .. } = circumstances;
    let searched = Searched { resource_type, known, bases, repairs, pages: circumstances.pager != Pager::Off };
    let mut reading = Reading::default();
    for (at, parameter) in parameters(query).chain(parameters(form)).enumerate() {
        if at >= MOST_PARAMETERS {
            let text = format!("A search may have {MOST_PARAMETERS} parameters at most.");
            return Err(Rejection::new(StatusCode::BAD_REQUEST, IssueCode::TooCostly, text));
        }
        reading.take(&parameter, &searched);
    }
    // FHIR R4, "Search", 3.1.1.3: what cannot be read is an error, however the rest is handled.
    if let Some(name) = &reading.no_date {
        let text = format!("The value of {name} is no date as FHIR writes it, such as 2024-02-29 or ge2024-01-01.");
        return Err(Rejection::new(StatusCode::BAD_REQUEST, IssueCode::Value, text));
    }
    let plan = made_of(&mut reading, known.map(|(version, _)| version), circumstances);
    match circumstances.handling {
        Handling::Strict if !reading.remarks.is_empty() => {
            let (code, text) = search_remark::refusal(&reading.remarks);
            Err(Rejection::new(StatusCode::BAD_REQUEST, code, text))
        }
        Handling::Strict | Handling::Lenient => Ok(Some(plan)),
    }
}

fn made_of(reading: &mut Reading, version: Option<Version>, circumstances: &Circumstances<'_>) -> SearchPlan {
    let projection = reading.projection();
    let only_counts = reading.summary == Some(Summary::Count) || reading.count == Some(0);
    // To be counted, all matches must come.
    let asked = if only_counts { Asked::default() } else { asked(reading, version, circumstances) };
    let resource_type = circumstances.resource_type;
    let shown = |query: Vec<u8>| match query.as_slice() {
        [] => format!("/{resource_type}"),
        query => format!("/{resource_type}?{}", as_uri(query)),
    };
    let terms = SearchTerms {
        resource_type,
        self_target: shown(with_page(used(reading), reading, &asked, only_counts)),
        page_target: shown(used(reading)),
        page: asked.page,
        total: only_counts || (asked.total && !reading.passed.count && reading.total != Some(Total::None)),
        entries: !only_counts,
        projection,
        pretty: reading.pretty == Some(true),
        outcome: search_remark::outcome(&reading.remarks),
    };
    SearchPlan { sent: sent(reading, &asked, only_counts), terms }
}

fn asked(reading: &mut Reading, version: Option<Version>, circumstances: &Circumstances<'_>) -> Asked {
    let asked = search_page::ask(&Question {
        pager: circumstances.pager,
        version,
        patients: circumstances.resource_type == "Patient",
        includes: reading.provenances || reading.passed.includes,
        sorted: !reading.sort.is_empty() || reading.passed.sort,
        counts_all: reading.total == Some(Total::Accurate),
        count: reading.count,
        offset: reading.offset,
    });
    for shortcoming in &asked.shortcomings {
        match shortcoming {
            Shortcoming::NoCount => reading.remark("_count", Why::NotPaged),
            Shortcoming::NoOffset => reading.remark("_offset", Why::NotPaged),
            Shortcoming::CutCount => reading.remark("_count", Why::TooMany),
            Shortcoming::NoTotal => {
                reading.total = None;
                reading.remark("_total", Why::NotCounted);
            }
        }
    }
    asked
}

/// What goes to OpenEMR.
fn sent(reading: &Reading, asked: &Asked, only_counts: bool) -> Vec<u8> {
    let mut sent = reading.filters.join(&b'&');
    if !only_counts {
        push_order(&mut sent, reading);
    }
    push_numbers(&mut sent, asked.count, asked.offset);
    sent
}

/// The search as it was used, whoever used it, without its page.
fn used(reading: &Reading) -> Vec<u8> {
    let mut used = reading.filters.join(&b'&');
    push_order(&mut used, reading);
    if !reading.elements.is_empty() {
        query::push(&mut used, "_elements", reading.elements.join(",").as_bytes());
    }
    for (name, value) in [
        ("_summary", reading.summary.map(Summary::word)),
        ("_total", reading.total.map(Total::word)),
        ("_pretty", reading.pretty.map(|pretty| if pretty { "true" } else { "false" })),
    ] {
        if let Some(value) = value {
            query::push(&mut used, name, value.as_bytes());
        }
    }
    used
}

fn with_page(mut used: Vec<u8>, reading: &Reading, asked: &Asked, only_counts: bool) -> Vec<u8> {
    let (count, offset) = match asked.page {
        _ if only_counts => (reading.count.filter(|_| reading.summary != Some(Summary::Count)), None),
        Some(page) => (Some(page.count), reading.offset),
        None => (asked.count, asked.offset),
    };
    push_numbers(&mut used, count, offset);
    used
}

fn push_order(query: &mut Vec<u8>, reading: &Reading) {
    if reading.provenances {
        query::push(query, "_revinclude", PROVENANCES.as_bytes());
    }
    if !reading.sort.is_empty() {
        query::push(query, "_sort", reading.sort.join(",").as_bytes());
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
