//! Where the strings of a document end: sixty-four bytes are compared at once, and what was found serves all strings in them.

use memchr::memchr2;

use super::block::{BLOCK, escaped, padded};
use super::vector::Lanes;

/// The quotes and backslashes of a block of the piece that is being read.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    /// Where in the piece the block begins, and the position behind it.
    begin: usize,
    end: usize,
    /// The quotes that no backslash escapes, and the backslashes: a bit a byte, the first in the lowest.
    quotes: u64,
    backslashes: u64,
    /// Whether the byte behind the block is escaped.
    is_escaped: bool,
}

impl Strings {
    /// Forgets the piece. The next one may begin within a string.
    pub(crate) fn end_piece(&mut self) {
        (self.begin, self.end) = (0, 0);
    }

    /// Returns where the quote stands that closes a string of which the first byte, behind its opening quote, is at `at`, and whether
    /// it has escapes. Without a quote in this piece it goes on in the next one.
    #[inline(always)]
    pub(crate) fn closing_quote(&mut self, piece: &[u8], at: usize) -> (Option<usize>, bool) {
        if at < self.end {
            let from = at - self.begin;
            if let Some((length, has_escapes)) = first_quote(self.quotes >> from, self.backslashes >> from) {
                return (Some(at + length), has_escapes);
            }
        }
        self.closing_quote_behind(piece, at)
    }

    /// The same for a string that began in an earlier piece, at the beginning of this one.
    pub(crate) fn closing_quote_of_rest(&mut self, piece: &[u8]) -> (Option<usize>, bool) {
        self.search(piece, 0, false)
    }

    /// The same where the block that was read has no more quotes.
    #[inline(never)]
    fn closing_quote_behind(&mut self, piece: &[u8], at: usize) -> (Option<usize>, bool) {
        if at < self.end {
            let has_escapes = self.backslashes >> (at - self.begin) != 0;
            return self.search(piece, self.end, has_escapes);
        }
        self.is_escaped = false;
        self.search(piece, at, false)
    }

    /// Reads blocks from there on until there is a quote.
    fn search(&mut self, piece: &[u8], at: usize, has_escapes: bool) -> (Option<usize>, bool) {
        let (mut at, mut has_escapes) = (at, has_escapes);
        while self.load(piece, at) {
            if let Some((length, is_escaped)) = first_quote(self.quotes, self.backslashes) {
                return (Some(at + length), has_escapes | is_escaped);
            }
            has_escapes |= self.backslashes != 0;
            at = self.end;
            if self.backslashes == 0 {
                // A long text, perhaps, with nothing to be seen for a while.
                let rest = piece.get(at..).unwrap_or_default();
                at += memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            }
        }
        (None, has_escapes)
    }

    /// Reads the block that begins there, unless the piece ends.
    fn load(&mut self, piece: &[u8], at: usize) -> bool {
        let rest = piece.get(at..).unwrap_or_default();
        let padding;
        let (block, length) = match rest.first_chunk::<BLOCK>() {
            Some(block) => (block, BLOCK),
            None if rest.is_empty() => return false,
            None => {
                padding = padded(rest);
                (&padding, rest.len())
            }
        };
        let lanes = Lanes::of(block);
        self.backslashes = lanes.equal(b'\\');
        self.quotes = lanes.equal(b'"') & !escaped(self.backslashes, length, &mut self.is_escaped);
        (self.begin, self.end) = (at, at + length);
        true
    }
}

/// How many bytes stand before the first quote, and whether a backslash is among them.
#[inline(always)]
fn first_quote(quotes: u64, backslashes: u64) -> Option<(usize, bool)> {
    let before = quotes.wrapping_sub(1) & !quotes;
    (quotes != 0).then_some((quotes.trailing_zeros() as usize, backslashes & before != 0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The ends of all strings of a document in these pieces, each with whether it has escapes.
    fn ends(pieces: &[&[u8]]) -> Vec<(usize, bool)> {
        let mut strings = Strings::default();
        let (mut ends, mut before, mut is_open, mut has_escapes) = (Vec::new(), 0, false, false);
        for piece in pieces {
            let mut at = 0;
            loop {
                let (end, is_escaped) = if std::mem::take(&mut is_open) {
                    strings.closing_quote_of_rest(piece)
                } else {
                    let Some(opening) = piece[at..].iter().position(|byte| *byte == b'"') else { break };
                    has_escapes = false;
                    strings.closing_quote(piece, at + opening + 1)
                };
                has_escapes |= is_escaped;
                let Some(end) = end else {
                    is_open = true;
                    break;
                };
                ends.push((before + end, has_escapes));
                at = end + 1;
            }
            strings.end_piece();
            before += piece.len();
        }
        ends
    }

    /// The same byte by byte.
    fn naive(text: &[u8]) -> Vec<(usize, bool)> {
        let (mut ends, mut in_string, mut is_escaped, mut has_escapes) = (Vec::new(), false, false, false);
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if std::mem::take(&mut is_escaped) => {}
                b'\\' if in_string => (is_escaped, has_escapes) = (true, true),
                b'"' if in_string => {
                    ends.push((at, has_escapes));
                    in_string = false;
                }
                b'"' => (in_string, has_escapes) = (true, false),
                _ => {}
            }
        }
        ends
    }

    proptest! {
        #[test]
        fn every_split_finds_the_ends_that_a_look_at_each_byte_finds(
            text in r#"([{}\[\]: ,a1]{0,9}"([a-z:]|\\\\|\\"|\\u0022|[a-z]{50,99}){0,9}"){0,30}"#,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(ends(&pieces), naive(bytes));
            let each: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(ends(&each), naive(bytes));
        }
    }
}
