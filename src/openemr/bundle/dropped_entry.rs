//! An entry that is not sent to the client. If it is the last one, the Bundle is only complete if this entry is, and no other
//! step sees its bytes.
//!
//! Decision: `docs/decisions/08-end-of-body.md`.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::fhir::json::completeness::Completeness;

/// The most bytes that are kept unread.
const MAX_UNREAD: usize = 64 * 1024;

/// The most pieces that are kept unread, because each can hold a larger buffer in memory.
const MAX_PIECES: usize = 32;

/// The bytes of an entry that is not sent. They are read only when somebody asks whether the entry is complete, or when there
/// are many: nearly every entry is followed by another, so that the question does not arise.
#[derive(Debug, Default)]
pub(crate) struct DroppedEntry {
    unread: VecDeque<Bytes>,
    length: usize,
    end: Completeness,
}

impl DroppedEntry {
    /// Adds the next piece of the entry.
    pub(crate) fn add(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.unread.push_back(piece);
        while self.length > MAX_UNREAD || self.unread.len() > MAX_PIECES {
            self.read_on();
        }
    }

    /// Whether all brackets of the entry are closed.
    pub(crate) fn is_complete(&mut self) -> bool {
        while !self.unread.is_empty() {
            self.read_on();
        }
        self.end.is_complete()
    }

    fn read_on(&mut self) {
        let piece = self.unread.pop_front().unwrap_or_default();
        self.length -= piece.len();
        self.end.feed(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_whole_from_cut_however_long_it_is() {
        for length in [1, MAX_UNREAD, 3 * MAX_UNREAD] {
            let entry = format!(r#"{{"fullUrl":"{}","resource":{{"a":["}}}}]"]}}}}"#, "u".repeat(length));
            for size in [100, 10_000, usize::MAX] {
                for (text, is_whole) in
                    [(entry.as_str(), true), (&entry[..entry.len() - 1], false), (&entry[..entry.len() - 5], false)]
                {
                    let mut dropped = DroppedEntry::default();
                    for piece in text.as_bytes().chunks(size) {
                        dropped.add(Bytes::copy_from_slice(piece));
                        assert!(dropped.length <= MAX_UNREAD && dropped.unread.len() <= MAX_PIECES);
                    }
                    assert_eq!(dropped.is_complete(), is_whole);
                }
            }
        }
    }
}
