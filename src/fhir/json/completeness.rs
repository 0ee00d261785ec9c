//! Whether a JSON document is complete, which tells a truncated body from a whole one where HTTP cannot.
//!
//! The end of an HTTP/1.0 answer without Content-Length is the end of its connection (RFC 9112 section 6.3, rule 8), and on
//! plain TCP a server that crashes looks like one that has finished. In the document itself the outermost bracket shows
//! which it was.
//!
//! Decision: `docs/decisions/08-end-of-body.md`.

use memchr::memchr2;

/// Follows the brackets and strings of a JSON document chunk by chunk, in constant memory.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Completeness {
    depth: u32,
    in_string: bool,
    escaped: bool,
    seen_value: bool,
}

impl Completeness {
    /// Takes the next chunk.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some((&byte, tail)) = rest.split_first() {
            if self.escaped {
                self.escaped = false;
                rest = tail;
            } else if self.in_string {
                // Most of a document is text, so this skips to where a string can end or an escape begins.
                let Some(at) = memchr2(b'"', b'\\', rest) else { return };
                self.in_string = rest.get(at) == Some(&b'\\');
                self.escaped = self.in_string;
                rest = rest.get(at + 1..).unwrap_or_default();
            } else {
                self.outside_a_string(byte);
                rest = tail;
            }
        }
    }

    fn outside_a_string(&mut self, byte: u8) {
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.seen_value |= !byte.is_ascii_whitespace();
    }

    /// Whether the document has begun and everything that was opened has been closed.
    #[must_use]
    pub(crate) fn is_complete(&self) -> bool {
        self.seen_value && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn complete(document: &str) -> bool {
        let mut end = Completeness::default();
        end.feed(document.as_bytes());
        end.is_complete()
    }

    #[test]
    fn tells_whole_from_cut() {
        for whole in ["{}", "[]", " {\"a\":\"}\"}\n", r#"{"a":"\\"}"#, r#"{"a":"\"{["}"#, "null"] {
            assert!(complete(whole), "{whole}");
        }
        for cut in ["", "  ", "{", "{\"a\":1", "[{}", "{\"a\":\"}", r#"{"a":"\"}"#, r#"{"a":"\"#] {
            assert!(!complete(cut), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn every_cut_of_an_object_is_seen_however_it_is_chunked(
            text in prop::collection::vec("[a\"\\\\{}\\[\\]é ]{0,12}", 0..6), cut in any::<prop::sample::Index>(), split in any::<prop::sample::Index>()
        ) {
            let document = serde_json::json!({ "entry": text }).to_string();
            let bytes = document.as_bytes();
            let cut = cut.index(bytes.len());
            let (head, _) = bytes.split_at(cut);
            let mut end = Completeness::default();
            if !head.is_empty() {
                let (first, second) = head.split_at(split.index(head.len()));
                end.feed(first);
                end.feed(second);
            }
            prop_assert!(!end.is_complete());
            prop_assert!(complete(&document));
        }
    }
}
