//! The answer to a search, and to a read of a part of a resource: which filters its body passes.

use http::header::{CONTENT_ENCODING, DATE};
use pingora::http::ResponseHeader;

use crate::config;
use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::json::pretty::Pretty;
use crate::fhir::projection::projector::Projector;
use crate::fhir::projection::rule::Projection;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::destination::FhirCall;
use crate::gateway::response_head;
use crate::http::query;
use crate::openemr::bundle::stream::BundleStream;
use crate::openemr::search::read_terms::ReadTerms;
use crate::openemr::search::terms::SearchTerms;

/// Adds the filters that the body behind this head passes.
pub(super) fn add_filters(head: &ResponseHeader, fhir: &mut FhirCall, filters: &mut BodyFilters) {
    let is_legible = response_head::is_json(head) && !head.headers.contains_key(CONTENT_ENCODING);
    if !head.status.is_success() || !is_legible {
        return;
    }
    let Interaction { kind, resource_type: Some(resource_type), .. } = fhir.interaction else { return };
    let planned = fhir.plan.search.take();
    let query = fhir.query();
    let query = query.strip_prefix(b"?").unwrap_or(query);
    match kind {
        Kind::Search => {
            let unplanned = || fhir.repairs().bundles.then(|| as_it_was_asked(resource_type, query));
            if let Some(terms) = planned.map_or_else(unplanned, |terms| Some(*terms)) {
                add_search_filters(terms, head, &fhir.site.config, filters);
            }
        }
        Kind::Read if fhir.repairs().search => {
            let ReadTerms { projection, pretty } = ReadTerms::of(query, resource_type);
            if projection != Projection::Whole {
                filters.push(Projector::resource(projection, Some(resource_type)));
            }
            if pretty {
                filters.push(Pretty::default());
            }
        }
        _ => {}
    }
}

fn add_search_filters(mut terms: SearchTerms, head: &ResponseHeader, site: &config::Site, filters: &mut BodyFilters) {
    let mends = site.answers.repairs.bundles;
    let (resource_type, pretty) = (terms.resource_type, terms.pretty);
    let projection = std::mem::take(&mut terms.projection);
    if mends || terms.page.is_some() || !terms.entries || terms.outcome.is_some() {
        filters.push(BundleStream::new(terms, mends, &site.fhir_base().to_string(), sent(head)));
    }
    if projection != Projection::Whole {
        filters.push(Projector::bundle(projection, Some(resource_type)));
    }
    if pretty {
        filters.push(Pretty::default());
    }
}

/// The terms of a search that was not planned. Only an answer that holds all matches tells how many there are.
fn as_it_was_asked(resource_type: &'static str, query: &[u8]) -> SearchTerms {
    let mark = if query.is_empty() { "" } else { "?" };
    let target = format!("/{resource_type}{mark}{}", query::as_uri(query));
    let total = !query::parameters(query).any(|parameter| matches!(parameter.name.as_ref(), "_count" | "_offset"));
    SearchTerms { total, ..SearchTerms::whole(resource_type, target) }
}

/// The time at which OpenEMR sent this, by its own clock, in seconds since 1970.
fn sent(head: &ResponseHeader) -> Option<i64> {
    let date = httpdate::parse_http_date(head.headers.get(DATE)?.to_str().ok()?).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_planned_is_shown_as_it_was_asked() {
        for (query, target, total) in [
            ("", "/Patient", true),
            ("name=x%20y&a=\"", "/Patient?name=x%20y&a=%22", true),
            ("_count=5", "/Patient?_count=5", false),
        ] {
            let terms = as_it_was_asked("Patient", query.as_bytes());
            assert_eq!((terms.self_target.as_str(), terms.total), (target, total));
        }
    }

    #[test]
    fn openemrs_own_clock() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        assert_eq!(sent(&head), None);
        head.insert_header(DATE, "Tue, 24 Nov 2026 02:28:26 GMT").unwrap();
        assert_eq!(sent(&head), Some(1_795_487_306));
        head.insert_header(DATE, "today").unwrap();
        assert_eq!(sent(&head), None);
    }
}
