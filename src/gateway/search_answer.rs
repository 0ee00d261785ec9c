//! The answer to a search, and to a read of a part of a resource: which steps its body takes.

use http::header::{CONTENT_ENCODING, DATE};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::config;
use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::json::pretty::Pretty;
use crate::fhir::projection::projector::Projector;
use crate::fhir::projection::rule::Projection;
use crate::gateway::context::RequestContext;
use crate::gateway::response_head;
use crate::http::query;
use crate::http::request_target::Target;
use crate::openemr::bundle::stream::BundleStream;
use crate::openemr::search::read_terms::ReadTerms;
use crate::openemr::search::terms::SearchTerms;

/// Adds the steps that the body behind this head takes.
pub fn add_steps(session: &Session, head: &ResponseHeader, context: &mut RequestContext) {
    let is_legible = response_head::is_json(head) && !head.headers.contains_key(CONTENT_ENCODING);
    if !head.status.is_success() || !is_legible {
        return;
    }
    let Target { query, .. } = Target::parse(session.req_header().raw_path());
    let query = query.strip_prefix(b"?").unwrap_or(query);
    match subject(context) {
        Some((Kind::Search, resource_type, site)) => {
            let mends = site.repairs.bundles;
            let base = site.fhir_base().to_string();
            let terms = context.plan.search.take().map(|terms| *terms);
            if let Some(terms) = terms.or_else(|| mends.then(|| as_it_was_asked(resource_type, query))) {
                add_search_steps(terms, mends, &base, head, context);
            }
        }
        Some((Kind::Read, resource_type, site)) if site.repairs.search => {
            let ReadTerms { projection, pretty } = ReadTerms::of(query, resource_type);
            if projection != Projection::Whole {
                context.body.push(Projector::resource(projection, Some(resource_type)));
            }
            if pretty {
                context.body.push(Pretty::default());
            }
        }
        _ => {}
    }
}

fn add_search_steps(mut terms: SearchTerms, mends: bool, base: &str, head: &ResponseHeader, context: &mut RequestContext) {
    let (resource_type, pretty) = (terms.resource_type, terms.pretty);
    let projection = std::mem::take(&mut terms.projection);
    if mends || terms.page.is_some() || !terms.entries || terms.outcome.is_some() {
        context.body.push(BundleStream::new(terms, mends, base, sent(head)));
    }
    if projection != Projection::Whole {
        context.body.push(Projector::bundle(projection, Some(resource_type)));
    }
    if pretty {
        context.body.push(Pretty::default());
    }
}

/// A request for one type at a site.
fn subject(context: &RequestContext) -> Option<(Kind, &'static str, &config::Site)> {
    let Interaction { kind, resource_type, .. } = context.interaction?;
    Some((kind, resource_type?, context.site()?.config.as_ref()))
}

/// The terms of a search that nothing was planned for. How many matches there are is told only by an answer that holds them all.
fn as_it_was_asked(resource_type: &'static str, query: &[u8]) -> SearchTerms {
    let mark = if query.is_empty() { "" } else { "?" };
    let target = format!("/{resource_type}{mark}{}", query::as_uri(query));
    let total = !query::parameters(query).any(|parameter| matches!(parameter.name.as_ref(), "_count" | "_offset"));
    SearchTerms { total, ..SearchTerms::whole(resource_type, target) }
}

/// When OpenEMR sent this, by its own clock, in seconds since 1970.
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
