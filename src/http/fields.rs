//! Header fields of a message: its sizes, the members of lists, and `Vary`.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING, VARY};
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

/// Declares in `Vary` that an answer depends on a field of its request, unless it is declared already.
pub(crate) fn add_vary(head: &mut ResponseHeader, name: &'static str) {
    let has_it = |line: &HeaderValue| members(line).any(|member| member == b"*" || member.eq_ignore_ascii_case(name.as_bytes()));
    if !head.headers.get_all(VARY).iter().any(has_it) {
        head.add(VARY, HeaderValue::from_static(name));
    }
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
    fn vary_names_each_field_once() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header(VARY, "Origin").unwrap();
        add_vary(&mut head, "Accept-Encoding");
        add_vary(&mut head, "Accept-Encoding");
        assert_eq!(head.headers.get_all("vary").iter().collect::<Vec<_>>(), ["Origin", "Accept-Encoding"]);
        let mut any = ResponseHeader::build(200, None).unwrap();
        any.insert_header(VARY, "*").unwrap();
        add_vary(&mut any, "Accept-Encoding");
        assert_eq!(any.headers.get_all("vary").iter().count(), 1);
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
