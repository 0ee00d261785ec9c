//! The byte-order mark that some editors and web servers put before UTF-8 text.

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The text without a leading byte-order mark. RFC 8259 section 8.1 allows a reader of JSON to ignore one.
#[must_use]
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}
