//! The output for a document that comes in pieces, of which the end can be taken back until it is known what becomes of it.

use bytes::{Bytes, BytesMut};

/// What goes out. A position in it counts from the beginning of the document, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// What is not sent and was copied: it was changed, or stood in an earlier piece.
    made: BytesMut,
    /// The position of the first byte that is not sent.
    base: u64,
    /// Where in the piece the part begins that follows `made` as it is.
    from: usize,
}

impl Output {
    /// The position behind what was read up to `at`.
    #[must_use]
    pub(crate) fn position(&self, at: usize) -> u64 {
        self.made_end() + (at.saturating_sub(self.from)) as u64
    }

    /// Leaves out a part of the piece.
    pub(crate) fn skip(&mut self, piece: &[u8], begin: usize, end: usize) {
        self.settle(piece, begin);
        self.from = end;
    }

    /// Takes back what is behind a position; goes on at `at`.
    pub(crate) fn take_back(&mut self, piece: &[u8], to: u64, at: usize) {
        let made_end = self.made_end();
        if to > made_end {
            self.settle(piece, self.from + to_usize(to - made_end));
        } else {
            self.made.truncate(to_usize(to.saturating_sub(self.base)));
        }
        self.from = at;
    }

    /// Inserts bytes behind what was read up to `at`.
    pub(crate) fn put(&mut self, piece: &[u8], at: usize, bytes: &[u8]) {
        self.settle(piece, at);
        self.made.extend_from_slice(bytes);
    }

    /// What is not sent from a position on.
    #[must_use]
    pub(crate) fn since(&mut self, piece: &[u8], from: u64, at: usize) -> &[u8] {
        self.settle(piece, at);
        self.made.get(to_usize(from.saturating_sub(self.base))..).unwrap_or_default()
    }

    /// Puts other bytes in the place of those between two positions, both of what was read up to `at`.
    pub(crate) fn replace(&mut self, piece: &[u8], from: u64, to: u64, at: usize, bytes: &[u8]) {
        self.settle(piece, at);
        let [from, to] = [from, to].map(|position| to_usize(position.saturating_sub(self.base)).min(self.made.len()));
        let behind = self.made.split_off(to.max(from));
        self.made.truncate(from);
        self.made.extend_from_slice(bytes);
        self.made.extend_from_slice(&behind);
    }

    /// Ends the piece: gives what is before `undecided`, and keeps the rest.
    #[must_use]
    pub(crate) fn end_piece(&mut self, piece: &Bytes, undecided: Option<u64>) -> Bytes {
        let end = self.position(piece.len());
        let decided = undecided.unwrap_or(end).clamp(self.base, end);
        let made_end = self.made_end();
        let out = if decided < made_end {
            let out = self.made.split_to(to_usize(decided - self.base)).freeze();
            self.settle(piece, piece.len());
            out
        } else {
            let split = self.from + to_usize(decided - made_end);
            let out = if self.made.is_empty() {
                piece.get(self.from..split).map(|kept| piece.slice_ref(kept)).unwrap_or_default()
            } else {
                self.settle(piece, split);
                self.made.split().freeze()
            };
            self.from = split;
            self.settle(piece, piece.len());
            out
        };
        self.base = decided;
        self.from = 0;
        out
    }

    /// What is left when nothing more comes.
    #[must_use]
    pub(crate) fn rest(&mut self) -> Bytes {
        self.base = self.made_end();
        self.made.split().freeze()
    }

    fn made_end(&self) -> u64 {
        self.base + self.made.len() as u64
    }

    /// Copies the piece up to `at`.
    fn settle(&mut self, piece: &[u8], at: usize) {
        let kept = piece.get(self.from..at).unwrap_or_default();
        if self.made.capacity() - self.made.len() < kept.len() {
            // Most of the piece is likely to be kept, with a little inserted.
            self.made.reserve(kept.len().max(piece.len() - self.from.min(piece.len())) + piece.len() / 16 + 64);
        }
        self.made.extend_from_slice(kept);
        self.from = at;
    }
}

/// A distance between positions that are not sent, which are in memory.
fn to_usize(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_that_is_kept_is_not_copied() {
        let piece = Bytes::from_static(b"abcdef");
        let mut output = Output::default();
        assert_eq!(output.end_piece(&piece, None).as_ptr(), piece.as_ptr());
        assert_eq!(output.position(2), 8);
        let first = output.end_piece(&piece, Some(9));
        assert_eq!((first.as_ptr(), &first[..]), (piece.as_ptr(), &b"abc"[..]));
        assert_eq!(output.position(0), 12);
        output.take_back(&piece, 10, 2);
        assert_eq!(output.end_piece(&piece, None), "dcdef");
    }

    #[test]
    fn the_end_can_be_taken_back_and_the_middle_replaced() {
        let piece = Bytes::from_static(b"0123456789");
        let mut output = Output::default();
        output.skip(&piece, 1, 3);
        output.put(&piece, 5, b"--");
        assert_eq!(output.position(6), 6);
        output.take_back(&piece, 4, 7);
        assert_eq!(output.since(&piece, 1, 9), b"34-78");
        output.replace(&piece, 2, 4, 9, b"xyz");
        assert_eq!(output.end_piece(&piece, None), "03xyz789");
        assert_eq!(output.rest(), "");
    }
}
