//! Header fields of a message: its sizes and the members of lists.

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use pingora::http::ResponseHeader;

use crate::http::set_field::SetField;

/// The length of a body in bytes, as its head declares it; `None` where the head does not, or not legibly.
#[must_use]
pub(crate) fn content_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// Declares that the length of the body is not known beforehand: Content-Length becomes chunked coding.
pub(crate) fn forget_length(head: &mut ResponseHeader) {
    if head.remove_header(&CONTENT_LENGTH).is_some() {
        head.set(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Declares the length of a body that is sent whole.
pub(crate) fn set_length(head: &mut ResponseHeader, length: usize) {
    head.remove_header(&TRANSFER_ENCODING);
    head.set(CONTENT_LENGTH, HeaderValue::from(length));
}

/// The `Retry-After` of a 503 of which nothing better is known, in seconds.
const USUAL_WAIT: u16 = 5;

/// Sees to it that a 503 says when the client may come back (RFC 9110 section 15.6.4). A value that is neither seconds nor a date
/// is replaced.
pub(crate) fn complete_retry_after(head: &mut ResponseHeader) {
    if head.status != StatusCode::SERVICE_UNAVAILABLE {
        return;
    }
    let is_legible = |value: &HeaderValue| {
        let text = value.to_str().unwrap_or_default().trim();
        text.parse::<u32>().is_ok() || httpdate::parse_http_date(text).is_ok()
    };
    let mut lines = head.headers.get_all(RETRY_AFTER).iter();
    if !lines.next().is_some_and(is_legible) || lines.next().is_some() {
        head.set(RETRY_AFTER, HeaderValue::from(USUAL_WAIT));
    }
}

/// The size of all fields in bytes, as HTTP/1.1 writes them: with colon, blank and line end.
#[must_use]
pub(crate) fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// The members of a comma-separated list (RFC 9110 section 5.6.1), without the blanks around them.
pub(crate) fn members(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_503_always_says_when_to_come_back() {
        let date = "Tue, 24 Nov 2026 02:28:26 GMT";
        for (status, lines, expected) in [
            (503, &[][..], Some("5")),
            (503, &["30"], Some("30")),
            (503, &[date], Some(date)),
            (503, &["soon"], Some("5")),
            (503, &["-1"], Some("5")),
            (503, &["30", "60"], Some("5")),
            (502, &[], None),
            (429, &["7"], Some("7")),
        ] {
            let mut head = ResponseHeader::build(status, None).unwrap();
            for line in lines {
                head.append_header(RETRY_AFTER, *line).unwrap();
            }
            complete_retry_after(&mut head);
            let all: Vec<_> = head.headers.get_all(RETRY_AFTER).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(all, Vec::from_iter(expected), "{status} {lines:?}");
        }
    }

    #[test]
    fn a_length_is_read_where_it_is_a_number() {
        for (line, length) in [("0", Some(0)), (" 17 ", Some(17)), ("x", None), ("-1", None), ("", None)] {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_LENGTH, HeaderValue::from_str(line).unwrap());
            assert_eq!(content_length(&fields), length, "{line:?}");
        }
        assert_eq!(content_length(&HeaderMap::new()), None);
    }
}
