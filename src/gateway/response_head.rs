//! The head of OpenEMR's answer: what is checked in it, and what the client gets of it.
//!
//! Decisions: `docs/decisions/08-end-of-body.md` and `docs/decisions/10-header-fields.md`.

use std::{io, mem};

use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION,
    TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use pingora::http::ResponseHeader;

use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::media_type::essence;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::destination::FhirCall;
use crate::gateway::trace::X_REQUEST_ID;
use crate::http::decoder::UnknownCoding;
use crate::http::field_filter;
use crate::http::fields::{self, members};
use crate::http::parts::edit_response;
use crate::http::set_field::SetField;
use crate::http::token_text::holds_token;
use crate::observe::request_id::RequestId;

const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");

/// The longest value of a field that goes on, in bytes.
const LONGEST: usize = 8_000;
/// The fields that the gateway adds: the request's name, the rates of the caller, what protects an answer in a browser.
const ADDED: usize = 12;
/// Fields of one value. A client could take another line for it than the gateway: the first alone goes on.
const SINGLE: [HeaderName; 6] = [CONTENT_TYPE, CONTENT_DISPOSITION, CONTENT_LOCATION, LOCATION, ETAG, LAST_MODIFIED];

/// Removes the fields of OpenEMR's that are neither HTTP's nor FHIR's own, that hold an access token, or that have no use here.
/// `token`: that the request carried.
pub(super) fn keep_known(head: &mut ResponseHeader, token: &[u8]) {
    keep(head, |name, value| {
        let value = value.as_bytes();
        passes(name.as_str(), value) && value.len() <= LONGEST && !holds_token(value, token)
    });
    for name in &SINGLE {
        let mut lines = head.headers.get_all(name).iter();
        if let (Some(first), Some(_)) = (lines.next(), lines.next()) {
            let first = first.clone();
            head.set(name, first);
        }
    }
}

fn keep(head: &mut ResponseHeader, passes: impl Fn(&HeaderName, &HeaderValue) -> bool) {
    edit_response(head, |head| head.headers = field_filter::kept(mem::take(&mut head.headers), ADDED, passes));
}

/// Whether a field of OpenEMR's goes on. `name` is in lower case.
///
/// Not among them are `Set-Cookie`, `Server`, `Strict-Transport-Security` (it would bind browsers to https for all ports of the
/// gateway's host), `Access-Control-*` (OpenEMR allows any origin), and `Accept-Ranges`: no range is asked for.
fn passes(name: &str, value: &[u8]) -> bool {
    match name {
        "age"
        | "allow"
        | "cache-control"
        | "content-disposition"
        | "content-encoding"
        | "content-language"
        | "content-length"
        | "content-location"
        | "date"
        | "etag"
        | "expires"
        | "last-modified"
        | "link"
        | "location"
        | "pragma"
        | "preference-applied"
        | "retry-after"
        | "transfer-encoding"
        | "vary"
        | "via"
        | "warning"
        | "x-progress" => true,
        // Browsers take the last of several types, the gateway none.
        "content-type" => !essence(value).contains(&b','),
        // Any other scheme would make browsers ask for a password.
        "www-authenticate" => value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer")),
        _ => false,
    }
}

/// Names the request. `version`: of the client.
pub(super) fn rewrite(fields: &mut HeaderMap, version: Version, id: RequestId) {
    // An HTTP/1.0 client knows no chunks (RFC 9112 section 6.1): the body ends with the connection.
    if version == Version::HTTP_10 {
        fields.remove(TRANSFER_ENCODING);
    }
    fields.insert(&X_REQUEST_ID, id.header_value());
}

/// Removes the fields that can tell of a resource which the client may not have.
pub(super) fn keep_untelling(head: &mut ResponseHeader) {
    keep(head, |name, _| {
        matches!(
            name.as_str(),
            "cache-control"
                | "content-encoding"
                | "content-length"
                | "content-type"
                | "date"
                | "retry-after"
                | "transfer-encoding"
                | "via"
        )
    });
}

/// Keeps an answer to one client out of caches that others are served from: a key in a field of its own does not do that, as
/// `Authorization` does (RFC 9111 section 3.5).
pub(super) fn keep_private(fields: &mut HeaderMap) {
    let is_private = |line: &HeaderValue| {
        let is = |member: &[u8]| member.eq_ignore_ascii_case(b"private") || member.eq_ignore_ascii_case(b"no-store");
        members(line).any(is)
    };
    if !fields.get_all(CACHE_CONTROL).iter().any(is_private) {
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Why OpenEMR's answer does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnswer {
    /// The head is larger than `limits.response_head`.
    #[error("the head of the answer is larger than limits.response_head")]
    HeadTooLarge,
    /// A web page came with status 200.
    #[error("OpenEMR answered with a web page")]
    Page,
    /// OpenEMR sent the gateway to another address.
    #[error("OpenEMR answered with a redirect")]
    Redirect,
    /// The body ended before its document did.
    #[error("the body of the answer was cut short")]
    CutShort,
    /// The body is not in its declared coding, or not whole.
    #[error("the body of the answer cannot be decompressed: {0}")]
    NotDecodable(io::ErrorKind),
    /// The body is in a coding that the gateway does not know, and cannot be read.
    #[error("{UnknownCoding}")]
    Coding,
    /// The status is none of HTTP's.
    #[error("the answer has a status that is none of HTTP's")]
    Status,
    /// The end of the body is declared twice, or not legibly.
    #[error("the head of the answer does not say clearly where its body ends")]
    Framing,
    /// A 101: the connection would carry anything from there on.
    #[error("OpenEMR switched to another protocol")]
    OtherProtocol,
    /// A body that must be buffered is longer than the buffer.
    #[error("the body of a refusal is longer than 1 MiB")]
    TooLong,
}

impl From<BadAnswer> for Rejection {
    fn from(bad: BadAnswer) -> Self {
        let (reason, text) = match bad {
            BadAnswer::HeadTooLarge => (Reason::BadAnswer, "The head of OpenEMR's answer is larger than the gateway takes."),
            BadAnswer::Page => (Reason::NotFhir, "OpenEMR answered with a web page where FHIR was due."),
            BadAnswer::Redirect => (Reason::NotFhir, "OpenEMR sent the gateway to another address."),
            BadAnswer::CutShort | BadAnswer::NotDecodable(_) => (Reason::CutShort, "OpenEMR's answer ended too soon."),
            BadAnswer::Coding | BadAnswer::Status | BadAnswer::Framing | BadAnswer::OtherProtocol => {
                (Reason::BadAnswer, "OpenEMR's answer could not be read.")
            }
            BadAnswer::TooLong => (Reason::BadAnswer, "OpenEMR's refusal is too long to be read."),
        };
        Self::bad_gateway(IssueCode::Exception, reason, text).because(bad)
    }
}

/// Checks whether an answer with this head may go on at all. `limit`: of the head, in bytes.
///
/// # Errors
/// It is too large, is none of FHIR's, or leads away from the gateway.
pub(super) fn check(head: &ResponseHeader, limit: usize, fhir: &FhirCall) -> Result<(), BadAnswer> {
    if fields::size(&head.headers) > limit {
        return Err(BadAnswer::HeadTooLarge);
    }
    if !is_framed_once(head) {
        return Err(BadAnswer::Framing);
    }
    if head.status.as_u16() >= 600 && fhir.repairs().errors {
        return Err(BadAnswer::Status);
    }
    if is_page(head, fhir.interaction) {
        return Err(BadAnswer::Page);
    }
    if sends_elsewhere(head) && fhir.repairs().errors {
        return Err(BadAnswer::Redirect);
    }
    Ok(())
}

/// Whether the head declares the end of the body once at most, and legibly (RFC 9112 section 6.3).
fn is_framed_once(head: &ResponseHeader) -> bool {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let is_good = match (lengths.next(), codings.next()) {
        (None, None) => true,
        (Some(length), None) => !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit),
        (None, Some(coding)) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    is_good && lengths.next().is_none() && codings.next().is_none()
}

/// Whether a web page came in place of FHIR: a login page, or an error page of Apache's or PHP's. An HTML document that OpenEMR
/// stores is not meant: it comes from Binary, as an attachment.
fn is_page(head: &ResponseHeader, interaction: Interaction) -> bool {
    let is_document = interaction.resource_type == Some("Binary") && head.headers.contains_key(CONTENT_DISPOSITION);
    head.status == StatusCode::OK && media_type_is(head, b"text/html") && !is_document
}

/// Whether this is a redirect, or a choice of addresses. At the other address the client has no token.
fn sends_elsewhere(head: &ResponseHeader) -> bool {
    head.status.is_redirection() && head.status != StatusCode::NOT_MODIFIED
}

/// Whether this is an error whose body the client does not get: an OperationOutcome stands in its place.
#[must_use]
pub(super) fn is_translated(head: &ResponseHeader, fhir: &FhirCall) -> bool {
    (head.status.is_client_error() || head.status.is_server_error()) && fhir.repairs().errors
}

/// Whether this is the answer to a create, whose body tells where the new resource is.
#[must_use]
pub(super) fn is_of_a_create(head: &ResponseHeader, fhir: &FhirCall) -> bool {
    fhir.interaction.kind == Kind::Create && fhir.repairs().writes && matches!(head.status, StatusCode::CREATED | StatusCode::OK)
}

/// Whether only the body itself tells where it ends: JSON in an answer with neither Content-Length nor chunks.
#[must_use]
pub(super) fn ends_by_itself(head: &ResponseHeader) -> bool {
    let is_delimited = head.version == Version::HTTP_2
        || head.headers.contains_key(CONTENT_LENGTH)
        || (head.version != Version::HTTP_10 && head.headers.contains_key(TRANSFER_ENCODING));
    !is_delimited && !head.headers.contains_key(http::header::CONTENT_ENCODING) && is_json(head)
}

/// Whether the body is JSON, OpenEMR's or FHIR's own.
#[must_use]
pub(super) fn is_json(head: &ResponseHeader) -> bool {
    let known: [&[u8]; 3] = [b"application/json", b"application/fhir+json", b"text/json"];
    known.iter().any(|known| media_type_is(head, known))
}

/// Whether the body is a web page.
#[must_use]
pub(super) fn is_html(head: &ResponseHeader) -> bool {
    media_type_is(head, b"text/html") || media_type_is(head, b"application/xhtml+xml")
}

/// Declares a body to be JSON whose head says nothing of that: where it is something else, it does not go on.
pub(super) fn name_json(head: &mut ResponseHeader) {
    head.set(CONTENT_TYPE, HeaderValue::from_static("application/json"));
}

/// Sets FHIR's media type of JSON where OpenEMR writes `application/json`: for resources, not for documents, nor for what other
/// specifications define (the SMART configuration, the manifest of an export).
pub(super) fn name_fhir_json(head: &mut ResponseHeader, interaction: Interaction) {
    let is_fhir = match interaction.kind {
        Kind::SmartConfiguration | Kind::ExportStatus => false,
        Kind::Other => interaction.resource_type.is_some(),
        _ => true,
    };
    if is_fhir && is_json(head) && !head.headers.contains_key(CONTENT_DISPOSITION) {
        head.set(CONTENT_TYPE, FHIR_JSON);
    }
}

/// Whether the server has versions of resources of this type, as far as is known: its tags say them, and writes can name them.
#[must_use]
pub(super) fn has_versions(fhir: &FhirCall) -> bool {
    let capabilities = fhir.site.capability_cache.known();
    let known = capabilities.as_ref().zip(fhir.interaction.resource_type).and_then(|(all, name)| all.types.get(name));
    known.is_some_and(|known| known.versioned)
}

/// Removes a validator of the body as OpenEMR sent it. The version of a resource stays, whatever is repaired in it.
pub(super) fn forget_validator(head: &mut ResponseHeader, fhir: &FhirCall) {
    let is_version = head.headers.get(ETAG).is_some_and(|tag| tag.as_bytes().starts_with(b"W/")) && has_versions(fhir);
    let is_of_one = matches!(
        fhir.interaction.kind,
        Kind::Read
            | Kind::VersionRead
            | Kind::Create
            | Kind::Update
            | Kind::ConditionalUpdate
            | Kind::Patch
            | Kind::ConditionalPatch
    );
    if !(is_version && is_of_one) {
        head.remove_header(&ETAG);
    }
}

/// Whether no body comes after this head (RFC 9112 section 6.3).
#[must_use]
pub(super) fn has_no_body(method: &Method, head: &ResponseHeader) -> bool {
    *method == Method::HEAD
        || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || head.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() == b"0")
}

fn media_type_is(head: &ResponseHeader, expected: &[u8]) -> bool {
    head.headers.get(CONTENT_TYPE).is_some_and(|value| essence(value.as_bytes()).eq_ignore_ascii_case(expected))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    pub(in crate::gateway) fn head(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    const TOKEN: &str = "opaque-token-of-the-gateway";

    #[test]
    fn what_is_neither_https_nor_fhirs_stays_behind() {
        let kept = [
            ("Content-Type", "application/json"),
            ("Content-Disposition", "attachment; filename=\"a, b\""),
            ("ETag", "W/\"1\""),
            ("Last-Modified", "Tue, 24 Nov 2026 02:28:26 GMT"),
            ("Location", "https://emr.example/Patient/1/_history/1"),
            ("X-Progress", "50 %"),
            ("Retry-After", "1"),
            ("Vary", "Accept"),
            ("WWW-Authenticate", "bearer realm=\"OpenEMR\""),
        ];
        let dropped = [
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Server", "Apache"),
            ("X-Powered-By", "PHP/8"),
            ("Access-Control-Allow-Origin", "*"),
            ("Keep-Alive", "timeout=5"),
            ("Connection", "close"),
            ("Refresh", "0; url=https://evil.example"),
            ("Content-Security-Policy", "default-src *"),
            ("X-Debug-Token-Link", "http://emr.internal/_profiler/1"),
            ("Accept-Ranges", "bytes"),
            ("Content-Range", "bytes 0-1/2"),
            ("X-Request-Id", "openemrs"),
        ];
        let fields: Vec<_> = kept.into_iter().chain(dropped).collect();
        let mut head = head(200, &fields);
        keep_known(&mut head, TOKEN.as_bytes());
        assert_eq!(head.headers.len(), kept.len(), "{:?}", head.headers);
        for (name, value) in kept {
            assert_eq!(head.headers.get(name).unwrap(), value);
        }
        let id = RequestId::next();
        edit_response(&mut head, |head| rewrite(&mut head.headers, Version::HTTP_11, id));
        assert_eq!(head.headers.get("x-request-id").unwrap().to_str().unwrap(), id.to_string());
    }

    #[test]
    fn values_that_mislead_or_hold_a_token_stay_behind() {
        let long = "x".repeat(LONGEST + 1);
        let link = format!("<https://emr.example?token={TOKEN}>; rel=next");
        for (name, value) in [
            ("WWW-Authenticate", "Basic realm=\"OpenEMR\""),
            ("Content-Type", "application/json, text/html"),
            ("Location", &long),
            ("Link", &link),
            ("Warning", TOKEN),
        ] {
            let mut head = head(200, &[(name, value), ("Date", "x")]);
            keep_known(&mut head, TOKEN.as_bytes());
            assert_eq!(head.headers.len(), 1, "{name}: {value}");
        }
        let mut head =
            head(200, &[("Content-Type", "application/pdf"), ("Content-Type", "text/html"), ("Vary", "A"), ("Vary", "B")]);
        keep_known(&mut head, TOKEN.as_bytes());
        assert_eq!(head.headers.get_all("content-type").iter().collect::<Vec<_>>(), ["application/pdf"]);
        assert_eq!(head.headers.get_all("vary").iter().count(), 2);
    }

    #[test]
    fn an_old_caller_gets_no_chunks() {
        for (version, chunked) in [(Version::HTTP_10, false), (Version::HTTP_11, true)] {
            let mut head = head(200, &[("Transfer-Encoding", "chunked")]);
            edit_response(&mut head, |head| rewrite(&mut head.headers, version, RequestId::next()));
            assert_eq!(head.headers.contains_key("transfer-encoding"), chunked);
        }
    }

    #[test]
    fn a_page_is_no_fhir_but_a_stored_document_is() {
        let page = head(200, &[("Content-Type", "Text/HTML; charset=utf-8")]);
        assert!(is_page(&page, Interaction::of(&Method::GET, b"/Patient")));
        assert!(is_page(&page, Interaction::of(&Method::GET, b"/Binary/1")));
        let document = head(200, &[("Content-Type", "text/html"), ("Content-Disposition", "attachment; filename=a.html")]);
        assert!(!is_page(&document, Interaction::of(&Method::GET, b"/Binary/1")));
        assert!(is_page(&document, Interaction::of(&Method::GET, b"/Patient/1")));
        assert!(!is_page(&head(404, &[("Content-Type", "text/html")]), Interaction::of(&Method::GET, b"/Patient")));
        assert!(!is_page(&head(200, &[("Content-Type", "application/json")]), Interaction::of(&Method::GET, b"/Patient")));
    }

    #[test]
    fn only_what_has_not_changed_stays_where_it_was() {
        for status in [300, 301, 302, 303, 305, 306, 307, 308, 399] {
            assert!(sends_elsewhere(&head(status, &[])), "{status}");
        }
        assert!(!sends_elsewhere(&head(304, &[])) && !sends_elsewhere(&head(200, &[])));
    }

    #[test]
    fn fhir_json_gets_its_name_and_nothing_else_does() {
        let fhir = "application/fhir+json; charset=utf-8";
        for (path, content_type, disposition, named) in [
            ("/Patient", "application/json", false, fhir),
            ("/Patient", "application/fhir+json", false, fhir),
            ("/Patient", "text/json", false, fhir),
            ("/Patient/1", "Application/JSON; charset=utf-8", false, fhir),
            ("/metadata", "application/json", false, fhir),
            ("/Binary/1", "application/json", false, fhir),
            ("/Binary/1", "application/json", true, "application/json"),
            ("/Binary/1", "application/fhir+ndjson", true, "application/fhir+ndjson"),
            ("/Binary/1", "application/pdf", false, "application/pdf"),
            ("/.well-known/smart-configuration", "application/json", false, "application/json"),
            ("/$bulkdata-status", "application/json", false, "application/json"),
        ] {
            let mut head = head(200, &[("Content-Type", content_type)]);
            if disposition {
                head.insert_header("Content-Disposition", "attachment").unwrap();
            }
            name_fhir_json(&mut head, Interaction::of(&Method::GET, path.as_bytes()));
            assert_eq!(head.headers.get("content-type").unwrap(), named, "{path} {content_type}");
        }
    }

    #[test]
    fn knows_when_nothing_but_the_document_tells_its_end() {
        assert!(ends_by_itself(&head(200, &[("Content-Type", "application/json")])));
        assert!(!ends_by_itself(&head(200, &[("Content-Type", "application/json"), ("Content-Length", "2")])));
        assert!(!ends_by_itself(&head(200, &[("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")])));
        assert!(!ends_by_itself(&head(200, &[("Content-Type", "application/fhir+ndjson")])));
    }
}
