//! The text of a file: UTF-8, with a byte-order mark or without.

use std::str::Utf8Error;

use crate::keys::without_byte_order_mark;

/// Why a file is no text. The text completes a sentence that begins with the file's name.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotText {
    /// It begins with the byte-order mark of UTF-16.
    #[error("is UTF-16 text, not UTF-8")]
    Utf16,
    /// It is not UTF-8.
    #[error("is not UTF-8 text")]
    NotUtf8(#[source] Utf8Error),
}

/// Returns the text of a file without its byte-order mark.
///
/// # Errors
/// A [`NotText`].
pub(super) fn of(bytes: &[u8]) -> Result<&str, NotText> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(NotText::Utf16);
    }
    std::str::from_utf8(without_byte_order_mark(bytes)).map_err(NotText::NotUtf8)
}
