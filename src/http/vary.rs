//! The `Vary` field of an answer (RFC 9110 section 12.5.5).

use http::header::{HeaderMap, HeaderValue, VARY};

/// Adds a request field to `Vary`, unless it or `*` is there already.
pub(crate) fn add_vary(fields: &mut HeaderMap, name: &'static str) {
    let covers = |line: &HeaderValue| {
        line.as_bytes().split(|byte| *byte == b',').any(|one| {
            let one = one.trim_ascii();
            one == b"*" || one.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    if !fields.get_all(VARY).iter().any(covers) {
        fields.append(VARY, HeaderValue::from_static(name));
    }
}
