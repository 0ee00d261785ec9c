//! Links in answers: which of OpenEMR's names for itself are looked for, and what stands in their place.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::header::{CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, HOST, HeaderValue, LINK, LOCATION};
use http::{HeaderMap, Version};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::config::{self, BaseUrl};
use crate::fhir::capabilities::Capabilities;
use crate::fhir::link_rewriter::{LinkRewriter, Links, Replacement};
use crate::fhir::media_type::essence;
use crate::gateway::context::RequestContext;
use crate::http::forwarded::CalledAt;
use crate::site::prepared::Site;
use crate::site::public_base::{Asked, PublicBase};

/// How long a request waits until OpenEMR has said what it calls itself. It says it once; what comes after that is known.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is looked for in a site's answers, made ready once for all requests.
#[derive(Debug)]
pub struct SiteLinks {
    configured: Vec<BaseUrl>,
    names: ArcSwap<Names>,
    latest: ArcSwapOption<PublicBase>,
}

/// By which names OpenEMR is known.
#[derive(Debug)]
pub struct Names {
    /// What the latest of them was read from.
    source: Option<Arc<Capabilities>>,
    /// All of them.
    pub links: Arc<Links>,
    /// The one by which it calls itself: what callers send back.
    pub own: Arc<Replacement>,
    paths: Vec<String>,
}

impl SiteLinks {
    /// Those of a site of which nothing is known but its configuration.
    #[must_use]
    pub fn new(site: &config::Site) -> Self {
        let bases = site.nodes.iter().map(|node| &node.fhir_base).chain(&site.also_known_as);
        let configured: Vec<BaseUrl> = bases.cloned().collect();
        Self { names: ArcSwap::from_pointee(Names::of(&configured, None)), configured, latest: ArcSwapOption::empty() }
    }

    /// The names, with what is known of the site by now.
    pub fn names(&self, site: &Site) -> Arc<Names> {
        let names = self.names.load_full();
        let known = site.documents.known();
        if known.as_ref().map(Arc::as_ptr) == names.source.as_ref().map(Arc::as_ptr) {
            return names;
        }
        let names = Arc::new(Names::of(&self.configured, known));
        self.names.store(Arc::clone(&names));
        names
    }
}

/// Before the first answer: asks OpenEMR what it calls itself, which nothing else tells. Without its word, the
/// configured names have to do.
pub async fn learn_names(site: &Site) {
    if site.documents.known().is_some() {
        return;
    }
    // Whatever came of it shows where it is used. The fetch goes on for others.
    let _ = tokio::time::timeout(PATIENCE, site.documents.capabilities(site)).await;
}

impl Names {
    fn of(configured: &[BaseUrl], source: Option<Arc<Capabilities>>) -> Self {
        let own = source.as_ref().and_then(|capabilities| BaseUrl::parse(capabilities.base.as_deref()?).ok());
        let all: Vec<&BaseUrl> = own.iter().chain(configured).collect();
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        let mut paths: Vec<String> = all.iter().map(|base| base.path.clone()).filter(|path| !path.is_empty()).collect();
        paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
        paths.dedup();
        Self {
            links: Arc::new(Links::to(texts.iter().map(String::as_str))),
            own: Arc::new(Replacement::new(texts.first().map_or("", String::as_str))),
            paths,
            source,
        }
    }

    /// A document of OpenEMR's with its links replaced.
    #[must_use]
    pub fn in_the_name_of(&self, document: Vec<u8>, public: &str) -> Vec<u8> {
        self.links.rewritten(&document, &Replacement::new(public)).unwrap_or(document)
    }

    /// A field's value with its links replaced; `None` where there is none.
    fn rewritten(&self, value: &HeaderValue, public: &PublicBase) -> Option<HeaderValue> {
        let value = value.as_bytes();
        let text = self.links.rewritten(value, public.replacement()).or_else(|| {
            // A reference to a path of this host (RFC 3986 section 4.2): of the gateway's, to whoever reads it.
            let rest = self.paths.iter().find_map(|path| value.strip_prefix(path.as_bytes()))?;
            let ends = rest.first().is_none_or(|next| b"/?#".contains(next));
            ends.then(|| [public.as_str().as_bytes(), rest].concat())
        })?;
        HeaderValue::from_bytes(&text).ok()
    }
}

/// The gateway's own base, as the caller of this request knows it.
#[must_use]
pub fn public_base(session: &Session, context: &RequestContext, site: &Site) -> Arc<PublicBase> {
    let head = session.req_header();
    let settings = &context.runtime.settings;
    let called_at = match &context.trace.hops {
        Some(hops) => CalledAt::of(&head.headers, hops, &settings.trusted_proxies),
        None => CalledAt::default(),
    };
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let asked = Asked {
        public_url: settings.public_url.as_ref(),
        called_at,
        host: if head.version == Version::HTTP_2 { authority.or(host) } else { host },
        tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
        local: session.server_addr().and_then(|address| address.as_inet()).copied(),
        fhir_path: site.fhir_path.as_deref().unwrap_or_default(),
    };
    let latest = site.links.latest.load_full();
    let base = asked.base(latest.as_ref());
    if latest.is_none_or(|latest| !Arc::ptr_eq(&latest, &base)) {
        site.links.latest.store(Some(Arc::clone(&base)));
    }
    base
}

/// Rewrites the links in the head of an answer; gives the step that does it in its body, where that is text.
pub fn after_head(session: &Session, head: &mut ResponseHeader, context: &RequestContext) -> Option<LinkRewriter> {
    let site = context.site().filter(|site| site.config.repairs.links)?;
    let names = site.links.names(site);
    let public = public_base(session, context, site);
    for field in [LOCATION, CONTENT_LOCATION, LINK] {
        // Few answers have any of them.
        let values: Vec<HeaderValue> = head.headers.get_all(&field).iter().cloned().collect();
        if !values.is_empty() {
            head.remove_header(&field);
        }
        for value in values {
            // What was a value is one again.
            let _ = head.append_header(field.clone(), names.rewritten(&value, &public).unwrap_or(value));
        }
    }
    is_rewritten(&head.headers).then(|| LinkRewriter::new(Arc::clone(&names.links), Arc::clone(public.replacement())))
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

    #[test]
    fn a_field_points_back_by_url_and_by_path() {
        let bases = [BaseUrl::parse("https://emr.example/apis/default/fhir").unwrap()];
        let names = Names::of(&bases, None);
        let url = BaseUrl::parse("https://gw.example").unwrap();
        let public = Asked {
            public_url: Some(&url),
            called_at: CalledAt::default(),
            host: None,
            tls: false,
            local: None,
            fhir_path: "/fhir",
        }
        .base(None);
        for (value, expected) in [
            ("https://emr.example/apis/default/fhir/Patient/1", Some("https://gw.example/fhir/Patient/1")),
            ("/apis/default/fhir/Patient/1", Some("https://gw.example/fhir/Patient/1")),
            ("/apis/default/fhir", Some("https://gw.example/fhir")),
            ("<https://emr.example/apis/default/fhir?a>; rel=\"next\"", Some("<https://gw.example/fhir?a>; rel=\"next\"")),
            ("/apis/default/fhirs/Patient/1", None),
            ("/interface/login", None),
            ("Patient/1", None),
        ] {
            let got = names.rewritten(&HeaderValue::from_static(value), &public);
            assert_eq!(got.as_ref().map(HeaderValue::as_bytes), expected.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn what_openemr_calls_itself_comes_first() {
        let bases = [BaseUrl::parse("http://10.0.0.1:8300/apis/default/fhir").unwrap()];
        for (base, own) in [
            (Some("https://emr.example/apis/default/fhir/"), "https://emr.example/apis/default/fhir"),
            (Some("not a URL"), "http://10.0.0.1:8300/apis/default/fhir"),
            (None, "http://10.0.0.1:8300/apis/default/fhir"),
        ] {
            let statement = serde_json::json!({"resourceType": "CapabilityStatement", "implementation": {"url": base}});
            let capabilities = Capabilities::parse(statement.to_string().as_bytes()).unwrap();
            let names = Names::of(&bases, Some(Arc::new(capabilities)));
            assert_eq!(names.own.as_plain(), own.as_bytes());
            let to = Replacement::new("X");
            assert_eq!(names.links.rewritten(own.as_bytes(), &to).unwrap(), b"X");
            assert_eq!(names.links.rewritten(b"http://10.0.0.1:8300/apis/default/fhir", &to).unwrap(), b"X");
        }
    }
}
