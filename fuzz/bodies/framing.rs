//! The framing of HTTP/1: however the bytes come, each request ends at the same place, and there for other readers, too.
//!
//! Input: a byte that chooses the pieces, the bytes of a connection.

use openemr_gateway::fuzzing::{self, Framed};

/// The most fields that are read.
const FIELDS: usize = 64;

pub fn check(input: &[u8]) {
    let ([cut], bytes) = super::choices(input);
    let (requests, refused) = fuzzing::framing(&[bytes]);
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(cut % 16) + 1).collect();
    assert_eq!(fuzzing::framing(&pieces), (requests.clone(), refused), "another split, other requests");
    let mut at = 0;
    for request in requests {
        assert_eq!(request.begin, at, "something between two requests");
        check_request(bytes, request);
        at = request.end.unwrap_or(bytes.len());
    }
}

/// Compares with httparse, which Pingora reads heads with.
fn check_request(bytes: &[u8], request: Framed) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    // What httparse refuses gets no further.
    let Ok(status) = parsed.parse(&bytes[request.begin..request.body]) else { return };
    assert_eq!(status, httparse::Status::Complete(request.body - request.begin), "the head ends elsewhere");
    let values = |name: &str| -> Vec<&[u8]> {
        let named = parsed.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "two ways to find the end");
    assert!(values("host").len() <= 1, "two hosts");
    let end = match (lengths.first(), codings.first()) {
        (Some(length), _) => {
            assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit), "no length");
            let length: u64 = std::str::from_utf8(length).expect("digits").parse().expect("a length below 2^63");
            usize::try_from(length).ok().and_then(|length| request.body.checked_add(length)).filter(|end| *end <= bytes.len())
        }
        (None, Some(coding)) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && parsed.version == Some(1), "another coding");
            end_of_chunks(bytes, request.body)
        }
        (None, None) => Some(request.body),
    };
    assert!(request.end.is_none() || request.end == end, "the body ends at {:?}, not at {end:?}", request.end);
}

/// A lenient reader of chunks; `None` where there are none, or not all.
fn end_of_chunks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(bytes.get(at..)?) else { return None };
        at = at.checked_add(line)?.checked_add(usize::try_from(size).ok()?)?;
        at = bytes.get(at..)?.starts_with(b"\r\n").then_some(at + 2)?;
        if size == 0 {
            return Some(at);
        }
    }
}
