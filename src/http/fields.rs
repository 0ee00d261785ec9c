//! Header fields of a message: its sizes and the members of lists.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
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
    fn a_length_is_read_where_it_is_a_number() {
        for (line, length) in [("0", Some(0)), (" 17 ", Some(17)), ("x", None), ("-1", None), ("", None)] {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_LENGTH, HeaderValue::from_str(line).unwrap());
            assert_eq!(content_length(&fields), length, "{line:?}");
        }
        assert_eq!(content_length(&HeaderMap::new()), None);
    }
}
