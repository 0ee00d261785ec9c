//! `_pretty`: indents a JSON document by two spaces a level, in one pass and in constant memory.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use crate::fhir::body_step::BodyStep;

/// The depth beyond which lines are indented no further, so that a malicious document does not grow without bound.
const MAX_DEPTH: usize = 32;

static LINE: [u8; 1 + 2 * MAX_DEPTH] = {
    let mut line = [b' '; 1 + 2 * MAX_DEPTH];
    line[0] = b'\n';
    line
};

/// Indents a document. Only the white space between its tokens changes.
#[derive(Debug, Default)]
pub struct Pretty {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Whether nothing has come since the last opening bracket.
    just_opened: bool,
}

impl BodyStep for Pretty {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        let mut out = BytesMut::with_capacity(piece.len() + piece.len() / 2 + 64);
        let mut rest = piece.as_ref();
        while let Some((&byte, behind)) = rest.split_first() {
            if self.in_string {
                let length = self.string(rest);
                let (text, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                out.extend_from_slice(text);
                rest = behind;
                continue;
            }
            rest = behind;
            if byte.is_ascii_whitespace() {
                continue;
            }
            let closes = matches!(byte, b'}' | b']');
            if closes {
                self.depth = self.depth.saturating_sub(1);
            }
            // An empty object or array stays on its line.
            if std::mem::take(&mut self.just_opened) != closes {
                self.break_line(&mut out);
            }
            out.extend_from_slice(&[byte]);
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => {
                    self.depth = self.depth.saturating_add(1);
                    self.just_opened = true;
                }
                b',' => self.break_line(&mut out),
                b':' => out.extend_from_slice(b" "),
                _ => {}
            }
        }
        out.freeze()
    }

    fn finish(&mut self) -> Bytes {
        Bytes::from_static(b"\n")
    }
}

impl Pretty {
    fn break_line(&self, out: &mut BytesMut) {
        out.extend_from_slice(LINE.get(..1 + 2 * self.depth.min(MAX_DEPTH)).unwrap_or(&LINE));
    }

    /// Returns how much of `rest` belongs to the string.
    fn string(&mut self, rest: &[u8]) -> usize {
        if std::mem::take(&mut self.escaped) {
            return 1;
        }
        let Some(found) = memchr2(b'"', b'\\', rest) else { return rest.len() };
        self.escaped = rest.get(found) == Some(&b'\\');
        self.in_string = self.escaped;
        found + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn pretty(pieces: &[&[u8]]) -> String {
        let mut step = Pretty::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&step.feed(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&step.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn looks_as_people_write_it() {
        let output = pretty(&[br#"{"a" :[ ] ,"b":[1,{"c\"{":"[,: \u0022"}],"d":{}}"#]);
        let expected =
            "{\n  \"a\": [],\n  \"b\": [\n    1,\n    {\n      \"c\\\"{\": \"[,: \\u0022\"\n    }\n  ],\n  \"d\": {}\n}\n";
        assert_eq!(output, expected);
    }

    #[test]
    fn what_is_no_json_comes_to_no_harm() {
        for text in ["]]]}}", "\"", "{\"a", "a b", "", "[[[[[,,,"] {
            let output = pretty(&[text.as_bytes()]);
            let dense = |text: &str| text.replace([' ', '\n'], "");
            assert_eq!(dense(&output), dense(text));
        }
        assert!(pretty(&["[".repeat(3000).as_bytes()]).len() < 3000 * (MAX_DEPTH * 2 + 3));
    }

    proptest! {
        #[test]
        fn says_the_same_as_serde_however_it_is_split(
            text in prop::collection::vec("[a\"\\\\{}\\[\\]:, é]{0,8}", 0..5), cut in any::<prop::sample::Index>()
        ) {
            let value = json!({"text": text, "empty": {"of": [], "n": [1.5, null, true]}, "deep": [[[text.len()]]]});
            let dense = value.to_string();
            let (first, second) = dense.as_bytes().split_at(cut.index(dense.len()));
            let output = pretty(&[first, second]);
            prop_assert_eq!(output.trim_end(), serde_json::to_string_pretty(&value).unwrap());
            prop_assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), value);
        }
    }
}
