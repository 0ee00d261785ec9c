//! Heads without the spelling of their names. Pingora keeps that in a second map, which is filled, searched and copied along with
//! the fields; HTTP gives it no meaning (RFC 9110 section 5.1).
//!
//! Decision: `docs/decisions/60-hot-path.md`.

use std::mem;

use http::{Request, Response, request, response};
use pingora::http::{RequestHeader, ResponseHeader};

/// Changes the fields of a request head at once, and forgets how their names were spelled. The target becomes that of the URI,
/// which is another one where it was not a path.
pub(crate) fn edit_request(head: &mut RequestHeader, edit: impl FnOnce(&mut request::Parts)) {
    let empty = RequestHeader::from(Request::new(()).into_parts().0);
    let mut parts = request::Parts::from(mem::replace(head, empty));
    edit(&mut parts);
    *head = parts.into();
}

/// Changes the fields of an answer's head at once, and forgets how their names were spelled.
pub(crate) fn edit_response(head: &mut ResponseHeader, edit: impl FnOnce(&mut response::Parts)) {
    let phrase = head.get_reason_phrase().filter(|phrase| Some(*phrase) != head.status.canonical_reason()).map(str::to_owned);
    let empty = ResponseHeader::from(Response::new(()).into_parts().0);
    let mut parts = response::Parts::from(mem::replace(head, empty));
    edit(&mut parts);
    *head = parts.into();
    if let Some(phrase) = phrase {
        head.set_reason_phrase(Some(&phrase)).expect("a phrase that was read can be written");
    }
}

/// Forgets how the names of a request's fields are spelled, as long as its target stays as it is.
pub(crate) fn forget_spelling(head: &mut RequestHeader) {
    if head.raw_path().starts_with(b"/") && head.raw_path_is_utf8() {
        edit_request(head, |_| ());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::{HeaderValue, StatusCode, Version};

    #[test]
    fn nothing_but_the_spelling_is_forgotten() {
        let mut request = RequestHeader::build("POST", b"/fhir/Patient?x=%41", None).unwrap();
        request.append_header("X-ONE", "1").unwrap();
        request.append_header("x-one", "2").unwrap();
        request.set_version(Version::HTTP_10);
        forget_spelling(&mut request);
        assert!(!request.has_case() && request.send_end_stream().is_none());
        assert_eq!(
            (request.method.as_str(), request.raw_path(), request.version),
            ("POST", &b"/fhir/Patient?x=%41"[..], Version::HTTP_10)
        );
        assert_eq!(request.headers.get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);

        for target in [&b"http://gateway/fhir/Patient"[..], b"/\xff", b"*"] {
            let mut request = RequestHeader::build("GET", target, None).unwrap();
            forget_spelling(&mut request);
            assert_eq!(request.raw_path(), target);
        }
    }

    #[test]
    fn an_answer_keeps_its_status_and_phrase() {
        for phrase in [None, Some("OK"), Some("Fine")] {
            let mut head = ResponseHeader::build(200, None).unwrap();
            head.set_reason_phrase(phrase).unwrap();
            head.append_header("ETag", "\"a\"").unwrap();
            edit_response(&mut head, |parts| drop(parts.headers.insert("vary", HeaderValue::from_static("Accept"))));
            assert_eq!((head.status, head.headers.len(), head.has_case()), (StatusCode::OK, 2, false));
            assert_eq!(head.get_reason_phrase(), phrase.or(Some("OK")));
        }
    }
}
