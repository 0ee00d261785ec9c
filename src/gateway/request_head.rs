//! The head that goes to OpenEMR: of the client's fields those that a FHIR server needs, with what the client need not know.
//!
//! Decision: `docs/decisions/10-header-fields.md`.

use std::mem;

use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};
use http::request::Parts;
use http::{Method, StatusCode};
use pingora::http::RequestHeader;

use crate::fhir::media_type::essence;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::http::entity_tag;
use crate::http::field_filter;
use crate::http::fields::members;
use crate::smart::token::AccessToken;

/// The longest line of a field that goes to OpenEMR, in bytes. Apache takes 8,190 with the name.
const LONGEST: usize = 8_000;
/// The fields that the gateway adds: the token, the media type, the names of the request, and who sent it.
const ADDED: usize = 8;
const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json");

/// Rewrites the head of a FHIR request but for its target. Pingora has already dropped the hop-by-hop fields, the fields named by
/// Connection, and an upgrade.
pub(super) fn rewrite(head: &mut Parts, host: &HeaderValue, token: &AccessToken) {
    let fields = mem::take(&mut head.headers);
    head.headers = field_filter::kept(fields, ADDED, |name, _| passes(name.as_str(), &head.method));
    let fields = &mut head.headers;
    if entity_tag::has_own(fields) {
        keep_foreign_tags(fields);
    }
    if accepts_anything(fields) {
        fields.insert(ACCEPT, FHIR_JSON);
    }
    fields.insert(HOST, host.clone());
    fields.insert(AUTHORIZATION, token.authorization().clone());
}

/// Leaves the gateway's own tags out of If-None-Match: what they stand for OpenEMR cannot know.
fn keep_foreign_tags(fields: &mut HeaderMap) {
    match entity_tag::foreign(fields) {
        Some(foreign) => drop(fields.insert(IF_NONE_MATCH, foreign)),
        None => drop(fields.remove(IF_NONE_MATCH)),
    }
}

/// Whether a field of the client's goes on to OpenEMR with this method. `name` is in lower case. What the gateway sets itself is
/// not among them: the token, the request's names, and who sent it.
pub(super) fn passes(name: &str, method: &Method) -> bool {
    match name {
        "accept" | "accept-encoding" | "accept-language" | "prefer" | "user-agent" | "tracestate" | "via"
        // Framing, and the wait for a body.
        | "content-length" | "content-type" | "expect" | "host" | "transfer-encoding" => true,
        "if-none-match" => matches!(*method, Method::GET | Method::HEAD | Method::PUT),
        "if-modified-since" => matches!(*method, Method::GET | Method::HEAD),
        "if-match" | "if-unmodified-since" => matches!(*method, Method::PUT | Method::PATCH | Method::DELETE),
        "if-none-exist" => *method == Method::POST,
        _ => false,
    }
}

/// What is wrong with the fields of a FHIR request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadField {
    /// A field that has one value comes twice: OpenEMR would read both as one, or the last, and the gateway the first.
    #[error("the field {0} comes twice")]
    Twice(&'static str),
    /// Content-Type names several types: PHP reads the first.
    #[error("Content-Type names several types")]
    SeveralTypes,
    /// The body has a coding: PHP would read it undecoded.
    #[error("the body has a content coding")]
    Encoded,
    /// A line of a field that goes to OpenEMR is longer than Apache takes.
    #[error("a field is longer than 8,000 bytes")]
    TooLong,
}

impl From<BadField> for Rejection {
    fn from(bad: BadField) -> Self {
        match bad {
            BadField::Twice(name) => {
                Self::invalid(Reason::Malformed, format!("The request has the field {name} more than once."))
            }
            BadField::SeveralTypes => Self::invalid(Reason::Malformed, "The request's Content-Type names more than one type."),
            BadField::Encoded => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                IssueCode::NotSupported,
                Reason::MediaType,
                "The gateway takes no compressed bodies: send it without Content-Encoding.",
            ),
            BadField::TooLong => Self::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                IssueCode::TooLong,
                Reason::HeadTooLarge,
                "The request has a header field that is longer than OpenEMR takes.",
            ),
        }
    }
}

/// Checks that the gateway and OpenEMR read the fields of a request alike.
///
/// # Errors
/// The first that they would not.
pub(super) fn check(head: &RequestHeader) -> Result<(), BadField> {
    for (name, shown) in [
        (CONTENT_TYPE, "Content-Type"),
        (EXPECT, "Expect"),
        (IF_MODIFIED_SINCE, "If-Modified-Since"),
        (IF_UNMODIFIED_SINCE, "If-Unmodified-Since"),
        (IF_NONE_EXIST, "If-None-Exist"),
    ] {
        if head.headers.get_all(name).iter().nth(1).is_some() {
            return Err(BadField::Twice(shown));
        }
    }
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| essence(value.as_bytes())).unwrap_or_default();
    if content_type.iter().any(|byte| matches!(byte, b',' | b' ' | b'\t')) {
        return Err(BadField::SeveralTypes);
    }
    let is_coding = |coding: &[u8]| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
    if head.headers.get_all(CONTENT_ENCODING).iter().flat_map(members).any(is_coding) {
        return Err(BadField::Encoded);
    }
    let is_too_long = |(name, value): (&HeaderName, &HeaderValue)| value.len() > LONGEST && passes(name.as_str(), &head.method);
    if head.headers.iter().any(is_too_long) { Err(BadField::TooLong) } else { Ok(()) }
}

fn accepts_anything(fields: &HeaderMap) -> bool {
    let mut accepted = fields.get_all(ACCEPT).iter();
    match (accepted.next(), accepted.next()) {
        (None, _) => true,
        (Some(one), None) => one.as_bytes().trim_ascii() == b"*/*",
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::smart::token_response::Grant;
    use std::time::{Duration, Instant};
    use zeroize::Zeroizing;

    fn head(method: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut head = RequestHeader::build(method, b"/fhir/Patient?x=%41", None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn rewritten(method: &str, fields: &[(&'static str, &str)]) -> Parts {
        let grant = Grant { access_token: Zeroizing::new("tok".into()), expires_in: Duration::from_secs(300), scope: "s".into() };
        let token = AccessToken::new(grant, 1, Instant::now()).unwrap();
        let mut parts = Parts::from(head(method, fields));
        rewrite(&mut parts, &HeaderValue::from_static("emr:8443"), &token);
        parts
    }

    #[test]
    fn the_caller_cannot_speak_for_the_gateway() {
        let head = rewritten(
            "GET",
            &[
                ("Authorization", "Bearer mine"),
                ("Authorization", "Basic bWU="),
                ("Host", "gateway"),
                ("Cookie", "apiOpenEMR=1"),
                ("Origin", "https://evil.example"),
                ("APICSRFTOKEN", "x"),
                ("X-Forwarded-For", "1.2.3.4"),
                ("X-Forwarded-Host", "evil.example"),
                ("Forwarded", "host=evil.example"),
                ("Proxy-Authorization", "x"),
                ("X-API-Key", "oegw_0123456789abcdef_x"),
                ("Proxy", "http://evil.example"),
                ("X-HTTP-Method-Override", "PUT"),
                ("Content_Type", "text/plain"),
                ("X-Whatever", "1"),
                ("If-None-Match", "\"1\""),
            ],
        );
        let names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(head.headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer tok"]);
        assert_eq!(head.headers.get("host").unwrap(), "emr:8443");
        assert_eq!(head.headers.get("if-none-match").unwrap(), "\"1\"");
    }

    #[test]
    fn conditions_pass_where_http_and_fhir_define_them() {
        let names =
            ["If-Match", "If-Modified-Since", "If-None-Exist", "If-None-Match", "If-Unmodified-Since", "If-Range", "Range"];
        for (method, expected) in [
            ("GET", &["if-modified-since", "if-none-match"][..]),
            ("HEAD", &["if-modified-since", "if-none-match"]),
            ("POST", &["if-none-exist"]),
            ("PUT", &["if-match", "if-none-match", "if-unmodified-since"]),
            ("PATCH", &["if-match", "if-unmodified-since"]),
            ("DELETE", &["if-match", "if-unmodified-since"]),
            ("OPTIONS", &[]),
        ] {
            let head = rewritten(method, &names.map(|name| (name, "x")));
            let mut passed: Vec<&str> = head.headers.keys().map(HeaderName::as_str).filter(|name| name.contains('-')).collect();
            passed.sort_unstable();
            assert_eq!(passed, expected, "{method}");
        }
    }

    #[test]
    fn what_openemr_would_read_otherwise_is_refused() {
        let (long, most) = ("x".repeat(LONGEST + 1), "x".repeat(LONGEST));
        let json = ("Content-Type", "application/fhir+json; charset=utf-8");
        for (fields, expected) in [
            (&[json][..], Ok(())),
            (&[("Content-Encoding", "identity"), json], Ok(())),
            (&[("Accept", "a/b"), ("Accept", "c/d"), ("User-Agent", "a"), ("User-Agent", "b")], Ok(())),
            (&[("Cookie", &long), ("Accept", &most)], Ok(())),
            (&[json, json], Err(BadField::Twice("Content-Type"))),
            (&[("If-None-Exist", "a=b"), ("If-None-Exist", "c=d")], Err(BadField::Twice("If-None-Exist"))),
            (&[("Content-Type", "application/x-www-form-urlencoded, application/json")], Err(BadField::SeveralTypes)),
            (&[("Content-Type", "application/x-www-form-urlencoded application/json")], Err(BadField::SeveralTypes)),
            (&[("Content-Encoding", "gzip")], Err(BadField::Encoded)),
            (&[("Content-Encoding", "identity"), ("Content-Encoding", "br")], Err(BadField::Encoded)),
            (&[("Content-Encoding", "identity, GZIP")], Err(BadField::Encoded)),
            (&[("Accept", &long)], Err(BadField::TooLong)),
        ] {
            assert_eq!(check(&head("POST", fields)), expected, "{fields:?}");
        }
    }

    #[test]
    fn accept_is_set_only_where_the_caller_does_not_care() {
        for (sent, expected) in [
            (vec![], "application/fhir+json"),
            (vec![("Accept", "*/*")], "application/fhir+json"),
            (vec![("Accept", "application/json")], "application/json"),
            (vec![("Accept", "text/html, */*")], "text/html, */*"),
        ] {
            assert_eq!(rewritten("GET", &sent).headers.get("accept").unwrap(), expected);
        }
    }
}
