//! JSON sixteen bytes at once.
//!
//! Decision: `docs/decisions/60-hot-path.md`.

use wide::u8x16;

use super::block::BLOCK;

/// Sixty-four bytes, to be compared again and again.
#[derive(Clone, Copy)]
pub(super) struct Lanes([u8x16; 4]);

impl Lanes {
    #[inline(always)]
    #[must_use]
    pub(super) fn of(block: &[u8; BLOCK]) -> Self {
        let mut lanes = [u8x16::ZERO; 4];
        for (lane, bytes) in lanes.iter_mut().zip(block.as_chunks::<16>().0) {
            *lane = u8x16::new(*bytes);
        }
        Self(lanes)
    }

    /// A bit for each byte that is this one, the first in the lowest.
    #[inline(always)]
    #[must_use]
    pub(super) fn equal(&self, byte: u8) -> u64 {
        self.mask(|lane| lane.simd_eq(u8x16::splat(byte)))
    }

    /// A bit for each byte that is this one once these bits are set in it.
    #[inline(always)]
    #[must_use]
    pub(super) fn equal_with(&self, bits: u8, byte: u8) -> u64 {
        self.mask(|lane| (lane | u8x16::splat(bits)).simd_eq(u8x16::splat(byte)))
    }

    /// A bit for each byte that is `plain`, or one of two once these bits are set in it.
    #[inline(always)]
    #[must_use]
    pub(super) fn one_of(&self, plain: u8, bits: u8, two: [u8; 2]) -> u64 {
        let [first, second] = two.map(u8x16::splat);
        self.mask(|lane| {
            let set = lane | u8x16::splat(bits);
            lane.simd_eq(u8x16::splat(plain)) | set.simd_eq(first) | set.simd_eq(second)
        })
    }

    #[inline(always)]
    fn mask(&self, found: impl Fn(u8x16) -> u8x16) -> u64 {
        let [first, second, third, fourth] = self.0.map(|lane| u64::from(found(lane).to_bitmask()));
        first | second << 16 | third << 32 | fourth << 48
    }
}

/// Returns how many bytes stand before the first quote or backslash. Most strings of FHIR are short.
#[inline]
#[must_use]
pub(crate) fn before_quote_or_backslash(bytes: &[u8]) -> usize {
    let mut before = 0;
    for lane in bytes.as_chunks::<16>().0.iter().take(8) {
        let lane = u8x16::new(*lane);
        let found = (lane.simd_eq(u8x16::splat(b'"')) | lane.simd_eq(u8x16::splat(b'\\'))).to_bitmask();
        if found != 0 {
            return before + found.trailing_zeros() as usize;
        }
        before += 16;
    }
    let rest = bytes.get(before..).unwrap_or_default();
    if rest.len() >= 16 {
        return before + memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    }
    before + rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_byte_is_compared(block in prop::array::uniform32("[\"\\\\{}\\[\\]:x]{2}")) {
            let block: [u8; BLOCK] = block.concat().into_bytes().try_into().unwrap();
            let lanes = Lanes::of(&block);
            let expected = |is: &dyn Fn(u8) -> bool| (0..BLOCK).filter(|at| is(block[*at])).fold(0_u64, |mask, at| mask | 1 << at);
            prop_assert_eq!(lanes.equal(b'"'), expected(&|byte| byte == b'"'));
            prop_assert_eq!(lanes.equal_with(0x20, b'{'), expected(&|byte| matches!(byte, b'{' | b'[')));
            prop_assert_eq!(lanes.one_of(b':', 0x20, [b'{', b'}']), expected(&|byte| b"[]{}:".contains(&byte)));
        }

        #[test]
        fn the_first_quote_or_backslash_is_found(text in "[a-z\u{fc}]{0,200}[\"\\\\a]{0,3}[a\"]{0,20}") {
            let expected = text.bytes().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(text.len());
            prop_assert_eq!(before_quote_or_backslash(text.as_bytes()), expected);
        }
    }
}
