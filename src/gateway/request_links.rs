//! Links in requests: what a caller has read in an answer, he sends back. OpenEMR then reads its own address.

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, EXPECT, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::fhir::body_step::BodyStep;
use crate::fhir::link_rewriter::{LinkRewriter, Links, Replacement};
use crate::fhir::resource_type;
use crate::gateway::context::RequestContext;
use crate::gateway::links::{Kind, public_base};
use crate::gateway::queue::RETRY_BUFFER;
use crate::http::fields::content_length;
use crate::http::request_target::Target;
use crate::site::prepared::Site;

static IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");

/// Search parameters whose values are URLs, not references (FHIR R4, "Search": type `uri`, and canonical references).
const OF_URLS: [&[u8]; 6] = [b"url", b"_profile", b"_source", b"system", b"instantiates-canonical", b"instantiates-uri"];

/// Before anything is made of a request: maps its query.
pub async fn map_query(session: &Session, context: &mut RequestContext) {
    let Some(site) = context.site().filter(|site| site.config.repairs.links).cloned() else { return };
    site.learn_bases().await;
    let query = context.plan.query(Target::parse(session.req_header().raw_path()).query);
    if let Some(query) = mapped(session, context, &site, query) {
        context.plan.query = Some(query);
    }
}

/// The form of a search, mapped.
#[must_use]
pub fn in_form(session: &Session, context: &RequestContext, site: &Site, form: Bytes) -> Bytes {
    let mapped = site.config.repairs.links.then(|| mapped(session, context, site, &form)).flatten();
    mapped.map_or(form, Bytes::from)
}

fn mapped(session: &Session, context: &RequestContext, site: &Site, query: &[u8]) -> Option<Vec<u8>> {
    if !may_hold_a_link(query) {
        return None;
    }
    query_with(public_base(session, context, site).links(), &site.openemr_bases().own, query)
}

/// Before a request waits for its turn: maps its body, where that can be kept whole.
///
/// A body that says its length has to keep to it, and OpenEMR's PHP takes no other (php-fpm behind Apache drops a chunked
/// one), so that it is read before its head goes out. That is done for what Pingora keeps for a second try; a longer one passes
/// as it is.
///
/// # Errors
/// A caller who is gone, or too slow.
pub async fn map_body(session: &mut Session, context: &mut RequestContext) -> pingora::Result<()> {
    let Some(site) = context.site().filter(|site| site.config.repairs.links).cloned() else { return Ok(()) };
    let head = session.req_header();
    let kind = kind(head);
    let is_kept = has_body(&head.method)
        && !context.plan.has_body()
        && matches!(kind, Kind::Json | Kind::Ndjson | Kind::Xml | Kind::Form)
        && content_length(&head.headers).is_some_and(|length| length <= RETRY_BUFFER);
    if !is_kept {
        return Ok(());
    }
    let body = read_ahead(session).await?;
    if kind == Kind::Form {
        context.plan.form = mapped(session, context, &site, &body).map(Bytes::from);
    } else if may_hold_a_link(&body) {
        let public = public_base(session, context, &site);
        context.plan.body = public.links().rewritten(&body, &site.openemr_bases().own).map(Bytes::from);
    }
    Ok(())
}

/// In what goes to OpenEMR: maps a conditional create, and begins the body.
///
/// # Errors
/// None in practice: the field that is set is valid.
pub fn begin(session: &Session, head: &mut RequestHeader, context: &mut RequestContext) -> pingora::Result<()> {
    context.request_links = None;
    let Some(site) = context.site().filter(|site| site.config.repairs.links) else { return Ok(()) };
    let condition = head.headers.get(&IF_NONE_EXIST).filter(|value| may_hold_a_link(value.as_bytes()));
    let is_streamed = content_length(&head.headers).is_none()
        && has_body(&head.method)
        && matches!(kind(head), Kind::Json | Kind::Ndjson | Kind::Xml)
        && !context.plan.has_body();
    if condition.is_none() && !is_streamed {
        return Ok(());
    }
    let public = public_base(session, context, site);
    let bases = site.openemr_bases();
    let mapped = condition.and_then(|value| query_with(public.links(), &bases.own, value.as_bytes()));
    let mapped = mapped.and_then(|value| HeaderValue::from_bytes(&value).ok());
    if is_streamed {
        context.request_links = Some(LinkRewriter::new(public.links().clone(), bases.own.clone()));
    }
    match mapped {
        Some(value) => head.insert_header(&IF_NONE_EXIST, value),
        None => Ok(()),
    }
}

/// A piece of a body that is mapped on its way.
pub fn pass(body: &mut Option<Bytes>, end_of_stream: bool, context: &mut RequestContext) {
    let Some(links) = &mut context.request_links else { return };
    let mut piece = links.feed(body.take().unwrap_or_default());
    if end_of_stream {
        let rest = links.finish();
        piece = if piece.is_empty() { rest } else { [piece, rest].concat().into() };
    }
    // To Pingora, nothing is the end.
    *body = (!piece.is_empty() || !end_of_stream).then_some(piece);
}

/// Reads a body whole; Pingora keeps it, and sends it from there.
async fn read_ahead(session: &mut Session) -> pingora::Result<Bytes> {
    session.as_mut().enable_retry_buffering();
    if !session.is_body_done() && session.get_header(EXPECT).is_some() {
        session.as_mut().write_continue_response().await.map_err(|error| error.into_down())?;
    }
    while !session.is_body_done() {
        session.as_mut().read_request_body().await.map_err(|error| error.into_down())?;
    }
    Ok(session.as_ref().get_retry_buffer().unwrap_or_default())
}

fn has_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

fn kind(head: &RequestHeader) -> Kind {
    head.headers.get(CONTENT_TYPE).map_or(Kind::Other, |value| Kind::of(value.as_bytes()))
}

fn may_hold_a_link(query: &[u8]) -> bool {
    memchr::memmem::find(query, b"http").is_some()
}

/// A query, with or without its `?`, or a form, in which links point to OpenEMR; `None` where there are none. Parameters
/// without one stay byte for byte.
///
/// A reference to a resource of the server's own becomes a relative one, which is the same to FHIR, and which OpenEMR is
/// known to understand.
fn query_with(links: &Links, own: &Replacement, query: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(query.len());
    let mut is_changed = false;
    let (mark, pairs) = query.strip_prefix(b"?").map_or((&b""[..], query), |pairs| (&b"?"[..], pairs));
    out.extend_from_slice(mark);
    for (number, pair) in pairs.split(|byte| *byte == b'&').enumerate() {
        if number > 0 {
            out.push(b'&');
        }
        match value_with(links, own, pair) {
            Some((name, value)) => {
                is_changed = true;
                out.extend_from_slice(name);
                out.push(b'=');
                out.extend(form_urlencoded::byte_serialize(&value).flat_map(str::bytes));
            }
            None => out.extend_from_slice(pair),
        }
    }
    is_changed.then_some(out)
}

/// The name as written, and the value decoded.
fn value_with<'a>(links: &Links, own: &Replacement, pair: &'a [u8]) -> Option<(&'a [u8], Vec<u8>)> {
    let at = memchr::memchr(b'=', pair).filter(|_| may_hold_a_link(pair))?;
    let name = pair.get(..at)?;
    let decoded = form_urlencoded::parse(pair).next()?.1;
    let mut is_changed = false;
    let items = decoded.as_bytes().split(|byte| *byte == b',').map(|item| match links.rewritten(item, own) {
        Some(mapped) => {
            is_changed = true;
            relative(name, own, mapped)
        }
        None => item.to_vec(),
    });
    let mapped = items.collect::<Vec<_>>().join(&b',');
    is_changed.then_some((name, mapped))
}

fn relative(name: &[u8], own: &Replacement, item: Vec<u8>) -> Vec<u8> {
    let modified = name.split(|byte| *byte == b':').next().unwrap_or_default();
    if OF_URLS.contains(&modified) {
        return item;
    }
    let rest = item.strip_prefix(own.as_plain()).and_then(|rest| rest.strip_prefix(b"/"));
    let is_reference = rest.is_some_and(|rest| {
        let mut segments = rest.split(|byte| *byte == b'/');
        let is_id = |id: &[u8]| !id.is_empty() && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(byte));
        segments.next().is_some_and(|first| resource_type::known(first).is_some())
            && segments.next().is_some_and(is_id)
            && segments.next().is_none()
    });
    if is_reference { rest.unwrap_or_default().to_vec() } else { item }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(query: &str) -> Option<String> {
        let links = Links::to(["https://gw.example/fhir"]);
        let own = Replacement::new("https://emr.example/apis/default/fhir");
        query_with(&links, &own, query.as_bytes()).map(|query| String::from_utf8(query).unwrap())
    }

    #[test]
    fn a_reference_to_the_gateway_is_one_to_openemr() {
        for (query, expected) in [
            ("?patient=https://gw.example/fhir/Patient/1", "?patient=Patient%2F1"),
            ("?patient=https%3A%2F%2Fgw.example%2Ffhir%2FPatient%2F1&_count=5", "?patient=Patient%2F1&_count=5"),
            ("a=b+c&subject:Patient=https://gw.example:443/fhir/Patient/a-1.b", "a=b+c&subject:Patient=Patient%2Fa-1.b"),
            (
                "?patient=https://gw.example/fhir/Patient/1,Patient/2,https://other.example/fhir/Patient/3",
                "?patient=Patient%2F1%2CPatient%2F2%2Chttps%3A%2F%2Fother.example%2Ffhir%2FPatient%2F3",
            ),
            ("?url=https://gw.example/fhir/ValueSet/1", "?url=https%3A%2F%2Femr.example%2Fapis%2Fdefault%2Ffhir%2FValueSet%2F1"),
            ("?x=https://gw.example/fhir", "?x=https%3A%2F%2Femr.example%2Fapis%2Fdefault%2Ffhir"),
            (
                "identifier=https://gw.example/fhir/sid|1%262",
                "identifier=https%3A%2F%2Femr.example%2Fapis%2Fdefault%2Ffhir%2Fsid%7C1%262",
            ),
        ] {
            assert_eq!(sent(query).as_deref(), Some(expected), "{query}");
        }
    }

    #[test]
    fn what_is_none_stays_byte_for_byte() {
        for query in [
            "",
            "?",
            "?name=http",
            "?code=http://loinc.org|8480-6",
            "?patient=https://gw.example/fhirs/Patient/1",
            "?patient=https://gw.example.org/fhir/Patient/1",
            "?https://gw.example/fhir/Patient/1",
            "?a=%zz&https=%",
        ] {
            assert_eq!(sent(query), None, "{query}");
        }
    }

    proptest! {
        #[test]
        fn other_parameters_stay_byte_for_byte(before in "[ -%'-~]{0,20}", after in "[ -%'-~]{0,20}") {
            prop_assume!(!before.contains("http") && !after.contains("http"));
            let got = sent(&format!("{before}&p=https://gw.example/fhir/Goal/1&{after}"));
            prop_assert_eq!(got, Some(format!("{before}&p=Goal%2F1&{after}")));
        }
    }
}
