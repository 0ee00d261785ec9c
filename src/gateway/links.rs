//! Links in answers: those to OpenEMR become links to the gateway.

use std::sync::Arc;

use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, HOST, HeaderValue, LINK, LOCATION};
use http::{HeaderMap, Version};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::fhir::link_rewriter::LinkRewriter;
use crate::fhir::media_type::essence;
use crate::gateway::context::RequestContext;
use crate::http::forwarded::CalledAt;
use crate::site::prepared::Site;
use crate::site::public_base::{PublicBase, RequestAddress};

/// The gateway's own base, as the caller of this request knows it.
#[must_use]
pub fn public_base(session: &Session, context: &RequestContext, site: &Site) -> Arc<PublicBase> {
    let head = session.req_header();
    let settings = &context.runtime.config;
    let called_at = match &context.trace.hops {
        Some(hops) => CalledAt::of(&head.headers, hops, &settings.trusted_proxies),
        None => CalledAt::default(),
    };
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let address = RequestAddress {
        public_url: settings.public_url.as_ref(),
        called_at,
        host: if head.version == Version::HTTP_2 { authority.or(host) } else { host },
        tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        local: session.server_addr().and_then(|address| address.as_inet()).copied(),
        fhir_path: site.fhir_path.as_deref().unwrap_or_default(),
    };
    site.links.public(&address)
}

/// Rewrites the links in the head of an answer; gives the step that does it in its body, where that is text.
pub fn after_head(session: &Session, head: &mut ResponseHeader, context: &RequestContext) -> Option<LinkRewriter> {
    let site = context.site().filter(|site| site.config.repairs.links)?;
    let bases = site.openemr_bases();
    let public = public_base(session, context, site);
    for field in [LOCATION, CONTENT_LOCATION, LINK] {
        // Few answers have any of them.
        let values: Vec<HeaderValue> = head.headers.get_all(&field).iter().cloned().collect();
        if !values.is_empty() {
            head.remove_header(&field);
        }
        for value in values {
            // What was a value is one again.
            let _ = head.append_header(field.clone(), bases.rewrite_field(&value, &public).unwrap_or(value));
        }
    }
    is_rewritten(&head.headers).then(|| LinkRewriter::new(Arc::clone(&bases.links), Arc::clone(public.replacement())))
}

/// Whether the body behind this head is text in which links stand. A stored document is none: it is somebody's own, and
/// may be signed. NDJSON is, although it comes as an attachment.
fn is_rewritten(fields: &HeaderMap) -> bool {
    let Some(content_type) = fields.get(CONTENT_TYPE) else { return false };
    let kind = Kind::of(content_type.as_bytes());
    !fields.contains_key(CONTENT_ENCODING)
        && match kind {
            Kind::Ndjson => true,
            Kind::Json | Kind::Xml | Kind::Text => !fields.contains_key(CONTENT_DISPOSITION),
            Kind::Form | Kind::Other => false,
        }
}

/// What a media type is, as far as links are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `application/json`, `application/fhir+json` and their like.
    Json,
    /// The same, a document a line.
    Ndjson,
    /// `application/xml`, `text/xml`, and whatever ends with `+xml`.
    Xml,
    /// `text/…`
    Text,
    /// `application/x-www-form-urlencoded`
    Form,
    /// Anything else.
    Other,
}

impl Kind {
    /// The kind of a Content-Type.
    #[must_use]
    pub fn of(content_type: &[u8]) -> Self {
        let media_type = essence(content_type);
        let is = |known: &[&[u8]]| known.iter().any(|one| media_type.eq_ignore_ascii_case(one));
        let ends = |suffix: &[u8]| {
            let from = media_type.len().saturating_sub(suffix.len());
            media_type.get(from..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        let is_text = media_type.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"text/"));
        match media_type {
            _ if ends(b"ndjson") || is(&[b"application/jsonl", b"application/x-jsonlines"]) => Self::Ndjson,
            _ if is(&[b"application/json"]) || ends(b"+json") => Self::Json,
            _ if is(&[b"application/xml", b"text/xml"]) || ends(b"+xml") => Self::Xml,
            _ if is_text => Self::Text,
            _ if is(&[b"application/x-www-form-urlencoded"]) => Self::Form,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn links_stand_in_text() {
        for (content_type, kind) in [
            ("application/json", Kind::Json),
            ("application/fhir+json; charset=utf-8", Kind::Json),
            ("APPLICATION/FHIR+JSON", Kind::Json),
            ("application/fhir+xml", Kind::Xml),
            ("text/xml;charset=x", Kind::Xml),
            ("application/xml", Kind::Xml),
            ("application/fhir+ndjson", Kind::Ndjson),
            ("application/x-ndjson", Kind::Ndjson),
            ("text/plain", Kind::Text),
            ("text/html; charset=utf-8", Kind::Text),
            ("application/x-www-form-urlencoded", Kind::Form),
            ("application/octet-stream", Kind::Other),
            ("application/pdf", Kind::Other),
            ("application/dicom", Kind::Other),
            ("image/png", Kind::Other),
            ("tex", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(Kind::of(content_type.as_bytes()), kind, "{content_type}");
        }
    }

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
