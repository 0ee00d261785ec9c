//! Quoted strings in header fields (RFC 9110 section 5.6.4).

/// Returns a value without its quotes, if it has any.
#[must_use]
pub(crate) fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// Splits a text at separators outside quoted strings.
pub(crate) fn outside_quotes(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |byte| {
        let is_escaped = std::mem::take(&mut escaped);
        match byte {
            b'\\' if quoted && !is_escaped => escaped = true,
            b'"' if !is_escaped => quoted = !quoted,
            byte => return *byte == separator && !quoted,
        }
        false
    })
}
