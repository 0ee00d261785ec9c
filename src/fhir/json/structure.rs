//! The brackets of a JSON document that comes in pieces, and the names of its members: found 64 bytes at a time.
//!
//! What stands between them is not looked at: no string is taken apart but the names that a colon follows, and a long string is left
//! to a search for its quote. So this is several times as fast as reading token by token. Whether commas and scalars are where JSON has
//! them is not checked.

use std::ops::ControlFlow;

use memchr::{memchr, memrchr};

use super::block::{BLOCK, BRACE, escaped, padded, prefix_xor};
use super::vector::Lanes;

/// The longest name that is told, in bytes as written: one of twelve letters with every letter escaped.
pub(crate) const LONGEST_NAME: usize = 72;

/// The place of a byte in an earlier piece.
const EARLIER: usize = 0;

/// What a document is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark<'p> {
    /// `{` or `[`
    Open {
        /// Whether it is `{`.
        is_object: bool,
    },
    /// `}` or `]`
    Close {
        /// Whether it is `}`.
        is_object: bool,
    },
    /// A colon, behind the name of a member.
    Name {
        /// The name as it is written, without its quotes; empty where it is longer than [`LONGEST_NAME`].
        written: &'p [u8],
        /// Whether it has escapes.
        is_escaped: bool,
    },
}

/// A position in a document.
#[derive(Debug, Clone, Default)]
pub(crate) struct Structure {
    in_string: bool,
    is_escaped: bool,
    name: Name,
}

/// The beginning of the last string of the pieces before, which is a name if a colon follows.
#[derive(Debug, Clone)]
struct Name {
    written: [u8; LONGEST_NAME],
    /// More than [`LONGEST_NAME`] where the string is longer than that.
    length: usize,
}

/// The last bytes of a kind that the piece has until now, each as the position behind it, or [`EARLIER`].
#[derive(Debug, Clone, Copy)]
struct Last {
    quote: usize,
    /// The quote before that.
    quote_before: usize,
    backslash: usize,
}

/// The quotes and backslashes of a block.
#[derive(Debug, Clone, Copy)]
struct Strings {
    /// Where in the piece the block begins.
    at: usize,
    quotes: u64,
    backslashes: u64,
}

impl Structure {
    /// Reads the next piece, and tells each mark with the position behind it until it is told to stop.
    pub(crate) fn read(&mut self, piece: &[u8], mut tell: impl FnMut(Mark<'_>, usize) -> ControlFlow<()>) {
        let mut last = Last { quote: EARLIER, quote_before: EARLIER, backslash: EARLIER };
        let mut at = 0;
        let mut is_long = false;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            if is_long && !self.is_escaped {
                is_long = false;
                let length = self.closing_quote(rest);
                // What is longer is no name that is told.
                let passed = rest.get(..length).filter(|passed| passed.len() <= LONGEST_NAME);
                if let Some(backslash) = passed.and_then(|passed| memrchr(b'\\', passed)) {
                    last.backslash = at + backslash + 1;
                }
                at += length;
                continue;
            }
            let padding;
            let (block, length) = match rest.first_chunk::<BLOCK>() {
                Some(block) => (block, BLOCK),
                None => {
                    padding = padded(rest);
                    (&padding, rest.len())
                }
            };
            let lanes = Lanes::of(block);
            let backslashes = lanes.equal(b'\\');
            let quotes = lanes.equal(b'"') & !escaped(backslashes, length, &mut self.is_escaped);
            let strings = Strings { at, quotes, backslashes };
            let mut in_string = prefix_xor(quotes);
            if self.in_string {
                in_string = !in_string;
            }
            let mut marks = lanes.one_of(b':', BRACE, [b'{', b'}']) & !in_string;
            while marks != 0 {
                let bit = marks.trailing_zeros() as usize;
                marks &= marks - 1;
                let earlier;
                let mark = match block.get(bit) {
                    Some(b':') => {
                        let before = last.within(strings, (1 << bit) - 1);
                        if before.quote_before == EARLIER {
                            earlier = self.name.with(piece.get(..before.quote.saturating_sub(1)).unwrap_or_default());
                            earlier.mark()
                        } else {
                            before.name(piece)
                        }
                    }
                    Some(byte @ (b'{' | b'[')) => Mark::Open { is_object: *byte == b'{' },
                    Some(byte) => Mark::Close { is_object: *byte == b'}' },
                    None => break,
                };
                if tell(mark, at + bit + 1).is_break() {
                    return;
                }
            }
            last = last.within(strings, u64::MAX);
            self.in_string = in_string >> (BLOCK - 1) == 1;
            is_long = self.in_string && quotes == 0;
            at += length;
        }
        self.name.keep(piece, last, self.in_string);
    }

    /// Returns the position of the quote that closes the string in which `rest` begins, or the length of `rest`.
    fn closing_quote(&mut self, rest: &[u8]) -> usize {
        let mut from = 0;
        loop {
            let quote = rest.get(from..).and_then(|rest| memchr(b'"', rest));
            let end = quote.map_or(rest.len(), |found| from + found);
            let backslashes = rest.get(..end).unwrap_or_default().iter().rev().take_while(|byte| **byte == b'\\').count();
            let is_escaped = backslashes % 2 == 1;
            if quote.is_none() {
                self.is_escaped = is_escaped;
                return end;
            }
            if !is_escaped {
                return end;
            }
            from = end + 1;
        }
    }
}

impl Last {
    /// The last ones when these bytes of a block have been read.
    #[inline(always)]
    fn within(self, strings: Strings, read: u64) -> Self {
        let mut last = self;
        if let Some(bit) = highest(strings.backslashes & read) {
            last.backslash = strings.at + bit + 1;
        }
        let quotes = strings.quotes & read;
        if let Some(bit) = highest(quotes) {
            last.quote_before = highest(quotes & !(1 << bit)).map_or(self.quote, |bit| strings.at + bit + 1);
            last.quote = strings.at + bit + 1;
        }
        last
    }

    /// The name that a colon follows: the string between the last two quotes, both of this piece.
    #[inline(always)]
    #[must_use]
    fn name(self, piece: &[u8]) -> Mark<'_> {
        let written = piece.get(self.quote_before..self.quote - 1).filter(|name| name.len() <= LONGEST_NAME);
        let is_escaped = written.is_some() && self.backslash > self.quote_before;
        Mark::Name { written: written.unwrap_or_default(), is_escaped }
    }
}

impl Name {
    /// This one, and what the next piece has of it.
    #[must_use]
    fn with(&self, more: &[u8]) -> Self {
        let mut name = self.clone();
        name.add(more);
        name
    }

    #[must_use]
    fn mark(&self) -> Mark<'_> {
        let written = self.written.get(..self.length).unwrap_or_default();
        Mark::Name { written, is_escaped: written.contains(&b'\\') }
    }

    /// Keeps what the next piece needs of the last string of this one, which may go on.
    fn keep(&mut self, piece: &[u8], last: Last, goes_on: bool) {
        let (begin, end) = if goes_on { (last.quote, piece.len()) } else { (last.quote_before, last.quote.saturating_sub(1)) };
        if begin != EARLIER {
            self.length = 0;
        }
        self.add(piece.get(begin..end).unwrap_or_default());
    }

    fn add(&mut self, more: &[u8]) {
        let free = self.written.iter_mut().skip(self.length);
        free.zip(more).for_each(|(to, from)| *to = *from);
        self.length = self.length.saturating_add(more.len());
    }
}

impl Default for Name {
    fn default() -> Self {
        Self { written: [0; LONGEST_NAME], length: 0 }
    }
}

fn highest(mask: u64) -> Option<usize> {
    (mask != 0).then(|| 63 - mask.leading_zeros() as usize)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The marks of a text in pieces, each with the position behind it in the whole.
    fn marks(pieces: &[&[u8]]) -> Vec<(String, usize)> {
        let mut structure = Structure::default();
        let mut marks = Vec::new();
        let mut before = 0;
        for piece in pieces {
            structure.read(piece, |mark, at| {
                let text = match mark {
                    Mark::Name { written, is_escaped } => {
                        format!("{}{}", String::from_utf8_lossy(written), if is_escaped { " escaped" } else { "" })
                    }
                    other => format!("{other:?}"),
                };
                marks.push((text, before + at));
                ControlFlow::Continue(())
            });
            before += piece.len();
        }
        marks
    }

    /// The same byte by byte.
    fn naive(text: &[u8]) -> Vec<(String, usize)> {
        let (mut in_string, mut is_escaped, mut name, mut marks) = (false, false, Vec::new(), Vec::new());
        for (at, byte) in text.iter().enumerate() {
            let mark = match byte {
                _ if std::mem::take(&mut is_escaped) => {
                    name.push(*byte);
                    None
                }
                b'"' => {
                    in_string = !in_string;
                    if in_string {
                        name.clear();
                    }
                    None
                }
                _ if in_string => {
                    is_escaped = *byte == b'\\';
                    name.push(*byte);
                    None
                }
                b'{' | b'[' => Some(format!("{:?}", Mark::Open { is_object: *byte == b'{' })),
                b'}' | b']' => Some(format!("{:?}", Mark::Close { is_object: *byte == b'}' })),
                b':' => Some(match name.len() {
                    0..=LONGEST_NAME if name.contains(&b'\\') => format!("{} escaped", String::from_utf8_lossy(&name)),
                    0..=LONGEST_NAME => String::from_utf8_lossy(&name).into_owned(),
                    _ => String::new(),
                }),
                _ => None,
            };
            marks.extend(mark.map(|mark| (mark, at + 1)));
        }
        marks
    }

    /// A name that is too long is told as empty, with or without escapes.
    fn shown(marks: Vec<(String, usize)>) -> Vec<(String, usize)> {
        marks.into_iter().map(|(mark, at)| (if mark == " escaped" { String::new() } else { mark }, at)).collect()
    }

    /// JSON has backslashes in strings alone.
    const TEXT: &str =
        r#"([{}\[\]: ,a1]|"([{}:a ]|\\\\|\\"|\\u0022){0,9}"|"[a:]{60,80}"|"([:x]{20,99}|\\"|\\\\){1,9}"| {1,90}){0,40}"#;

    proptest! {
        #[test]
        fn every_split_tells_what_a_look_at_each_byte_tells(
            text in TEXT, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(shown(marks(&pieces)), naive(bytes));
            let each: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(shown(marks(&each)), naive(bytes));
        }
    }

    #[test]
    fn reading_stops_where_it_is_told_to() {
        let mut told = 0;
        Structure::default().read(b"{} {}", |mark, _| {
            told += 1;
            if matches!(mark, Mark::Close { .. }) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(told, 2);
    }
}
