//! Which patients were told already.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

/// The most patients that are remembered: a few megabytes.
pub(super) const MOST: usize = 100_000;

/// Remembers patients by fingerprints of 128 bits with a key that nobody else knows. After [`MOST`] it forgets all of them.
#[derive(Default)]
pub(super) struct Distinct {
    keys: [RandomState; 2],
    fingerprints: HashSet<u128, BuildHasherDefault<AsItIs>>,
    /// The patient that came last: most resources of an answer are about the same one as the resource before.
    last: Vec<u8>,
}

impl Distinct {
    /// Whether a patient is not among those that are remembered. It is, then.
    pub(super) fn is_new(&mut self, id: &[u8]) -> bool {
        if self.last == id {
            return false;
        }
        self.last.clear();
        self.last.extend_from_slice(id);
        if self.fingerprints.len() >= MOST {
            self.fingerprints.clear();
        }
        let [low, high] = self.keys.each_ref().map(|key| u128::from(key.hash_one(id)));
        self.fingerprints.insert(low | high << 64)
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.fingerprints.len()
    }
}

impl fmt::Debug for Distinct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Distinct").field("patients", &self.len()).finish_non_exhaustive()
    }
}

/// A hash of what is one already: a part of it.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // A fingerprint is written as one number; this keeps any other key right, if slow.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of a fingerprint is enough")]
    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}
