//! A site's CORS policy (Fetch, "CORS protocol"): what web pages of other origins may do, with its fields made ready.
//!
//! Decision: `docs/decisions/19-browsers.md`.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};

use crate::config::{Cors, Origins};
use crate::http::vary::add_vary;

const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// Set to `true` by a page of a public network that calls a private one (Private Network Access).
static REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// The CORS policy of a site.
#[derive(Debug)]
pub(crate) struct Policy {
    origins: Origins,
    methods: HeaderValue,
    headers: HeaderValue,
    exposed: HeaderValue,
    max_age: HeaderValue,
    credentials: bool,
}

impl Policy {
    /// Makes the policy of a configuration ready.
    #[must_use]
    pub(crate) fn new(cors: &Cors) -> Self {
        // The configuration has checked the names.
        let list = |names: &[String]| HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""));
        Self {
            origins: cors.origins.clone(),
            methods: list(&cors.methods),
            headers: list(&cors.headers),
            exposed: list(&cors.exposed),
            max_age: HeaderValue::from(cors.max_age.as_secs()),
            credentials: cors.credentials,
        }
    }

    /// The value of `Access-Control-Allow-Origin` for a page of this origin; `None` when the origin is not allowed.
    #[must_use]
    pub(crate) fn allows(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            Origins::Any => Some(ANY),
            Origins::These(origins) => origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
        }
    }

    /// The permissions in the answer to a preflight with these fields; none when its origin is not allowed, and the browser
    /// then sends nothing further.
    #[must_use]
    pub(crate) fn preflight_fields(&self, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
        let Some(allowed) = request.get(ORIGIN).and_then(|origin| self.allows(origin)) else { return Vec::new() };
        let mut fields = Vec::with_capacity(6);
        // `*` does not mean to open a private network to the internet; a configured origin may enter it.
        if allowed != ANY && request.get(&REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true") {
            fields.push((ALLOW_PRIVATE_NETWORK.clone(), TRUE));
        }
        if self.credentials {
            fields.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE));
        }
        fields.push((ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
        fields.push((ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone()));
        fields.push((ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone()));
        fields.push((ACCESS_CONTROL_MAX_AGE, self.max_age.clone()));
        fields
    }

    /// Sets the CORS fields of an answer to a request with these fields, for everything but a preflight.
    pub(crate) fn mark(&self, request: &HeaderMap, fields: &mut HeaderMap) {
        if matches!(self.origins, Origins::These(_)) {
            add_vary(fields, "Origin");
        }
        let Some(allowed) = request.get(ORIGIN).and_then(|origin| self.allows(origin)) else { return };
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        if self.credentials {
            fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use http::header::VARY;
    use std::time::Duration;

    const APP: &str = "https://app.example.org";

    pub(crate) fn policy(origins: Origins, credentials: bool) -> Policy {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Policy::new(&Cors {
            origins,
            methods: names(&["GET", "POST"]),
            headers: names(&["Accept", "Prefer"]),
            exposed: names(&["ETag", "Location"]),
            credentials,
            max_age: Duration::from_secs(600),
        })
    }

    pub(crate) fn named() -> Policy {
        policy(Origins::These(vec![APP.to_owned(), "http://localhost:3000".to_owned()]), true)
    }

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_a_named_origin_is_let_in_and_to_the_letter() {
        let policy = named();
        for (origin, allowed) in [
            (APP, true),
            ("http://localhost:3000", true),
            ("http://app.example.org", false),
            ("https://app.example.org:8443", false),
            ("https://app.example.org.evil.example", false),
            ("https://evil.example/https://app.example.org", false),
            ("null", false),
            ("", false),
        ] {
            let allows = policy.allows(&HeaderValue::from_str(origin).unwrap());
            assert_eq!(allows, allowed.then(|| HeaderValue::from_str(origin).unwrap()), "{origin}");
        }
        assert_eq!(self::policy(Origins::Any, false).allows(&HeaderValue::from_static("null")), Some(ANY));
    }

    fn marked(policy: &Policy, origin: Option<&str>) -> HeaderMap {
        let request = origin.map(|origin| fields(&[("origin", origin)])).unwrap_or_default();
        let mut answer = HeaderMap::new();
        policy.mark(&request, &mut answer);
        answer
    }

    #[test]
    fn an_answer_says_to_whom_it_may_be_shown() {
        let shown = marked(&named(), Some(APP));
        assert_eq!(shown.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), APP);
        assert_eq!(shown.get(ACCESS_CONTROL_EXPOSE_HEADERS).unwrap(), "ETag, Location");
        assert_eq!(shown.get(ACCESS_CONTROL_ALLOW_CREDENTIALS).unwrap(), "true");
        for origin in [None, Some("https://evil.example"), Some("null")] {
            let hidden = marked(&named(), origin);
            assert_eq!(hidden.len(), 1, "{hidden:?}");
            assert_eq!(hidden.get(VARY).unwrap(), "Origin", "a cache keeps them apart");
        }
        let any = marked(&policy(Origins::Any, false), Some("https://whoever.example"));
        assert_eq!((any.get(ACCESS_CONTROL_ALLOW_ORIGIN).unwrap(), any.len()), (&ANY, 2));
    }
}
