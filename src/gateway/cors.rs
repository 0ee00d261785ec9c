//! What web pages of other origins may do (Fetch, "CORS protocol"): the gateway's to decide, per site.
//!
//! OpenEMR allows every origin and lets preflights fall through to a 404. Nothing of that reaches a browser. Because the
//! gateway adds the token, what a page may send matters as much as what it may read: a form that any page posts to
//! `/fhir/Patient` needs nobody's leave in the CORS protocol. Such a request is refused, unless it is the gateway's own
//! origin's or one that was let in.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use crate::gateway::context::RequestContext;
use crate::gateway::route::Route;
use crate::http::answer::Answer;
use crate::site::cors::Policy;

/// What the answer to a preflight depends on.
const PREFLIGHT_VARIES: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
);
const METHODS: HeaderValue = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The answer to an OPTIONS on a FHIR route: it never goes to OpenEMR, nor waits for anything.
pub(super) fn answer(session: &Session, context: &RequestContext) -> Option<Answer> {
    let head = session.req_header();
    if head.method != Method::OPTIONS || !matches!(context.route, Route::Fhir { .. }) {
        return None;
    }
    let policy = context.site().and_then(|site| site.cors.as_ref());
    let is_preflight = head.headers.contains_key(ORIGIN) && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    Some(match policy {
        Some(policy) if is_preflight => {
            let fields = policy.preflight_fields(&head.headers).into_iter();
            fields.fold(Answer::empty(StatusCode::NO_CONTENT).with(VARY, PREFLIGHT_VARIES), |answer, (name, value)| {
                answer.with(name, value)
            })
        }
        Some(_) | None => Answer::empty(StatusCode::NO_CONTENT).with(ALLOW, METHODS),
    })
}

/// Makes the head of an answer say what the page that asked for it may do with it.
pub(super) fn mark(session: &Session, head: &mut ResponseHeader, context: &RequestContext) {
    let Some(policy) = context.site().and_then(|site| site.cors.as_ref()) else { return };
    let request = session.req_header();
    let is_own = request.method == Method::OPTIONS && head.status == StatusCode::NO_CONTENT;
    if is_own && head.headers.contains_key(VARY) {
        return;
    }
    policy.mark(&request.headers, head);
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
    let public = context.runtime.config.public_url.as_ref().map(|url| url.authority());
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
    use crate::config::Origins;
    use crate::site::cors::tests::{named, policy};

    const APP: &str = "https://app.example.org";

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
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
