//! The CORS policy of a site, with its field values made ready (Fetch, "CORS protocol").

use http::StatusCode;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use pingora::http::ResponseHeader;

use crate::config::{Cors, Origins};
use crate::http::answer::Answer;
use crate::http::fields::add_vary;
use crate::http::set_field::SetField;

const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// What the answer to a preflight depends on.
const PREFLIGHT_VARIES: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
);
/// A page of a public network asks for one of a private network (Private Network Access).
static REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// A site's rules, with its fields ready.
#[derive(Debug)]
pub struct CorsPolicy {
    origins: Origins,
    methods: HeaderValue,
    headers: HeaderValue,
    exposed: HeaderValue,
    max_age: HeaderValue,
    credentials: bool,
}

impl CorsPolicy {
    /// Of a configuration.
    #[must_use]
    pub fn new(cors: &Cors) -> Self {
        // The names were checked when they were read.
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

    /// What `Access-Control-Allow-Origin` says to a page of this origin; `None`: it is not let in.
    #[must_use]
    pub(crate) fn allows(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            Origins::Any => Some(ANY),
            Origins::These(origins) => origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
        }
    }

    /// The answer to a preflight. A browser that finds no leave in it sends nothing further.
    #[must_use]
    pub(crate) fn preflight(&self, fields: &HeaderMap) -> Answer {
        let answer = Answer::empty(StatusCode::NO_CONTENT).with(VARY, PREFLIGHT_VARIES);
        let Some(allowed) = fields.get(ORIGIN).and_then(|origin| self.allows(origin)) else { return answer };
        // "Any page" is not meant to let the internet into a private network; a page that was named is.
        let private = fields.get(&REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true");
        let answer = if private && allowed != ANY { answer.with(ALLOW_PRIVATE_NETWORK.clone(), TRUE) } else { answer };
        let answer = if self.credentials { answer.with(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE) } else { answer };
        answer
            .with(ACCESS_CONTROL_ALLOW_ORIGIN, allowed)
            .with(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone())
            .with(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone())
            .with(ACCESS_CONTROL_MAX_AGE, self.max_age.clone())
    }

    /// What the head of any other answer says to a page.
    pub(crate) fn mark(&self, fields: &HeaderMap, head: &mut ResponseHeader) {
        if matches!(self.origins, Origins::These(_)) {
            add_vary(head, "Origin");
        }
        let Some(allowed) = fields.get(ORIGIN).and_then(|origin| self.allows(origin)) else { return };
        head.set(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        head.set(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone());
        if self.credentials {
            head.set(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    const APP: &str = "https://app.example.org";

    fn policy(origins: Origins, credentials: bool) -> CorsPolicy {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        CorsPolicy::new(&Cors {
            origins,
            methods: names(&["GET", "POST"]),
            headers: names(&["Accept", "Prefer"]),
            exposed: names(&["ETag", "Location"]),
            credentials,
            max_age: Duration::from_secs(600),
        })
    }

    fn named() -> CorsPolicy {
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

    fn marked(policy: &CorsPolicy, origin: Option<&str>) -> HeaderMap {
        let mut head = ResponseHeader::build(200, None).unwrap();
        let fields = origin.map(|origin| fields(&[("origin", origin)])).unwrap_or_default();
        policy.mark(&fields, &mut head);
        head.headers.clone()
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
