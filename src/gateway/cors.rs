//! What web pages of other origins may do (Fetch, "CORS protocol"): the gateway's to decide, per site.
//!
//! OpenEMR allows every origin and lets preflights fall through to a 404. Nothing of that reaches a browser. Because the
//! gateway adds the token, what a page may send matters as much as what it may read: a form that any page posts to
//! `/fhir/Patient` needs nobody's leave in the CORS protocol. Such a request is refused, unless it is the gateway's own
//! origin's or one that was let in.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::config::{Cors, Origins};
use crate::gateway::answer::Answer;
use crate::gateway::compression::add_vary;
use crate::gateway::context::RequestContext;
use crate::gateway::route::Route;

const TRUE: HeaderValue = HeaderValue::from_static("true");
const ANY: HeaderValue = HeaderValue::from_static("*");
/// What the answer to a preflight depends on.
const PREFLIGHT_VARIES: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
);
const METHODS: HeaderValue = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
/// A page of a public network asks for one of a private network (Private Network Access).
static REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A site's rules, with its fields ready.
#[derive(Debug)]
pub struct Policy {
    origins: Origins,
    methods: HeaderValue,
    headers: HeaderValue,
    exposed: HeaderValue,
    max_age: HeaderValue,
    credentials: bool,
}

impl Policy {
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
    fn allows(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        match &self.origins {
            Origins::Any => Some(ANY),
            Origins::These(origins) => origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
        }
    }

    /// The answer to a preflight. A browser that finds no leave in it sends nothing further.
    fn preflight(&self, fields: &HeaderMap) -> Answer {
        let answer = Answer::empty(204).with(VARY, PREFLIGHT_VARIES);
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
    fn mark(&self, fields: &HeaderMap, head: &mut ResponseHeader) -> pingora::Result<()> {
        if matches!(self.origins, Origins::These(_)) {
            add_vary(head, "Origin")?;
        }
        let Some(allowed) = fields.get(ORIGIN).and_then(|origin| self.allows(origin)) else { return Ok(()) };
        head.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, allowed)?;
        head.insert_header(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone())?;
        if self.credentials {
            head.insert_header(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE)?;
        }
        Ok(())
    }
}

/// The answer to an OPTIONS on a FHIR route: it never goes to OpenEMR, nor waits for anything.
pub(super) fn answer(session: &Session, context: &RequestContext) -> Option<Answer> {
    let head = session.req_header();
    if head.method != Method::OPTIONS || !matches!(context.route, Route::Fhir { .. }) {
        return None;
    }
    let policy = context.site().and_then(|site| site.cors.as_ref());
    let is_preflight = head.headers.contains_key(ORIGIN) && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    Some(match policy {
        Some(policy) if is_preflight => policy.preflight(&head.headers),
        Some(_) | None => Answer::empty(204).with(ALLOW, METHODS),
    })
}

/// Makes the head of an answer say what the page that asked for it may do with it.
///
/// # Errors
/// None in practice: the fields that are set are valid.
pub(super) fn mark(session: &Session, head: &mut ResponseHeader, context: &RequestContext) -> pingora::Result<()> {
    let Some(policy) = context.site().and_then(|site| site.cors.as_ref()) else { return Ok(()) };
    let request = session.req_header();
    let is_own = request.method == Method::OPTIONS && head.status == StatusCode::NO_CONTENT;
    if is_own && head.headers.contains_key(VARY) {
        return Ok(());
    }
    policy.mark(&request.headers, head)
}

/// Whether a request that could change something comes from a web page that was not let in.
pub(super) fn is_foreign(session: &Session, context: &RequestContext) -> bool {
    let head = session.req_header();
    if !head.headers.contains_key(ORIGIN) && !head.headers.contains_key(&SEC_FETCH_SITE) {
        return false;
    }
    let policy = context.site().and_then(|site| site.cors.as_ref());
    let host = head.uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| head.headers.get(HOST).and_then(|host| host.to_str().ok()));
    let public = context.runtime.settings.public_url.as_ref().map(|url| url.authority());
    is_foreign_write(&head.method, &head.headers, [host, public.as_deref()], policy)
}

/// Whether a request is one that a browser makes for a page of an origin that was not let in, and could change something.
/// `own`: by what names the gateway is called.
fn is_foreign_write(method: &Method, fields: &HeaderMap, own: [Option<&str>; 2], policy: Option<&Policy>) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    // What a browser itself says of it cannot be forged by a page.
    let site = fields.get(&SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    if matches!(site, Some(b"same-origin" | b"none")) {
        return false;
    }
    let Some(origin) = fields.get(ORIGIN) else {
        return site.is_some();
    };
    if policy.is_some_and(|policy| policy.allows(origin).is_some()) {
        return false;
    }
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    // Without the scheme: a proxy in front may have ended TLS.
    let is_own = |(scheme, authority): (&str, &str)| {
        let default = if scheme == "https" { ":443" } else { ":80" };
        let without = |name: &str| name.strip_suffix(default).unwrap_or(name).to_ascii_lowercase();
        own.iter().flatten().any(|name| without(name) == without(authority))
    };
    !authority.is_some_and(is_own)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    const APP: &str = "https://app.example.org";

    fn policy(origins: Origins, credentials: bool) -> Policy {
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

    fn named() -> Policy {
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
        let mut head = ResponseHeader::build(200, None).unwrap();
        let fields = origin.map(|origin| fields(&[("origin", origin)])).unwrap_or_default();
        policy.mark(&fields, &mut head).unwrap();
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

    #[test]
    fn a_request_that_could_change_something_needs_leave() {
        let own = [Some("gateway.example:8000"), Some("fhir.example.org")];
        let (policy, any) = (named(), policy(Origins::Any, false));
        for (method, pairs, policy, foreign) in [
            (Method::POST, &[][..], None, false),
            (Method::GET, &[("origin", "https://evil.example")], None, false),
            (Method::POST, &[("origin", "https://evil.example")], None, true),
            (Method::POST, &[("origin", "null")], None, true),
            (Method::DELETE, &[("origin", "https://evil.example")], Some(&policy), true),
            (Method::PUT, &[("origin", APP)], Some(&policy), false),
            (Method::PUT, &[("origin", APP)], None, true),
            (Method::POST, &[("origin", "https://evil.example")], Some(&any), false),
            (Method::POST, &[("origin", "http://gateway.example:8000")], None, false),
            (Method::POST, &[("origin", "https://Gateway.example:8000")], None, false),
            (Method::POST, &[("origin", "http://gateway.example")], None, true),
            (Method::POST, &[("origin", "https://fhir.example.org")], None, false),
            (Method::POST, &[("origin", "https://fhir.example.org:443")], None, false),
            (Method::POST, &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], None, true),
            (Method::POST, &[("sec-fetch-site", "cross-site")], None, true),
            (Method::POST, &[("sec-fetch-site", "same-site")], None, true),
            (Method::POST, &[("sec-fetch-site", "same-origin"), ("origin", "https://behind.example")], None, false),
            (Method::POST, &[("sec-fetch-site", "none")], None, false),
        ] {
            assert_eq!(is_foreign_write(&method, &fields(pairs), own, policy), foreign, "{method} {pairs:?}");
        }
    }
}
