//! The names by which a site's OpenEMR is known, and what replaces them in its answers: made ready once for all requests.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::header::HeaderValue;

use crate::config::{self, BaseUrl};
use crate::fhir::capabilities::Capabilities;
use crate::fhir::link_rewriter::{Links, Replacement};
use crate::site::public_base::{Asked, PublicBase};

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
    ///
    /// `known`: what OpenEMR has said of itself.
    pub fn names(&self, known: Option<Arc<Capabilities>>) -> Arc<Names> {
        let names = self.names.load_full();
        if known.as_ref().map(Arc::as_ptr) == names.source.as_ref().map(Arc::as_ptr) {
            return names;
        }
        let names = Arc::new(Names::of(&self.configured, known));
        self.names.store(Arc::clone(&names));
        names
    }

    /// The public base that a request was sent to; the latest one where it is the same.
    pub fn base(&self, asked: &Asked<'_>) -> Arc<PublicBase> {
        let latest = self.latest.load_full();
        let base = asked.base(latest.as_ref());
        if latest.is_none_or(|latest| !Arc::ptr_eq(&latest, &base)) {
            self.latest.store(Some(Arc::clone(&base)));
        }
        base
    }
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
    #[must_use]
    pub fn rewritten(&self, value: &HeaderValue, public: &PublicBase) -> Option<HeaderValue> {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::http::forwarded::CalledAt;

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
