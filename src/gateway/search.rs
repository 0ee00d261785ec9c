//! A search on its way to OpenEMR: its parameters become ones that OpenEMR can be asked, before it waits for its turn.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT};
use http::{HeaderName, Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};
use tokio::time::timeout;

use crate::config::{self, BaseUrl, Paging};
use crate::fhir::capabilities::Capabilities;
use crate::fhir::format_parameters::{FormatParameters, NamedFormat};
use crate::fhir::interaction::Kind;
use crate::fhir::media_type;
use crate::fhir::prefer::Handling;
use crate::gateway::context::RequestContext;
use crate::gateway::failure::{Failure, Verdict};
use crate::gateway::negotiation::preferences;
use crate::gateway::queue::RETRY_BUFFER;
use crate::gateway::request_links;
use crate::http::fields::content_length;
use crate::http::request_target::Target;
use crate::openemr::search::paging::Pager;
use crate::openemr::search::plan::{SearchContext, SearchPlan, can_plan};
use crate::site::prepared::Site;

/// How long a search waits for the CapabilityStatement, where that is not known.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest form. Pingora keeps no more for another try.
const MOST: usize = RETRY_BUFFER as usize;
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Plans a search. What is no search passes, and so does one that nothing is to be done about.
///
/// # Errors
/// The outer: the caller is gone. The verdict: the search is refused.
pub async fn plan(session: &mut Session, context: &mut RequestContext) -> pingora::Result<Result<(), Verdict>> {
    let Some((site, resource_type)) = planned_for(context) else { return Ok(Ok(())) };
    // An OpenEMR that says nothing of itself is asked all the same.
    let capabilities = timeout(PATIENCE, site.capabilities()).await.ok().flatten();
    let capabilities = capabilities.as_deref();
    if !can_plan(capabilities, resource_type) {
        return Ok(Ok(()));
    }
    let patience = context.runtime.config.limits.read_timeout;
    let form = match read_form(session, site.config.repairs.search, patience).await? {
        Ok(Some(form)) => request_links::in_form(session, context, &site, form),
        Ok(None) => return Ok(Ok(())),
        Err(failure) => return Ok(Err(failure.verdict())),
    };
    if site.config.repairs.content && FormatParameters::read(&form).format.is_some_and(|named| named != NamedFormat::Json) {
        return Ok(Err(Failure::NotAcceptable.verdict()));
    }
    let query = context.plan.query(Target::parse(session.req_header().raw_path()).query);
    let query = query.strip_prefix(b"?").unwrap_or(query);
    let search = SearchContext {
        resource_type,
        capabilities,
        repairs: site.config.repairs.search,
        pager: pager(site.config.paging),
        handling: Handling::of(preferences(&session.req_header().headers)),
        bases: &bases(&site, capabilities, [query, &form]),
    };
    let planned = match SearchPlan::new(query, &form, &search) {
        Ok(Some(planned)) => planned,
        Ok(None) => return Ok(Ok(())),
        Err(error) => return Ok(Err(Verdict::new(400, error.code(), &error.to_string()))),
    };
    // What came in a form stays in one: a query is logged by more servers than a body.
    let (query, form) = if form.is_empty() { (planned.sent, None) } else { (Vec::new(), Some(planned.sent.into())) };
    context.plan.query = Some(if query.is_empty() { query } else { [b"?", query.as_slice()].concat() });
    context.plan.form = form;
    context.plan.search = Some(Box::new(planned.terms));
    Ok(Ok(()))
}

/// The site and the type of a search that is planned.
fn planned_for(context: &RequestContext) -> Option<(Arc<Site>, &'static str)> {
    let interaction = context.interaction.filter(|interaction| interaction.kind == Kind::Search)?;
    let site = context.site()?;
    let config::Site { repairs, paging, .. } = site.config.as_ref();
    let is_wanted = repairs.search || repairs.bundles || *paging != Paging::Off;
    is_wanted.then(|| Arc::clone(site)).zip(interaction.resource_type)
}

/// The form of a search by POST, read ahead as far as Pingora keeps it for another try; empty where there is none. `None`
/// for a body that is no form, and none of the gateway's business unless parameters are repaired.
async fn read_form(session: &mut Session, repairs: bool, patience: Duration) -> pingora::Result<Result<Option<Bytes>, Failure>> {
    session.as_mut().enable_retry_buffering();
    if session.req_header().method != Method::POST || session.is_body_empty() {
        return Ok(Ok(Some(Bytes::new())));
    }
    match (is_form(session.req_header()), repairs) {
        (true, _) => {}
        (false, true) => return Ok(Err(Failure::NoForm)),
        (false, false) => return Ok(Ok(None)),
    }
    if content_length(&session.req_header().headers).is_some_and(|length| length > RETRY_BUFFER) {
        return Ok(Err(Failure::FormTooLarge));
    }
    if session.get_header(EXPECT).is_some() {
        // OpenEMR, who would say it, is not asked before the form is known.
        session.as_mut().write_response_header(Box::new(ResponseHeader::build(StatusCode::CONTINUE, None)?)).await?;
    }
    // All of it is a packet or two: whoever sends it byte by byte has no longer than another has for one of his.
    let read = timeout(patience, read_whole(session)).await;
    let read = read.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "reading a form"));
    Ok(read.map_err(|error| error.into_down())?.ok_or(Failure::FormTooLarge).map(Some))
}

/// `None` for one that is too large.
async fn read_whole(session: &mut Session) -> pingora::Result<Option<Bytes>> {
    let mut form = BytesMut::new();
    while let Some(piece) = session.as_mut().read_request_body().await? {
        if form.len() + piece.len() > MOST {
            return Ok(None);
        }
        form.extend_from_slice(&piece);
    }
    Ok(Some(form.freeze()))
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
    let configured = site.config.nodes.iter().map(|node| &node.fhir_base).chain(&site.config.also_known_as);
    configured.map(BaseUrl::to_string).chain(capabilities.and_then(|capabilities| capabilities.base.clone())).collect()
}
