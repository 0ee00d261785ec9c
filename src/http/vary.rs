//! The `Vary` field of an answer (RFC 9110 section 12.5.5).

use http::header::{HeaderValue, VARY};
use pingora::http::ResponseHeader;

use crate::http::set_field::SetField;

/// Adds a request field to `Vary`, unless it or `*` is there already.
pub(crate) fn add_vary(head: &mut ResponseHeader, name: &'static str) {
    let covers = |line: &HeaderValue| {
        line.as_bytes().split(|byte| *byte == b',').any(|one| {
            let one = one.trim_ascii();
            one == b"*" || one.eq_ignore_ascii_case(name.as_bytes())
        })
    };
    if !head.headers.get_all(VARY).iter().any(covers) {
        head.add(VARY, HeaderValue::from_static(name));
    }
}
