//! What web pages of other origins may do (Fetch, "CORS protocol"): the gateway's to decide, per site.
//!
//! OpenEMR allows every origin and lets preflights fall through to a 404. Nothing of that reaches a browser. Because the
//! gateway adds the token, what a page may send matters as much as what it may read: a form that any page posts to
//! `/fhir/Patient` needs no permission in the CORS protocol, nor does a picture or a link whose address is the gateway's. Such a
//! request is refused, unless it is the gateway's own origin's or one that was let in.
//!
//! Decision: `docs/decisions/19-browsers.md`.

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HOST, HeaderMap, HeaderValue, ORIGIN, VARY};
use http::response::Parts;
use http::{Method, StatusCode};
use pingora::http::RequestHeader;

use crate::config::BaseUrl;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::destination::Destination;
use crate::gateway::stop::{Step, Stop};
use crate::http::answer::Answer;
use crate::http::fetch_metadata::FetchSite;
use crate::site::cors::Policy;

/// What the answer to a preflight depends on.
const PREFLIGHT_VARIES: HeaderValue = HeaderValue::from_static(
    "Origin, Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
);
/// The methods of the gateway, as the field Allow lists them.
pub(super) const METHODS: HeaderValue = HeaderValue::from_static("DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT");

/// A web page of an origin that is not allowed made a browser send the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a web page of an origin that is not in cors.origins sent it")]
pub(super) struct ForeignPage;

impl From<ForeignPage> for Rejection {
    fn from(_: ForeignPage) -> Self {
        let text = "A web page of this origin may not call the gateway, unless cors.origins names the origin.";
        Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, Reason::ForeignPage, text)
    }
}

/// Answers an OPTIONS on a FHIR route, which never goes to OpenEMR, nor waits for anything; refuses a request that comes from a
/// web page that is not allowed. `public_url`: the gateway's own address, if it is configured.
///
/// # Errors
/// [`Stop::Answered`]; [`ForeignPage`].
pub(super) fn check(head: &RequestHeader, destination: &Destination, public_url: Option<&BaseUrl>) -> Step {
    let policy = destination.cors();
    let is_options = head.method == Method::OPTIONS && destination.fhir().is_some();
    let is_preflight = head.headers.contains_key(ORIGIN) && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    // A preflight asks for permission, and every page may ask.
    if !(is_options && is_preflight) {
        check_origin(head, policy, public_url)?;
    }
    if is_options { Err(options(head, policy, is_preflight)) } else { Ok(()) }
}

/// The answer to OPTIONS.
fn options(head: &RequestHeader, policy: Option<&Policy>, is_preflight: bool) -> Stop {
    Stop::Answered(match policy {
        Some(policy) if is_preflight => {
            let fields = policy.preflight_fields(&head.headers).into_iter();
            let answer = Answer::empty(StatusCode::NO_CONTENT).with(VARY, PREFLIGHT_VARIES);
            fields.fold(answer, |answer, (name, value)| answer.with(name, value))
        }
        Some(_) | None => Answer::empty(StatusCode::NO_CONTENT).with(ALLOW, METHODS),
    })
}

/// Sets the CORS fields of the answer to this request.
pub(super) fn mark(request: &RequestHeader, head: &mut Parts, policy: Option<&Policy>) {
    let Some(policy) = policy else { return };
    let is_own = request.method == Method::OPTIONS && head.status == StatusCode::NO_CONTENT;
    if is_own && head.headers.contains_key(VARY) {
        return;
    }
    policy.mark(&request.headers, &mut head.headers);
}

fn check_origin(head: &RequestHeader, policy: Option<&Policy>, public_url: Option<&BaseUrl>) -> Result<(), ForeignPage> {
    let site = FetchSite::of(&head.headers);
    if !head.headers.contains_key(ORIGIN) && site == FetchSite::Unsaid {
        return Ok(());
    }
    let host = head.uri.authority().map(http::uri::Authority::as_str);
    let host = host.or_else(|| head.headers.get(HOST).and_then(|host| host.to_str().ok()));
    let public = public_url.map(BaseUrl::authority);
    let is_foreign = is_foreign(&head.method, &head.headers, site, [host, public.as_deref()], policy);
    if is_foreign { Err(ForeignPage) } else { Ok(()) }
}

/// Whether a request is one that a browser makes for a page of an origin that was not let in. Where the browser does not say
/// whose page it is, only a request that could change something is one: pages cannot read the answers to the others.
/// `own`: by what names the gateway is called.
fn is_foreign(method: &Method, fields: &HeaderMap, site: FetchSite, own: [Option<&str>; 2], policy: Option<&Policy>) -> bool {
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    match site {
        // What a browser itself says of it cannot be forged by a page.
        FetchSite::SameOrigin | FetchSite::NoPage => return false,
        FetchSite::Unsaid if is_safe || !fields.contains_key(ORIGIN) => return false,
        FetchSite::Unsaid | FetchSite::Foreign => {}
    }
    let mut origins = fields.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else { return true };
    if policy.is_some_and(|policy| policy.allows(origin).is_some()) {
        return false;
    }
    if site == FetchSite::Foreign {
        return true;
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
    use http::HeaderName;

    const APP: &str = "https://app.example.org";

    fn fields(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn what_a_page_of_another_origin_sends_needs_leave() {
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
            (Method::POST, &[("sec-fetch-site", "no-such")], None, true),
            (Method::GET, &[("sec-fetch-site", "none")], None, false),
            (Method::GET, &[("sec-fetch-site", "same-origin")], None, false),
            (Method::GET, &[("sec-fetch-site", "cross-site")], None, true),
            (Method::HEAD, &[("sec-fetch-site", "same-site")], None, true),
            (Method::OPTIONS, &[("sec-fetch-site", "cross-site")], None, true),
            // What a page loads without asking, as pictures are, says no origin, whoever was let in.
            (Method::GET, &[("sec-fetch-site", "cross-site")], Some(&any), true),
            (Method::GET, &[("sec-fetch-site", "cross-site"), ("origin", APP)], Some(&policy), false),
            (Method::GET, &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], Some(&policy), true),
            // A page of another site has no gateway's origin, whatever stands there.
            (Method::GET, &[("sec-fetch-site", "cross-site"), ("origin", "https://fhir.example.org")], None, true),
        ] {
            let fields = fields(pairs);
            assert_eq!(is_foreign(&method, &fields, FetchSite::of(&fields), own, policy), foreign, "{method} {pairs:?}");
        }
    }
}
