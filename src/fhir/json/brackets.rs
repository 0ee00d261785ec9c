//! Where a JSON object or array ends, read 64 bytes at a time.
//!
//! Each block becomes four masks with a bit a byte: quotes, backslashes, opening and closing brackets. What is within strings
//! follows from the quotes by a prefix XOR, so that no byte is looked at alone unless the end is near.

use super::block::{BLOCK, BRACE, escaped, padded, prefix_xor};
use super::vector::Lanes;

/// Follows the brackets of a value that comes in pieces, in constant memory. Whether `}` closes a `{` or a `[` is not checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Brackets {
    depth: u32,
    in_string: bool,
    is_escaped: bool,
}

/// The bytes of a block that matter, the first in the lowest bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Masks {
    quotes: u64,
    backslashes: u64,
    opening: u64,
    closing: u64,
}

impl Brackets {
    /// Begins where so many brackets are open, outside a string.
    #[must_use]
    pub(crate) fn within(depth: u32) -> Self {
        Self { depth, in_string: false, is_escaped: false }
    }

    /// Begins within a string. `is_escaped`: so is the byte that is next.
    #[must_use]
    pub(crate) fn within_string(depth: u32, is_escaped: bool) -> Self {
        Self { depth, in_string: true, is_escaped }
    }

    /// Reads on and returns the position behind the bracket that closes the last open level; `None` if that is not in `bytes`.
    pub(crate) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for (number, block) in blocks.iter().enumerate() {
            if let Some(end) = self.end_in(block, BLOCK) {
                return Some(number * BLOCK + end);
            }
        }
        if rest.is_empty() {
            return None;
        }
        self.end_in(&padded(rest), rest.len()).map(|end| blocks.len() * BLOCK + end)
    }

    /// The same within a block of which the first `length` bytes are the document's, and the others are blanks.
    fn end_in(&mut self, block: &[u8; BLOCK], length: usize) -> Option<usize> {
        let masks = masks(block);
        let quotes = masks.quotes & !escaped(masks.backslashes, length, &mut self.is_escaped);
        let mut in_string = prefix_xor(quotes);
        if self.in_string {
            in_string = !in_string;
        }
        let (opening, closing) = (masks.opening & !in_string, masks.closing & !in_string);
        let closed = closing.count_ones();
        if closed >= self.depth
            && let Some(end) = self.closed_at(opening, closing)
        {
            *self = Self::default();
            return Some(end);
        }
        self.in_string = in_string >> (BLOCK - 1) == 1;
        self.depth = self.depth.saturating_add(opening.count_ones()).saturating_sub(closed);
        None
    }

    fn closed_at(&self, opening: u64, closing: u64) -> Option<usize> {
        let mut depth = self.depth;
        let mut left = opening | closing;
        while left != 0 {
            let at = left.trailing_zeros();
            depth = if (closing >> at) & 1 == 1 { depth.saturating_sub(1) } else { depth.saturating_add(1) };
            if depth == 0 {
                return Some(at as usize + 1);
            }
            left &= left - 1;
        }
        None
    }
}

/// Whether a string on the top level of an object or array begins at each of the positions, which are in order. What follows the last
/// one is not looked at.
pub(crate) fn are_strings_on_top(document: &[u8], positions: &[usize]) -> bool {
    let (blocks, rest) = document.as_chunks::<BLOCK>();
    let last = padded(rest);
    let mut brackets = Brackets::default();
    let mut positions = positions.iter().copied().peekable();
    let mut begin = 0;
    for block in blocks.iter().chain((!rest.is_empty()).then_some(&last)) {
        if positions.peek().is_none() {
            return true;
        }
        let masks = masks(block);
        let quotes = masks.quotes & !escaped(masks.backslashes, BLOCK.min(document.len() - begin), &mut brackets.is_escaped);
        let mut in_string = prefix_xor(quotes);
        if brackets.in_string {
            in_string = !in_string;
        }
        let (opening, closing) = (masks.opening & !in_string, masks.closing & !in_string);
        let closed = closing.count_ones();
        let end = if closed >= brackets.depth { brackets.closed_at(opening, closing) } else { None };
        while let Some(position) = positions.next_if(|position| *position < begin + BLOCK) {
            let bit = 1_u64 << (position - begin);
            let depth = brackets.depth + (opening & (bit - 1)).count_ones();
            let is_behind = end.is_some_and(|end| begin + end <= position);
            if is_behind || quotes & in_string & bit == 0 || depth != 1 + (closing & (bit - 1)).count_ones() {
                return false;
            }
        }
        if end.is_some() {
            break;
        }
        brackets.in_string = in_string >> (BLOCK - 1) == 1;
        brackets.depth = brackets.depth.saturating_add(opening.count_ones()).saturating_sub(closed);
        begin += BLOCK;
    }
    positions.peek().is_none()
}

fn masks(block: &[u8; BLOCK]) -> Masks {
    let lanes = Lanes::of(block);
    Masks {
        quotes: lanes.equal(b'"'),
        backslashes: lanes.equal(b'\\'),
        opening: lanes.equal_with(BRACE, b'{'),
        closing: lanes.equal_with(BRACE, b'}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Byte by byte.
    fn naive(depth: u32, text: &[u8]) -> Option<usize> {
        let (mut depth, mut in_string, mut is_escaped) = (depth, false, false);
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if std::mem::take(&mut is_escaped) => {}
                b'\\' if in_string => is_escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => {
                    depth -= 1;
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// JSON has backslashes in strings alone.
    const TEXT: &str = r#"([{}\[\]: ,a1é]|"([{}\[\]a ]|\\\\|\\"|\\u0022){0,9}"){0,60}"#;

    proptest! {
        #[test]
        fn every_split_finds_the_end_that_a_look_at_each_byte_finds(
            text in TEXT, depth in 1..4_u32, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4)
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut brackets = Brackets::within(depth);
            let mut found = None;
            for pair in cuts.windows(2) {
                if found.is_none() {
                    found = brackets.end(&bytes[pair[0]..pair[1]]).map(|end| pair[0] + end);
                }
            }
            prop_assert_eq!(found, naive(depth, bytes));
        }

        #[test]
        fn a_mask_has_a_bit_for_each_byte(block in prop::array::uniform32(any::<(u8, u8)>())) {
            let special = b"\"\\{}[]\xFB\xDB\x02";
            let mut bytes = [0; BLOCK];
            for (at, (byte, choice)) in block.iter().enumerate() {
                bytes[2 * at] = *byte;
                bytes[2 * at + 1] = special[usize::from(*choice) % special.len()];
            }
            let each = |set: &[u8]| bytes.iter().enumerate().fold(0, |mask, (at, byte)| mask | u64::from(set.contains(byte)) << at);
            let expected = Masks { quotes: each(b"\""), backslashes: each(b"\\"), opening: each(b"{["), closing: each(b"}]") };
            prop_assert_eq!(masks(&bytes), expected);
        }
    }

    #[test]
    fn long_runs_of_backslashes_cross_blocks() {
        for length in 0..200 {
            for before in 0..70 {
                let text = format!("{}\"{}\"}}]", " ".repeat(before), "\\".repeat(length));
                let text = text.as_bytes();
                assert_eq!(Brackets::within(1).end(text), naive(1, text), "{length} {before}");
            }
        }
    }
}
