//! Random values: unpredictable ones for tokens and ids, and repeatable ones for the synthetic patients.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Returns random bytes as base64url.
pub(super) fn random_text(bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(random_bytes(bytes))
}

/// Returns random bytes as lower-case hex.
pub(super) fn random_hex(bytes: usize) -> String {
    random_bytes(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a random version 4 UUID.
pub(super) fn random_uuid() -> String {
    version_4_uuid(random_bytes(16).iter().fold(0, |bits, &byte| bits << 8 | u128::from(byte)))
}

/// All bytes are zero if the system's random source fails; in the sandbox that only makes ids guessable.
fn random_bytes(bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    let _ = SystemRandom::new().fill(&mut buffer);
    buffer
}

fn version_4_uuid(bits: u128) -> String {
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string()
}

/// A seeded generator (SplitMix64): the same seed yields the same values.
pub(super) struct SeededRandom(u64);

impl SeededRandom {
    /// Creates the generator for `seed`.
    pub(super) fn new(seed: u64) -> SeededRandom {
        SeededRandom(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Returns one element of `list`.
    pub(super) fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let index = self.below(list.len() as u64);
        usize::try_from(index).ok().and_then(|index| list.get(index).copied()).unwrap_or_default()
    }

    /// Returns a version 4 UUID.
    pub(super) fn uuid(&mut self) -> String {
        version_4_uuid(u128::from(self.next()) << 64 | u128::from(self.next()))
    }
}
