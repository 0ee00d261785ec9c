//! Links in requests: what a client has read in an answer, it sends back. OpenEMR then reads its own address.
//!
//! Decision: `docs/decisions/17-request-bodies.md`.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::request::Parts;
use pingora::proxy::Session;

use crate::fhir::body_step::BodyStep;
use crate::fhir::if_none_exist::IF_NONE_EXIST;
use crate::fhir::link_rewriter::LinkRewriter;
use crate::fhir::link_text::LinkText;
use crate::fhir::query_links::{self, may_hold_a_link};
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::public_base;
use crate::http::fields::content_length;
use crate::site::prepared::Site;

/// Maps the links in the query, before anything is made of the request.
pub(super) async fn map_query(session: &Session, call: &Call, fhir: &mut FhirCall) {
    if !fhir.repairs().links {
        return;
    }
    fhir.site.learn_bases().await;
    if let Some(query) = mapped(session, call, &fhir.site, fhir.query_sent()) {
        fhir.plan.query = Some(query);
    }
}

/// Maps the links in the form of a search.
#[must_use]
pub(super) fn in_form(session: &Session, call: &Call, site: &Site, form: Bytes) -> Bytes {
    let mapped = site.config.answers.repairs.links.then(|| mapped(session, call, site, &form)).flatten();
    mapped.map_or(form, Bytes::from)
}

/// Maps the links in the condition of a create; `None` where there are none.
#[must_use]
pub(super) fn in_condition(session: &Session, call: &Call, site: &Site, condition: &HeaderValue) -> Option<Vec<u8>> {
    site.config.answers.repairs.links.then(|| mapped(session, call, site, condition.as_bytes())).flatten()
}

fn mapped(session: &Session, call: &Call, site: &Site, query: &[u8]) -> Option<Vec<u8>> {
    if !may_hold_a_link(query) {
        return None;
    }
    query_links::rewritten(public_base::of(session, call, site).links(), &site.openemr_bases().own, query)
}

/// Maps the links in a body that was read whole, before the request waits for its permit. A longer one that declares its
/// length has to keep to it, and passes as it is.
pub(super) fn map_body(session: &Session, call: &Call, fhir: &mut FhirCall) {
    let kind = kind(&session.req_header().headers);
    let is_mapped = fhir.repairs().links
        && fhir.plan.form.is_none()
        && matches!(kind, LinkText::Json | LinkText::Ndjson | LinkText::Xml | LinkText::Form);
    let Some(body) = fhir.plan.read.as_ref().filter(|body| is_mapped && may_hold_a_link(body)) else { return };
    if kind == LinkText::Form {
        fhir.plan.form = mapped(session, call, &fhir.site, body).map(Bytes::from);
        return;
    }
    let public = public_base::of(session, call, &fhir.site);
    if let Some(mapped) = public.links().rewritten(body, &fhir.site.openemr_bases().own) {
        fhir.plan.body = Some(Bytes::from(mapped));
    }
}

/// Maps a conditional create in the head that goes to OpenEMR; gives what rewrites the body, when that is mapped on its way.
pub(super) fn begin(session: &Session, head: &mut Parts, call: &Call, fhir: &FhirCall) -> Option<LinkRewriter> {
    if !fhir.repairs().links {
        return None;
    }
    let condition = head.headers.get(&IF_NONE_EXIST).filter(|value| may_hold_a_link(value.as_bytes()));
    let is_streamed = content_length(&head.headers).is_none()
        && has_body(&head.method)
        && matches!(kind(&head.headers), LinkText::Json | LinkText::Ndjson | LinkText::Xml)
        && !fhir.plan.has_body();
    if condition.is_none() && !is_streamed {
        return None;
    }
    let public = public_base::of(session, call, &fhir.site);
    let bases = fhir.site.openemr_bases();
    let mapped = condition.and_then(|value| query_links::rewritten(public.links(), &bases.own, value.as_bytes()));
    if let Some(value) = mapped.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
        head.headers.insert(&IF_NONE_EXIST, value);
    }
    is_streamed.then(|| LinkRewriter::new(public.links().clone(), bases.own.clone()))
}

/// Rewrites a piece of a body on its way to OpenEMR.
pub(super) fn pass(links: &mut LinkRewriter, body: &mut Option<Bytes>, end_of_stream: bool) {
    let mut piece = links.feed(body.take().unwrap_or_default());
    if end_of_stream {
        let rest = links.finish();
        piece = if piece.is_empty() { rest } else { [piece, rest].concat().into() };
    }
    // To Pingora, `None` is the end of the body.
    *body = (!piece.is_empty() || !end_of_stream).then_some(piece);
}

fn has_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn kind(fields: &HeaderMap) -> LinkText {
    fields.get(CONTENT_TYPE).map_or(LinkText::Other, |value| LinkText::of(value.as_bytes()))
}
