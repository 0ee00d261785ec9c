//! Answers requests for the CapabilityStatement and the SMART configuration: from memory, in the gateway's own name.

use std::time::Duration;

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use pingora::proxy::Session;

use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::destination::{FhirCall, FhirKind};
use crate::gateway::public_base;
use crate::gateway::stop::{Step, Stop};
use crate::http::answer::Answer;
use crate::http::coding::Coding;
use crate::http::compressor::Compressor;
use crate::http::entity_tag;
use crate::site::metadata::Document;
use crate::site::prepared::Site;

/// The answer with a document to a request with these fields. `level`: of compression, where there is any.
fn answer_with(document: &Document, fields: &HeaderMap, content_type: &'static str, max_age: u64, level: Option<u32>) -> Answer {
    let coding = level.and_then(|level| Some((Coding::accepted(fields)?, level)));
    let (body, tag) = match coding {
        None => (document.body().clone(), document.tag().to_owned()),
        Some((coding, level)) => {
            let compressed = document.compressed(coding, |body| Compressor::whole(coding, level, body));
            // Other bytes than the document's own need another validator.
            (compressed, format!("W/{}", document.tag()))
        }
    };
    let answer = match entity_tag::is_known(fields.get_all(IF_NONE_MATCH), document.tag().as_bytes()) {
        true => Answer::empty(StatusCode::NOT_MODIFIED),
        false => Answer::new(StatusCode::OK, content_type, body),
    };
    let answer = match coding {
        Some((coding, _)) => answer.with(CONTENT_ENCODING, HeaderValue::from_static(coding.name())),
        None => answer,
    };
    let answer = if level.is_some() { answer.with(VARY, HeaderValue::from_static("Accept-Encoding")) } else { answer };
    let text = |value: String| HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("no-cache"));
    answer.with(ETAG, text(tag)).with(CACHE_CONTROL, text(format!("private, max-age={max_age}")))
}

/// OpenEMR has never said what it does, and does not say it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("OpenEMR's CapabilityStatement cannot be had")]
pub(super) struct NoStatement;

impl From<NoStatement> for Rejection {
    fn from(missing: NoStatement) -> Self {
        let text = "OpenEMR's CapabilityStatement cannot be had at the moment.";
        Self::unavailable(Reason::Capabilities, Duration::from_secs(5), text).because(missing)
    }
}

/// Answers a request for one of the documents that the gateway keeps.
///
/// # Errors
/// [`Stop::Answered`], when it is one; [`NoStatement`].
pub(super) async fn answer(session: &Session, call: &Call, fhir: &FhirCall) -> Step {
    let site = &fhir.site;
    let answer = match fhir.kind {
        FhirKind::SmartConfiguration => {
            let token_url = site.token_url(public_base::of(session, call, site).as_str());
            answer_to(session, call, site, &site.metadata.smart_configuration(&token_url), "application/json")
        }
        FhirKind::Capabilities => {
            let statement = site.capability_statement().await.ok_or(NoStatement)?;
            let document = site.shown_statement(&statement, public_base::of(session, call, site).as_str()).ok_or(NoStatement)?;
            let is_fhir = site.config.answers.repairs.content;
            let content_type = if is_fhir { "application/fhir+json; charset=utf-8" } else { "application/json" };
            answer_to(session, call, site, &document, content_type)
        }
        FhirKind::Export(_) | FhirKind::Proxied => return Ok(()),
    };
    Err(Stop::Answered(answer))
}

fn answer_to(session: &Session, call: &Call, site: &Site, document: &Document, content_type: &'static str) -> Answer {
    let compression = call.config().compression;
    let is_worth_it = compression.enabled && document.body().len() >= compression.least;
    let max_age = site.config.answers.documents.max_age.as_secs();
    answer_with(document, &session.req_header().headers, content_type, max_age, is_worth_it.then_some(compression.level))
}
