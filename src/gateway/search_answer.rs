//! The answer to a search, and to a read of a part of a resource: which filters its body passes.

use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE};
use pingora::http::ResponseHeader;

use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::json::pretty::Pretty;
use crate::fhir::projection::projector::Projector;
use crate::fhir::projection::rule::Projection;
use crate::gateway::body_filters::BodyFilters;
use crate::gateway::destination::FhirCall;
use crate::gateway::response_head;
use crate::http::query;
use crate::http::set_field::SetField;
use crate::openemr::bundle::stream::BundleStream;
use crate::openemr::search::read_terms::ReadTerms;
use crate::openemr::search::terms::SearchTerms;

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");

/// Adds the filters that the body behind this head passes.
pub(super) fn add_filters(head: &mut ResponseHeader, fhir: &mut FhirCall, filters: &mut BodyFilters) {
    if !head.status.is_success() {
        return;
    }
    let Interaction { kind, resource_type: Some(resource_type), .. } = fhir.interaction else { return };
    let is_legible = response_head::is_json(head) && !head.headers.contains_key(CONTENT_ENCODING);
    let planned = fhir.plan.search.take();
    let query = fhir.query();
    let query = query.strip_prefix(b"?").unwrap_or(query);
    match (kind, planned) {
        // Whatever OpenEMR calls it: it was asked for something else than the client, and must have sent a Bundle.
        (Kind::Search | Kind::Operation, Some(terms)) => {
            let is_rewritten = add_search_filters(*terms, true, head, fhir, filters);
            if is_rewritten && fhir.repairs().content {
                head.set(CONTENT_TYPE, FHIR_JSON);
            }
        }
        (Kind::Search, None) if fhir.repairs().bundles && is_legible => {
            add_search_filters(as_it_was_asked(resource_type, query), false, head, fhir, filters);
        }
        (Kind::Read, _) if fhir.repairs().search && is_legible => {
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

/// Adds the filters of a search, if there is anything to change. `was_changed`: OpenEMR was not asked just what the client asked.
fn add_search_filters(
    mut terms: SearchTerms,
    was_changed: bool,
    head: &ResponseHeader,
    fhir: &FhirCall,
    filters: &mut BodyFilters,
) -> bool {
    let mends = fhir.repairs().bundles;
    let (resource_type, pretty) = (terms.resource_type, terms.pretty);
    let projection = std::mem::take(&mut terms.projection);
    let is_cut = terms.page.is_some() || !terms.entries || terms.outcome.is_some() || terms.tests();
    if !(mends || is_cut || pretty || projection != Projection::Whole) {
        return false;
    }
    let stream = BundleStream::new(terms, mends, &fhir.site.config.fhir_base().to_string(), sent(head));
    filters.push(if was_changed { stream } else { stream.or_as_it_is() });
    if projection != Projection::Whole {
        filters.push(Projector::bundle(projection, Some(resource_type)));
    }
    if pretty {
        filters.push(Pretty::default());
    }
    true
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
