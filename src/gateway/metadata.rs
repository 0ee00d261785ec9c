//! The CapabilityStatement and the SMART configuration as callers get them: from memory, in the gateway's own name.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use parking_lot::Mutex;
use pingora::proxy::Session;

use crate::config;
use crate::fhir::capability_statement::{self, Exports, GatewayFeatures};
use crate::fhir::interaction::{Interaction, Kind};
use crate::gateway::answer::Answer;
use crate::gateway::compression::{Coding, Compressing};
use crate::gateway::context::RequestContext;
use crate::gateway::failure::Failure;
use crate::gateway::links;
use crate::site::documents::Statement;
use crate::site::prepared::Site;

/// By so many names callers are remembered to find the gateway. A caller can make them up.
const MOST_NAMES: usize = 8;
/// The digits of a digest that make a validator.
const TAG_BYTES: usize = 16;

/// What is shown of one site's documents.
#[derive(Debug)]
pub struct Metadata {
    shown: GatewayFeatures,
    kept: Mutex<Vec<Kept>>,
    smart: Arc<Document>,
}

/// The CapabilityStatement in one of the gateway's names.
#[derive(Debug, Clone)]
struct Kept {
    base: String,
    /// What it was made from.
    source: Bytes,
    document: Arc<Document>,
}

/// A document, ready to be sent.
#[derive(Debug)]
struct Document {
    body: Bytes,
    tag: String,
    compressed: [OnceLock<Bytes>; Coding::ALL.len()],
}

impl Metadata {
    /// Of a site of which nothing was shown yet.
    #[must_use]
    pub fn new(site: &config::Site) -> Self {
        let smart = Arc::new(Document::new(capability_statement::smart_configuration().into()));
        Self { shown: shown(site), kept: Mutex::default(), smart }
    }

    fn in_the_name_of(&self, base: &str, statement: &Statement, site: &Site) -> Option<Arc<Document>> {
        let is_this = |kept: &&Kept| kept.base == base && kept.source == statement.json;
        if let Some(kept) = self.kept.lock().iter().find(is_this) {
            return Some(Arc::clone(&kept.document));
        }
        let json = capability_statement::rewrite(&statement.json, &self.shown).ok()?;
        let json = match site.config.repairs.links {
            true => site.links.names(site).in_the_name_of(json, base),
            false => json,
        };
        let document = Arc::new(Document::new(json.into()));
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.base != base && kept.source == statement.json);
        if kept.len() >= MOST_NAMES {
            kept.remove(0);
        }
        kept.push(Kept { base: base.to_owned(), source: statement.json.clone(), document: Arc::clone(&document) });
        Some(document)
    }
}

fn shown(site: &config::Site) -> GatewayFeatures {
    let is_granted = |level: &str| {
        let asks = |scope: &str| site.scopes.iter().any(|one| one.as_str() == scope);
        site.repairs.bulk_data && asks(&format!("system/{level}.$export"))
    };
    let exports = Exports { system: is_granted("*"), patient: is_granted("Patient"), group: is_granted("Group") };
    GatewayFeatures { cors: site.cors.is_some(), formats: site.repairs.content, exports }
}

impl Document {
    fn new(body: Bytes) -> Self {
        let digest = digest(&SHA256, &body);
        let hex = digest.as_ref().iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { body, tag: format!("\"{hex}\""), compressed: Default::default() }
    }

    /// The answer to a caller with these fields. `level`: of compression, where there is any.
    fn answer(&self, fields: &HeaderMap, content_type: &'static str, max_age: u64, level: Option<u32>) -> Answer {
        let coding = level.and_then(|level| Some((Coding::accepted(fields)?, level)));
        let (body, tag) = match coding {
            None => (self.body.clone(), self.tag.clone()),
            Some((coding, level)) => {
                let slot = Coding::ALL.iter().position(|known| *known == coding).and_then(|at| self.compressed.get(at));
                let make = || Compressing::whole(coding, level, &self.body);
                // Other bytes, another validator than theirs.
                (slot.map_or_else(make, |slot| slot.get_or_init(make).clone()), format!("W/{}", self.tag))
            }
        };
        let answer = match is_known(fields, &self.tag) {
            true => Answer::empty(304),
            false => Answer::new(200, content_type, body),
        };
        let answer = match coding {
            Some((coding, _)) => answer.with(CONTENT_ENCODING, HeaderValue::from_static(coding.name())),
            None => answer,
        };
        let answer = if level.is_some() { answer.with(VARY, HeaderValue::from_static("Accept-Encoding")) } else { answer };
        let text = |value: String| HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("no-cache"));
        answer.with(ETAG, text(tag)).with(CACHE_CONTROL, text(format!("private, max-age={max_age}")))
    }
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
    let compression = context.runtime.settings.compression;
    let fields = &session.req_header().headers;
    let max_age = site.documents.max_age().as_secs();
    let of = |document: &Document, content_type: &'static str| {
        let is_worth_it = compression.enabled && document.body.len() >= compression.least;
        document.answer(fields, content_type, max_age, is_worth_it.then_some(compression.level))
    };
    if interaction.kind == Kind::SmartConfiguration {
        return Ok(Some(of(&site.metadata.smart, "application/json")));
    }
    let statement = site.documents.statement(site).await.ok_or(Failure::NoStatement)?;
    let base = links::public_base(session, context, site);
    let document = site.metadata.in_the_name_of(base.as_str(), &statement, site).ok_or(Failure::NoStatement)?;
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

    #[test]
    fn the_tag_is_of_the_bytes() {
        let one = Document::new(Bytes::from_static(b"{}"));
        assert_eq!(one.tag, Document::new(Bytes::from_static(b"{}")).tag);
        assert_ne!(one.tag, Document::new(Bytes::from_static(b"{ }")).tag);
        assert_eq!(one.tag.len(), 2 * TAG_BYTES + 2);
    }
}
