//! Sixty-four bytes of JSON at once: masks with a bit a byte, the first byte in the lowest bit.

/// The number of bytes that are read at once.
pub(super) const BLOCK: usize = 64;

const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;

/// A block of fewer bytes, with blanks behind them.
#[must_use]
pub(super) fn padded(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [b' '; BLOCK];
    block.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    block
}

/// The bytes that follow an escaping backslash, of a block of which `length` bytes are the document's. `is_escaped`: whether the first
/// one does, and then whether the one behind the block does.
#[must_use]
pub(super) fn escaped(backslashes: u64, length: usize, is_escaped: &mut bool) -> u64 {
    let before = u64::from(*is_escaped);
    if backslashes == 0 {
        *is_escaped = false;
        return before;
    }
    // In a run of backslashes every other one escapes. The subtraction carries through a run and so tells where it began.
    let candidates = backslashes & !before;
    let runs = ((candidates << 1) | ODD).wrapping_sub(candidates) ^ ODD;
    let escaping = runs & backslashes;
    *is_escaped = (escaping >> (length - 1)) & 1 == 1;
    runs ^ (backslashes | before)
}

/// Each bit is the XOR of itself and all lower ones: set from each opening quote up to the byte before its closing one.
#[must_use]
pub(super) fn prefix_xor(mask: u64) -> u64 {
    let mut mask = mask;
    for shift in [1, 2, 4, 8, 16, 32] {
        mask ^= mask << shift;
    }
    mask
}

/// `[` and `{`, like `]` and `}`, differ by this bit alone.
pub(super) const BRACE: u8 = 0x20;
