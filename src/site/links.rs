//! The base URLs of one OpenEMR, whose links in answers become links to the gateway and back.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;

use crate::config::{self, BaseUrl};
use crate::fhir::capabilities::Capabilities;
use crate::fhir::link_rewriter::{Links, Replacement};
use crate::site::public_base::{PublicBase, RequestAddress};

/// The base URLs of one site, on both sides: OpenEMR's, and the gateway's as the latest caller knew it.
#[derive(Debug)]
pub(crate) struct SiteLinks {
    configured: Vec<BaseUrl>,
    openemr: ArcSwap<OpenEmrBases>,
    latest_public: ArcSwapOption<PublicBase>,
}

/// The base URLs by which OpenEMR's FHIR API is known.
#[derive(Debug)]
pub(crate) struct OpenEmrBases {
    /// The CapabilityStatement from which OpenEMR's own base was read.
    source: Option<Arc<Capabilities>>,
    /// Finds links to any of the bases.
    pub links: Arc<Links>,
    /// The base that OpenEMR itself uses: links that callers send back begin with it.
    pub own: Arc<Replacement>,
    /// The bases themselves, without a `/` at their ends.
    pub texts: Vec<String>,
    /// The paths of the bases, the longest first.
    paths: Vec<String>,
}

impl SiteLinks {
    /// The links of a site of which only the configuration is known.
    #[must_use]
    pub(crate) fn new(site: &config::Site) -> Self {
        let bases = site.fhir_bases();
        let configured: Vec<BaseUrl> = bases.cloned().collect();
        let openemr = ArcSwap::from_pointee(OpenEmrBases::new(&configured, None));
        Self { configured, openemr, latest_public: ArcSwapOption::empty() }
    }

    /// OpenEMR's bases: those of the configuration, and the one in the CapabilityStatement once that is known.
    pub(crate) fn openemr(&self, known: Option<Arc<Capabilities>>) -> Arc<OpenEmrBases> {
        let bases = self.openemr.load_full();
        if known.as_ref().map(Arc::as_ptr) == bases.source.as_ref().map(Arc::as_ptr) {
            return bases;
        }
        let bases = Arc::new(OpenEmrBases::new(&self.configured, known));
        self.openemr.store(Arc::clone(&bases));
        bases
    }

    /// The gateway's own base, as the caller of a request with this address knows it. Most requests have the base of the one
    /// before, which is kept.
    pub(crate) fn public(&self, address: &RequestAddress<'_>) -> Arc<PublicBase> {
        let latest = self.latest_public.load_full();
        let base = address.base(latest.as_ref());
        if latest.is_none_or(|latest| !Arc::ptr_eq(&latest, &base)) {
            self.latest_public.store(Some(Arc::clone(&base)));
        }
        base
    }
}

impl OpenEmrBases {
    fn new(configured: &[BaseUrl], source: Option<Arc<Capabilities>>) -> Self {
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
            texts,
            source,
        }
    }

    /// A document of OpenEMR's with its links replaced by links to `public`.
    #[must_use]
    pub(crate) fn rewrite_document(&self, document: Vec<u8>, public: &str) -> Vec<u8> {
        self.links.rewritten(&document, &Replacement::new(public)).unwrap_or(document)
    }

    /// The value of a field such as `Location` with its links replaced; `None` when there is none in it.
    #[must_use]
    pub(crate) fn rewrite_field(&self, value: &HeaderValue, public: &PublicBase) -> Option<HeaderValue> {
        let value = value.as_bytes();
        let text = self.links.rewritten(value, public.replacement()).or_else(|| {
            // A path alone (RFC 3986 section 4.2) would be read as a path of the gateway's.
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
    use crate::http::forwarded::called_at::CalledAt;

    #[test]
    fn a_field_points_back_by_url_and_by_path() {
        let configured = [BaseUrl::parse("https://emr.example/apis/default/fhir").unwrap()];
        let bases = OpenEmrBases::new(&configured, None);
        let url = BaseUrl::parse("https://gw.example").unwrap();
        let public = RequestAddress {
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
            let got = bases.rewrite_field(&HeaderValue::from_static(value), &public);
            assert_eq!(got.as_ref().map(HeaderValue::as_bytes), expected.map(str::as_bytes), "{value}");
        }
    }

    #[test]
    fn what_openemr_calls_itself_comes_first() {
        let configured = [BaseUrl::parse("http://10.0.0.1:8300/apis/default/fhir").unwrap()];
        for (base, own) in [
            (Some("https://emr.example/apis/default/fhir/"), "https://emr.example/apis/default/fhir"),
            (Some("not a URL"), "http://10.0.0.1:8300/apis/default/fhir"),
            (None, "http://10.0.0.1:8300/apis/default/fhir"),
        ] {
            let statement = serde_json::json!({"resourceType": "CapabilityStatement", "implementation": {"url": base}});
            let capabilities = Capabilities::parse(statement.to_string().as_bytes()).unwrap();
            let bases = OpenEmrBases::new(&configured, Some(Arc::new(capabilities)));
            assert_eq!(bases.own.as_plain(), own.as_bytes());
            let to = Replacement::new("X");
            assert_eq!(bases.links.rewritten(own.as_bytes(), &to).unwrap(), b"X");
            assert_eq!(bases.links.rewritten(b"http://10.0.0.1:8300/apis/default/fhir", &to).unwrap(), b"X");
        }
    }
}
