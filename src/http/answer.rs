//! An answer that the gateway writes itself, as a value.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora::http::ResponseHeader;
use serde::Serialize;

use crate::http::fields::{complete_retry_after, set_length};
use crate::http::set_field::SetField;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A whole answer: status, fields and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    status: StatusCode,
    content_type: HeaderValue,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

#[derive(Serialize)]
struct PlainError<'a> {
    error: &'a str,
    message: &'a str,
}

impl Answer {
    /// An answer with a body of this media type.
    #[must_use]
    pub(crate) fn new(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        Self { status, content_type: HeaderValue::from_static(content_type), fields: Vec::new(), body }
    }

    /// The answer with this head, whose length is that of the body.
    #[must_use]
    pub(crate) fn of(head: ResponseHeader, body: Bytes) -> Self {
        let content_type = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(JSON);
        let names = head.headers.keys().filter(|name| !matches!(**name, CONTENT_TYPE | CONTENT_LENGTH | TRANSFER_ENCODING));
        let fields = names.filter_map(|name| Some((name.clone(), one_line(&head.headers, name)?))).collect();
        Self { status: head.status, content_type, fields, body }
    }

    /// An answer that has no body by its status (204, 304).
    #[must_use]
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self::new(status, "", Bytes::new())
    }

    /// JSON that no cache may keep.
    #[must_use]
    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status, content_type: JSON, fields: vec![(CACHE_CONTROL, NO_STORE)], body: Bytes::from(body) }
    }

    /// An error in plain JSON, as the local routes give it.
    #[must_use]
    pub(crate) fn error(status: StatusCode, error: &str, message: &str) -> Self {
        Self::json(status, &PlainError { error, message })
    }

    /// 405: the path is known, the method is not.
    #[must_use]
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        Self::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "This path takes other methods; see Allow.")
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// The same answer with one more field.
    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

    /// The status.
    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body, and its media type.
    #[must_use]
    pub(crate) fn body(&self) -> (&Bytes, &HeaderValue) {
        (&self.body, &self.content_type)
    }

    /// The head and the body to send; no body where the status allows none.
    #[must_use]
    pub(crate) fn into_parts(self) -> (Box<ResponseHeader>, Option<Bytes>) {
        let mut head = ResponseHeader::build(self.status, Some(self.fields.len() + 4)).expect("a StatusCode is a status");
        let has_body = !matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if has_body {
            head.set(CONTENT_TYPE, self.content_type);
            set_length(&mut head, self.body.len());
        }
        for (name, value) in self.fields {
            head.set(name, value);
        }
        complete_retry_after(&mut head);
        (Box::new(head), has_body.then_some(self.body))
    }
}

/// The lines of a field as one (RFC 9110 section 5.3): an answer has each field once.
fn one_line(fields: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut lines = fields.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(one), None) => Some(one.clone()),
        _ => {
            let all: Vec<&[u8]> = fields.get_all(name).iter().map(HeaderValue::as_bytes).collect();
            HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::header::VIA;

    #[test]
    fn no_line_of_a_field_is_lost() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [("Via", "1.1 apache"), ("Via", "1.1 openemr-gateway"), ("Date", "x"), ("Content-Length", "9")] {
            head.append_header(name, value).unwrap();
        }
        let (head, body) = Answer::of(head, Bytes::from_static(b"{}")).into_parts();
        assert_eq!(head.headers.get_all(VIA).iter().collect::<Vec<_>>(), ["1.1 apache, 1.1 openemr-gateway"]);
        assert_eq!((head.headers.get(CONTENT_LENGTH).unwrap(), body.unwrap().len()), (&HeaderValue::from_static("2"), 2));
    }
}
