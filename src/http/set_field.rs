//! Field setters that cannot fail, for names and values that are known to be valid.

use std::borrow::Borrow;

use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

/// Why a setter cannot fail: Pingora checks names and values, which are valid here by their types, and the size of the
/// map (32,768 fields), which no head comes near because heads with more than 256 fields are not read.
const VALID: &str = "a HeaderName and a HeaderValue are valid, and no head has 32,768 fields";

/// Sets fields of a request or response head, in place of Pingora's setters that return a `Result`.
///
/// A value that is made at run time says so by its own constructor: `HeaderValue::from(length)` for numbers,
/// `HeaderValue::from_static` for literals, `HeaderValue::from_str` where the text may be unfit.
pub(crate) trait SetField {
    /// Sets a field; replaces the lines of that name.
    fn set(&mut self, name: impl Borrow<HeaderName>, value: HeaderValue);

    /// Adds a field line behind those of the same name.
    fn add(&mut self, name: impl Borrow<HeaderName>, value: HeaderValue);
}

impl SetField for RequestHeader {
    fn set(&mut self, name: impl Borrow<HeaderName>, value: HeaderValue) {
        self.insert_header(name.borrow(), value).expect(VALID);
    }

    fn add(&mut self, name: impl Borrow<HeaderName>, value: HeaderValue) {
        self.append_header(name.borrow(), value).expect(VALID);
    }
}

impl SetField for ResponseHeader {
    fn set(&mut self, name: impl Borrow<HeaderName>, value: HeaderValue) {
        self.insert_header(name.borrow(), value).expect(VALID);
    }

    fn add(&mut self, name: impl Borrow<HeaderName>, value: HeaderValue) {
        self.append_header(name.borrow(), value).expect(VALID);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::header::{CONTENT_LENGTH, VARY};

    #[test]
    fn a_field_is_replaced_or_joined_by_another_line() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.set(CONTENT_LENGTH, HeaderValue::from(7_usize));
        head.set(&CONTENT_LENGTH, HeaderValue::from(8_usize));
        head.add(VARY, HeaderValue::from_static("Accept"));
        head.add(VARY, HeaderValue::from_static("Origin"));
        let values = |name| head.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        assert_eq!(values(CONTENT_LENGTH), [b"8"]);
        assert_eq!(values(VARY), [b"Accept", b"Origin"]);
    }

    #[test]
    fn the_largest_head_that_is_read_has_room_for_more() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for number in 0..1_000 {
            head.add(HeaderName::try_from(format!("x-{number}")).unwrap(), HeaderValue::from(number));
        }
        assert_eq!(head.headers.len(), 1_000);
    }
}
