//! The documents about a site as clients see them: made once for each name of the gateway, compressed once.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY};
use parking_lot::Mutex;

use crate::config;
use crate::fhir::capability_statement::{self, Exports, Shown};
use crate::http::answer::Answer;
use crate::http::coding::{Coding, Compressing};
use crate::http::fields::members;
use crate::site::links::Names;

/// By so many names callers are remembered to find the gateway. A caller can make them up.
const MOST_NAMES: usize = 8;
/// The digits of a digest that make a validator.
const TAG_BYTES: usize = 16;

/// What is shown of one site's documents.
#[derive(Debug)]
pub struct Metadata {
    shown: Shown,
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
pub(crate) struct Document {
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

    /// The SMART configuration.
    #[must_use]
    pub(crate) fn smart(&self) -> &Document {
        &self.smart
    }

    /// The CapabilityStatement in the name of `base`; with `names`, its links point there, too. `None` where it cannot be
    /// read.
    pub(crate) fn in_the_name_of(&self, base: &str, source: &Bytes, names: Option<&Names>) -> Option<Arc<Document>> {
        let is_this = |kept: &&Kept| kept.base == base && kept.source == *source;
        if let Some(kept) = self.kept.lock().iter().find(is_this) {
            return Some(Arc::clone(&kept.document));
        }
        let json = capability_statement::shown(source, &self.shown).ok()?;
        let json = match names {
            Some(names) => names.in_the_name_of(json, base),
            None => json,
        };
        let document = Arc::new(Document::new(json.into()));
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.base != base && kept.source == *source);
        if kept.len() >= MOST_NAMES {
            kept.remove(0);
        }
        kept.push(Kept { base: base.to_owned(), source: source.clone(), document: Arc::clone(&document) });
        Some(document)
    }
}

fn shown(site: &config::Site) -> Shown {
    let is_granted = |level: &str| {
        let asks = |scope: &str| site.scopes.iter().any(|one| one.as_str() == scope);
        site.repairs.bulk_data && asks(&format!("system/{level}.$export"))
    };
    let exports = Exports { system: is_granted("*"), patient: is_granted("Patient"), group: is_granted("Group") };
    Shown { cors: site.cors.is_some(), formats: site.repairs.content, exports }
}

impl Document {
    fn new(body: Bytes) -> Self {
        let digest = digest(&SHA256, &body);
        let hex = digest.as_ref().iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect::<String>();
        Self { body, tag: format!("\"{hex}\""), compressed: Default::default() }
    }

    /// Its length in bytes, uncompressed.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.body.len()
    }

    /// The answer to a request with these fields. `level`: of compression, where there is any.
    pub(crate) fn answer(&self, fields: &HeaderMap, content_type: &'static str, max_age: u64, level: Option<u32>) -> Answer {
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
}

/// Whether the caller has it already (RFC 9110 section 13.1.2: weak comparison).
fn is_known(fields: &HeaderMap, tag: &str) -> bool {
    let opaque = |one: &[u8]| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag.as_bytes();
    fields.get_all(IF_NONE_MATCH).iter().any(|line| members(line).any(opaque))
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
