//! JSON documents that come in pieces: where they end, what they are made of, and how they are indented.

mod block;
pub(crate) mod brackets;
pub(crate) mod completeness;
#[cfg(test)]
pub(crate) mod legal_json;
pub(crate) mod located;
pub(crate) mod member_search;
pub(crate) mod outline;
pub(crate) mod pretty;
pub(crate) mod strings;
pub(crate) mod structure;
pub(crate) mod vector;
pub(crate) mod walk;
pub(crate) mod whole_object;

/// Whether a byte may stand between the tokens of JSON.
pub(crate) fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
