//! A tokenizer for JSON documents that come in pieces, in constant memory. It knows the depth of each token and can skip a
//! whole value.

use memchr::memchr2;

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// White space.
    Space,
    /// `{`
    OpenObject,
    /// `[`
    OpenArray,
    /// `}` or `]`
    Close,
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// The name of a member with its quotes, or the next part of one.
    Name,
    /// A string with its quotes, a number, `true`, `false` or `null`, or the next part of one.
    Value,
}

/// A position in a document.
#[derive(Debug, Clone, Default)]
pub(crate) struct JsonWalk {
    /// One bit for each open level, the innermost in the lowest: whether it is an object. Only the innermost 64 are known.
    objects: u64,
    depth: u32,
    string: StringState,
    string_is_name: bool,
    name_is_due: bool,
    skipped_depth: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum StringState {
    #[default]
    Outside,
    Inside,
    Escaped,
}

impl JsonWalk {
    /// Returns how many objects and arrays are open.
    #[must_use]
    pub(crate) fn depth(&self) -> u32 {
        self.depth
    }

    /// Reads the next token at the front of `rest` and returns its kind and length. `None` only when `rest` is empty.
    pub(crate) fn step(&mut self, rest: &[u8]) -> Option<(Part, usize)> {
        if self.string != StringState::Outside {
            let length = self.go_through_string(rest);
            return (length > 0).then_some((self.part_of_string(), length));
        }
        let (&byte, behind) = rest.split_first()?;
        let part = match byte {
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.objects >>= 1;
                self.name_is_due = false;
                Part::Close
            }
            b':' => Part::Colon,
            b',' => {
                self.name_is_due = self.objects & 1 == 1;
                Part::Comma
            }
            b'"' => {
                self.string = StringState::Inside;
                self.string_is_name = std::mem::take(&mut self.name_is_due);
                let length = 1 + self.go_through_string(behind);
                return Some((self.part_of_string(), length));
            }
            _ if byte.is_ascii_whitespace() => return Some((Part::Space, run(rest, u8::is_ascii_whitespace))),
            _ => return Some((Part::Value, run(rest, is_scalar))),
        };
        Some((part, 1))
    }

    /// Skips one value. `rest` begins after the colon, comma or bracket that precedes it. Returns the number of skipped bytes, and
    /// whether the value ends there, before a `,` or a closing bracket. If it does not, it goes on in the next piece.
    pub(crate) fn skip(&mut self, rest: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some((&byte, behind)) = rest.get(at..).and_then(<[u8]>::split_first) {
            if self.string != StringState::Outside {
                at += self.go_through_string(rest.get(at..).unwrap_or_default());
                continue;
            }
            match byte {
                b'"' => {
                    self.string = StringState::Inside;
                    at += 1 + self.go_through_string(behind);
                    continue;
                }
                b'{' | b'[' => self.skipped_depth = self.skipped_depth.saturating_add(1),
                b'}' | b']' | b',' if self.skipped_depth == 0 => return (at, true),
                b'}' | b']' => self.skipped_depth -= 1,
                _ => {}
            }
            at += 1;
        }
        (at, false)
    }

    fn open(&mut self, is_object: bool) -> Part {
        self.depth = self.depth.saturating_add(1);
        self.objects = self.objects << 1 | u64::from(is_object);
        self.name_is_due = is_object;
        if is_object { Part::OpenObject } else { Part::OpenArray }
    }

    fn part_of_string(&self) -> Part {
        if self.string_is_name { Part::Name } else { Part::Value }
    }

    /// Returns the length of the rest of a string with its closing quote, or of the piece if the string goes on.
    fn go_through_string(&mut self, rest: &[u8]) -> usize {
        let mut at = 0;
        loop {
            if self.string == StringState::Escaped {
                if rest.len() <= at {
                    return rest.len();
                }
                self.string = StringState::Inside;
                at += 1;
            }
            let Some(found) = rest.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) else { return rest.len() };
            at += found + 1;
            if rest.get(at - 1) == Some(&b'"') {
                self.string = StringState::Outside;
                return at;
            }
            self.string = StringState::Escaped;
        }
    }
}

fn run(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(byte)).unwrap_or(bytes.len())
}

fn is_scalar(byte: &u8) -> bool {
    !matches!(byte, b'{' | b'}' | b'[' | b']' | b':' | b',' | b'"') && !byte.is_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The tokens of a document that comes in these pieces, joined where a piece ended inside one.
    fn parts(pieces: &[&[u8]]) -> Vec<(Part, u32, String)> {
        let mut walk = JsonWalk::default();
        let mut parts: Vec<(Part, u32, String)> = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            let mut is_first = true;
            while let Some((part, length)) = walk.step(rest) {
                let text = String::from_utf8_lossy(&rest[..length]).into_owned();
                match parts.last_mut() {
                    Some(last) if is_first && last.0 == part && matches!(part, Part::Name | Part::Value | Part::Space) => {
                        last.2.push_str(&text);
                    }
                    _ => parts.push((part, walk.depth(), text)),
                }
                is_first = false;
                rest = &rest[length..];
            }
        }
        parts
    }

    #[test]
    fn names_and_values() {
        let tokens = parts(&[br#"{"a\"":[1,"b"],"c":{}} "#]);
        let expected = [
            (Part::OpenObject, 1, "{"),
            (Part::Name, 1, r#""a\"""#),
            (Part::Colon, 1, ":"),
            (Part::OpenArray, 2, "["),
            (Part::Value, 2, "1"),
            (Part::Comma, 2, ","),
            (Part::Value, 2, r#""b""#),
            (Part::Close, 1, "]"),
            (Part::Comma, 1, ","),
            (Part::Name, 1, r#""c""#),
            (Part::Colon, 1, ":"),
            (Part::OpenObject, 2, "{"),
            (Part::Close, 1, "}"),
            (Part::Close, 0, "}"),
            (Part::Space, 0, " "),
        ];
        assert_eq!(tokens, expected.map(|(part, depth, text)| (part, depth, text.to_owned())));
    }

    #[test]
    fn skips_one_value_whatever_it_is() {
        for (value, behind) in
            [(r#"{"a":["}",{"\"]":1}]}"#, "}"), ("[]", ",1]"), (" 12 ", ","), ("\"\\\\\"", "]"), ("", "]"), ("null", "}")]
        {
            let text = format!("{value}{behind}");
            for cut in 0..=value.len() {
                let mut walk = JsonWalk::default();
                let (first, second) = text.split_at(cut);
                let (length, ended) = walk.skip(first.as_bytes());
                assert_eq!((length, ended), (cut, false), "{value}");
                assert_eq!(walk.skip(second.as_bytes()), (value.len() - cut, true), "{value}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_split_tells_the_same(text in "[\\[\\]{}:,\" \\\\a1]{0,40}", cut in any::<prop::sample::Index>()) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            let tokens: Vec<_> = parts(&[first, second]).into_iter().map(|(part, _, text)| (part, text)).collect();
            let joined: String = tokens.iter().map(|(_, text)| text.as_str()).collect();
            prop_assert_eq!(joined, text.clone());
            // Adjacent scalars are one token, unless a piece ended between a string and what follows it.
            if text.matches('"').count() == 0 {
                prop_assert_eq!(parts(&[first, second]), parts(&[bytes]));
            }
        }
    }
}
