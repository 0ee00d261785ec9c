//! `GET /`: the status page. It is one document without data of its own: its script gets them from `/events`.
//!
//! Decision: `docs/decisions/50-status-page.md`.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::http::set_field::SetField;
use crate::keys::sha256;

/// Where the other two stand in the document.
const STYLE_HERE: &str = "/* style.css */";
const SCRIPT_HERE: &str = "/* page.js */";
const DOCUMENT: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/page.js");

static PAGE: LazyLock<Page> = LazyLock::new(Page::new);
static OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
static RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// The document, and what it may do.
struct Page {
    document: Bytes,
    policy: HeaderValue,
}

impl Page {
    fn new() -> Self {
        let document = DOCUMENT.replace(STYLE_HERE, STYLE).replace(SCRIPT_HERE, SCRIPT);
        let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(sha256(text.as_bytes())));
        let policy = format!(
            "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'; require-trusted-types-for 'script'",
            hash(STYLE),
            hash(SCRIPT)
        );
        let policy = HeaderValue::try_from(policy).expect("base64 and words are ASCII");
        Self { document: Bytes::from(document), policy }
    }
}

/// Whether a request is one for the page.
#[must_use]
pub(super) fn is_asked_for(head: &RequestHeader) -> bool {
    head.uri.path() == "/" && matches!(head.method, Method::GET | Method::HEAD)
}

/// The page. Everybody may have it.
#[must_use]
pub(super) fn page() -> (Box<ResponseHeader>, Bytes) {
    let mut head = ResponseHeader::build(StatusCode::OK, Some(10)).expect("a StatusCode is a status");
    head.set(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    head.set(CONTENT_LENGTH, HeaderValue::from(PAGE.document.len()));
    head.set(CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    head.set(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.set(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    head.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head.set(&OPENER_POLICY, SAME_ORIGIN);
    head.set(&RESOURCE_POLICY, SAME_ORIGIN);
    (Box::new(head), PAGE.document.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_stand_in_the_document_once_and_end_where_they_should() {
        let document = String::from_utf8_lossy(&PAGE.document);
        for (text, element) in [(STYLE, "style"), (SCRIPT, "script")] {
            assert_eq!(document.matches(&format!("<{element}>{text}</{element}>")).count(), 1, "{element}");
            assert!(!text.contains("</") && !text.contains("<!--"), "{element}");
        }
        assert_eq!(document.matches("<script").count() + document.matches("<style").count(), 2);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_no_text_becomes_markup() {
        let document = String::from_utf8_lossy(&PAGE.document);
        let elsewhere =
            document.match_indices("//").filter(|(at, _)| document.get(..*at).is_some_and(|before| before.ends_with(':')));
        // The name of SVG's namespace is no address.
        assert_eq!(elsewhere.count(), document.matches("http://www.w3.org/2000/svg").count());
        for banned in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "@import",
            "url(",
            " style=",
            "onclick",
        ] {
            assert!(!document.contains(banned), "{banned}");
        }
    }
}
