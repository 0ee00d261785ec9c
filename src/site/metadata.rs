//! The documents that describe a site, as callers get them: the CapabilityStatement with the gateway's base URL in place of
//! OpenEMR's, and the SMART configuration. Each is made once and kept, compressed too.
//!
//! Decision: `docs/decisions/19-browsers.md`.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::config::{self, Paging};
use crate::fhir::capability_statement::{self, Authentication, Exports, GatewayFeatures};
use crate::http::coding::Coding;
use crate::openemr::statement::{announce_conditional_creates, correct_searches};
use crate::site::capability_cache::Statement;
use crate::site::links::OpenEmrBases;

/// The CapabilityStatement is kept for so many public bases of the gateway, because a caller can make up any number.
const MOST_BASES: usize = 8;
/// The bytes of the digest that make an entity tag.
const TAG_BYTES: usize = 16;

/// The documents that callers of one site get.
#[derive(Debug)]
pub(crate) struct Metadata {
    shown: GatewayFeatures,
    /// Whether parameters of searches are repaired, and whether searches come in pages.
    searches: (bool, bool),
    /// Whether the gateway does conditional creates.
    repairs_writes: bool,
    statements: Mutex<Vec<Shaped>>,
    /// The SMART configuration, for each token endpoint.
    smart: Mutex<Vec<(String, Arc<Document>)>>,
}

/// The CapabilityStatement for one public base.
#[derive(Debug, Clone)]
struct Shaped {
    base: String,
    /// OpenEMR's document that it was made from.
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
    /// The documents of a configured site.
    #[must_use]
    pub(crate) fn new(site: &config::Site, authentication: Authentication) -> Self {
        let searches = (site.answers.repairs.search, site.answers.paging != Paging::Off);
        let repairs_writes = site.answers.repairs.writes;
        let shown = shown(site, authentication);
        Self { shown, searches, repairs_writes, statements: Mutex::default(), smart: Mutex::default() }
    }

    /// `/.well-known/smart-configuration`, for a caller that knows the token endpoint by this URL.
    #[must_use]
    pub(crate) fn smart_configuration(&self, token_url: &str) -> Arc<Document> {
        let mut all = self.smart.lock();
        if let Some((_, document)) = all.iter().find(|(known, _)| known == token_url) {
            return Arc::clone(document);
        }
        let json = capability_statement::smart_configuration(&self.shown.authentication, token_url);
        let document = Arc::new(Document::new(json.into()));
        if all.len() >= MOST_BASES {
            all.remove(0);
        }
        all.push((token_url.to_owned(), Arc::clone(&document)));
        document
    }

    /// OpenEMR's CapabilityStatement as a caller gets it that knows the gateway by `base`, and its token endpoint by `token_url`.
    /// Links to `replaced` become links to that base. `None` when OpenEMR's document cannot be read.
    pub(crate) fn capability_statement(
        &self,
        statement: &Statement,
        replaced: Option<&OpenEmrBases>,
        base: &str,
        token_url: &str,
    ) -> Option<Arc<Document>> {
        let is_this = |shaped: &&Shaped| shaped.base == base && shaped.source == statement.json;
        if let Some(shaped) = self.statements.lock().iter().find(is_this) {
            return Some(Arc::clone(&shaped.document));
        }
        let (are_repaired, pages) = self.searches;
        let correct = |document: &mut _| {
            if are_repaired {
                correct_searches(document, &statement.capabilities, pages);
            }
            if self.repairs_writes {
                announce_conditional_creates(document, &statement.capabilities);
            }
        };
        let json = capability_statement::rewrite(&statement.json, &self.shown, token_url, correct).ok()?;
        let json = match replaced {
            Some(bases) => bases.rewrite_document(json, base),
            None => json,
        };
        let document = Arc::new(Document::new(json.into()));
        let mut statements = self.statements.lock();
        statements.retain(|shaped| shaped.base != base && shaped.source == statement.json);
        if statements.len() >= MOST_BASES {
            statements.remove(0);
        }
        statements.push(Shaped { base: base.to_owned(), source: statement.json.clone(), document: Arc::clone(&document) });
        Some(document)
    }
}

fn shown(site: &config::Site, authentication: Authentication) -> GatewayFeatures {
    let is_granted = |level: &str| {
        let asks = |scope: &str| site.token.scopes.iter().any(|one| one.as_str() == scope);
        site.answers.repairs.bulk_data && asks(&format!("system/{level}.$export"))
    };
    let exports = Exports { system: is_granted("*"), patient: is_granted("Patient"), group: is_granted("Group") };
    GatewayFeatures { cors: site.answers.cors.is_some(), formats: site.answers.repairs.content, exports, authentication }
}

impl Document {
    fn new(body: Bytes) -> Self {
        let digest = digest(&SHA256, &body);
        let hex = hex::encode(digest.as_ref().get(..TAG_BYTES).unwrap_or_default());
        Self { body, tag: format!("\"{hex}\""), compressed: Default::default() }
    }

    /// The document, not compressed.
    #[must_use]
    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    /// The strong entity tag of the body, with its quotes (RFC 9110 section 8.8.3).
    #[must_use]
    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    /// The body in this coding: `compress` is called the first time only.
    pub(crate) fn compressed(&self, coding: Coding, compress: impl FnOnce(&Bytes) -> Bytes) -> Bytes {
        let slot = Coding::ALL.iter().position(|known| *known == coding).and_then(|at| self.compressed.get(at));
        match slot {
            Some(slot) => slot.get_or_init(|| compress(&self.body)).clone(),
            None => compress(&self.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_of_the_bytes() {
        let one = Document::new(Bytes::from_static(b"{}"));
        assert_eq!(one.tag, Document::new(Bytes::from_static(b"{}")).tag);
        assert_ne!(one.tag, Document::new(Bytes::from_static(b"{ }")).tag);
        assert_eq!(one.tag.len(), 2 * TAG_BYTES + 2);
    }
}
