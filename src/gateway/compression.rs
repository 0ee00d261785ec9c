//! Compression of answers for clients that accept it: OpenEMR sends FHIR JSON as it is, which shrinks to a tenth.
//!
//! Decision: `docs/decisions/14-compression.md`.

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue};
use http::{Method, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::Compression;
use crate::fhir::body_step::BodyStep;
use crate::fhir::media_type::essence;
use crate::http::coding::Coding;
use crate::http::compressor::Compressor;
use crate::http::fields::{forget_length, members};
use crate::http::parts::edit_response;
use crate::http::set_field::SetField;
use crate::http::vary::add_vary;

impl BodyStep for Compressor {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        Self::feed(self, piece)
    }

    fn finish(&mut self) -> Bytes {
        Self::finish(self)
    }
}

/// Chooses the compressor for the body behind this head, if it is compressed, and changes the head accordingly. The last
/// filter of all. `length`: of the body as it came.
pub(super) fn choose(
    request: &RequestHeader,
    head: &mut ResponseHeader,
    length: Option<u64>,
    settings: Compression,
) -> Option<Compressor> {
    if !settings.enabled || !may_be_compressed(head, length, settings.least) {
        return None;
    }
    edit_response(head, |head| add_vary(&mut head.headers, "Accept-Encoding"));
    let coding = Coding::accepted(&request.headers)?;
    if request.method == Method::HEAD {
        return None;
    }
    say(head, coding);
    forget_length(head);
    Some(Compressor::new(coding, settings.level))
}

/// Declares the coding of the body. Other bytes need another validator than the text's.
fn say(head: &mut ResponseHeader, coding: Coding) {
    head.set(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    head.remove_header(&ACCEPT_RANGES);
    let strong = head.headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(weak) = strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()) {
        head.set(ETAG, weak);
    }
}

/// Whether the body is text, whole, not yet compressed, and long enough as far as is known. Errors are short.
fn may_be_compressed(head: &ResponseHeader, length: Option<u64>, least: usize) -> bool {
    let forbids = |line: &HeaderValue| members(line).any(|member| member.eq_ignore_ascii_case(b"no-transform"));
    head.status.is_success()
        && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT)
        && length.is_none_or(|length| length >= least as u64)
        && !head.headers.contains_key(CONTENT_ENCODING)
        && !head.headers.contains_key(CONTENT_RANGE)
        && !head.headers.get_all(CACHE_CONTROL).iter().any(forbids)
        && head.headers.get(CONTENT_TYPE).is_some_and(|value| is_text(value.as_bytes()))
}

/// Whether a media type is text.
fn is_text(value: &[u8]) -> bool {
    const TEXTS: [&[u8]; 6] = [b"json", b"xml", b"ndjson", b"x-ndjson", b"javascript", b"rtf"];
    const SUFFIXES: [&[u8]; 3] = [b"json", b"ndjson", b"xml"];
    let media_type = essence(value);
    let Some(slash) = memchr::memchr(b'/', media_type) else { return false };
    let (kind, subtype) = (media_type.get(..slash).unwrap_or_default(), media_type.get(slash + 1..).unwrap_or_default());
    if kind.eq_ignore_ascii_case(b"text") {
        return !subtype.eq_ignore_ascii_case(b"event-stream");
    }
    let suffix = memchr::memrchr(b'+', subtype).and_then(|plus| subtype.get(plus + 1..));
    kind.eq_ignore_ascii_case(b"application")
        && (TEXTS.iter().any(|text| subtype.eq_ignore_ascii_case(text))
            || suffix.is_some_and(|suffix| SUFFIXES.iter().any(|known| suffix.eq_ignore_ascii_case(known))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gateway::response_head::tests::head;
    use crate::http::fields::content_length;

    #[test]
    fn only_texts_that_are_whole_and_long_enough() {
        let json = ("Content-Type", "application/json");
        for (status, fields, may) in [
            (200, &[json][..], true),
            (201, &[json], true),
            (200, &[json, ("Content-Length", "1024")], true),
            (200, &[json, ("Content-Length", "1023")], false),
            (200, &[("Content-Type", "application/fhir+json; charset=utf-8")], true),
            (200, &[("Content-Type", "Application/FHIR+NDJSON")], true),
            (200, &[("Content-Type", "application/fhir+xml")], true),
            (200, &[("Content-Type", "text/html")], true),
            (200, &[("Content-Type", "text/event-stream")], false),
            (200, &[("Content-Type", "application/pdf")], false),
            (200, &[("Content-Type", "application/zip")], false),
            (200, &[("Content-Type", "image/png")], false),
            (200, &[("Content-Type", "app")], false),
            (200, &[], false),
            (200, &[json, ("Content-Encoding", "gzip")], false),
            (200, &[json, ("Cache-Control", "private, No-Transform")], false),
            (200, &[json, ("Cache-Control", "private"), ("Cache-Control", "no-transform")], false),
            (206, &[json, ("Content-Range", "bytes 0-1/2")], false),
            (204, &[json], false),
            (304, &[json], false),
            (404, &[json], false),
        ] {
            let head = head(status, fields);
            assert_eq!(may_be_compressed(&head, content_length(&head.headers), 1024), may, "{status} {fields:?}");
        }
    }

    #[test]
    fn the_head_says_what_became_of_the_body() {
        for (tag, expected) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\"")] {
            let mut head = head(200, &[("ETag", tag), ("Accept-Ranges", "bytes")]);
            say(&mut head, Coding::Brotli);
            assert_eq!(head.headers.get("etag").unwrap(), expected);
            assert_eq!(head.headers.get("content-encoding").unwrap(), "br");
            assert!(!head.headers.contains_key("accept-ranges"));
        }
    }
}
