//! The CapabilityStatement and the SMART configuration as callers get them: from memory, in the gateway's own name.

use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use pingora::proxy::Session;

use crate::fhir::interaction::{Interaction, Kind};
use crate::gateway::context::RequestContext;
use crate::gateway::failure::Failure;
use crate::gateway::links;
use crate::http::answer::Answer;
use crate::http::coding::Coding;
use crate::http::compressor::Compressor;
use crate::site::metadata::Document;

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
    let answer = match is_known(fields, document.tag()) {
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

/// Whether the caller has it already (RFC 9110 section 13.1.2: weak comparison).
fn is_known(fields: &HeaderMap, tag: &str) -> bool {
    let opaque = |one: &[u8]| {
        let one = one.trim_ascii();
        one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes()
    };
    fields.get_all(IF_NONE_MATCH).iter().any(|line| line.as_bytes().split(|byte| *byte == b',').any(opaque))
}

/// Whether a request is answered here, with or without an OpenEMR.
pub(super) fn answers(context: &RequestContext) -> bool {
    let is_for_one = |interaction: Interaction| matches!(interaction.kind, Kind::Capabilities | Kind::SmartConfiguration);
    context.repairs().documents && context.interaction.is_some_and(is_for_one)
}

/// The answer to a request for one of the documents; `None` where the request is for something else, or OpenEMR's own
/// document is wanted.
///
/// # Errors
/// OpenEMR has never said what it does, and does not say it now.
pub(super) async fn answer(session: &Session, context: &RequestContext) -> Result<Option<Answer>, Failure> {
    let (Some(site), Some(interaction)) = (context.site(), context.interaction) else { return Ok(None) };
    if !answers(context) {
        return Ok(None);
    }
    let compression = context.runtime.config.compression;
    let fields = &session.req_header().headers;
    let max_age = site.config.documents_max_age.as_secs();
    let of = |document: &Document, content_type: &'static str| {
        let is_worth_it = compression.enabled && document.body().len() >= compression.least;
        answer_with(document, fields, content_type, max_age, is_worth_it.then_some(compression.level))
    };
    if interaction.kind == Kind::SmartConfiguration {
        return Ok(Some(of(site.metadata.smart_configuration(), "application/json")));
    }
    let statement = site.capability_statement().await.ok_or(Failure::NoStatement)?;
    let base = links::public_base(session, context, site);
    let document = site.shown_statement(&statement, base.as_str()).ok_or(Failure::NoStatement)?;
    let content_type = if site.config.repairs.content { "application/fhir+json; charset=utf-8" } else { "application/json" };
    Ok(Some(of(&document, content_type)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_validator_is_compared_weakly() {
        for (lines, known) in [
            (&["\"a\""][..], true),
            (&["W/\"a\""], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\"", "\"a\""], true),
            (&["*"], true),
            (&["\"b\""], false),
            (&["a"], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut fields = HeaderMap::new();
            for line in lines {
                fields.append(IF_NONE_MATCH, HeaderValue::from_static(line));
            }
            assert_eq!(is_known(&fields, "\"a\""), known, "{lines:?}");
        }
    }
}
