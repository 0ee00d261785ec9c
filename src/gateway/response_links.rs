//! Links in answers: those to OpenEMR become links to the gateway.
//!
//! Decision: `docs/decisions/13-links.md`.

use std::sync::Arc;

use http::HeaderMap;
use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, HeaderValue, LINK, LOCATION};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::link_rewriter::LinkRewriter;
use crate::fhir::link_text::LinkText;
use crate::gateway::call::Call;
use crate::gateway::public_base;
use crate::http::set_field::SetField;
use crate::site::links::OpenEmrBases;
use crate::site::prepared::Site;
use crate::site::public_base::PublicBase;

/// Rewrites the links in the head of an answer; returns the filter that does it in its body, where that is text.
pub(super) fn rewrite(session: &Session, head: &mut ResponseHeader, call: &Call, site: &Site) -> Option<LinkRewriter> {
    let (bases, public) = rewrite_head(session, head, call, site)?;
    is_rewritten(&head.headers).then(|| LinkRewriter::new(Arc::clone(&bases.links), Arc::clone(public.replacement())))
}

/// Rewrites the links in the head of an answer; returns what was replaced by what, unless links are left alone.
pub(super) fn rewrite_head(
    session: &Session,
    head: &mut ResponseHeader,
    call: &Call,
    site: &Site,
) -> Option<(Arc<OpenEmrBases>, Arc<PublicBase>)> {
    if !site.config.answers.repairs.links {
        return None;
    }
    let bases = site.openemr_bases();
    let public = public_base::of(session, call, site);
    for field in [LOCATION, CONTENT_LOCATION, LINK] {
        // Few answers have any of them.
        let values: Vec<HeaderValue> = head.headers.get_all(&field).iter().cloned().collect();
        if !values.is_empty() {
            head.remove_header(&field);
        }
        for value in values {
            head.add(&field, bases.rewrite_field(&value, &public).unwrap_or(value));
        }
    }
    Some((bases, public))
}

/// Whether the body behind this head is text whose links are rewritten. A stored document is not: it belongs to its author, and
/// may be signed. NDJSON is, although it comes as an attachment.
fn is_rewritten(fields: &HeaderMap) -> bool {
    let Some(content_type) = fields.get(CONTENT_TYPE) else { return false };
    let kind = LinkText::of(content_type.as_bytes());
    !fields.contains_key(CONTENT_ENCODING)
        && match kind {
            LinkText::Ndjson => true,
            LinkText::Json | LinkText::Xml | LinkText::Text => !fields.contains_key(CONTENT_DISPOSITION),
            LinkText::Form | LinkText::Other => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_document_stays_as_it_is() {
        for (fields, rewritten) in [
            (&[("content-type", "application/json")][..], true),
            (&[("content-type", "application/json"), ("content-encoding", "br")], false),
            (&[("content-type", "text/xml"), ("content-disposition", "attachment; filename=ccda.xml")], false),
            (
                &[("content-type", "application/fhir+ndjson"), ("content-disposition", "attachment; filename=Patient.ndjson")],
                true,
            ),
            (&[("content-type", "application/pdf")], false),
            (&[], false),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                map.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(is_rewritten(&map), rewritten, "{fields:?}");
        }
    }
}
