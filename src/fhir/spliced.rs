//! A piece of a body with some bytes removed and others inserted. It is copied once at most, and not at all where nothing was
//! changed.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Collects the output for one piece of a body.
#[derive(Debug)]
pub(crate) struct Spliced {
    piece: Bytes,
    /// The part of `piece` that is kept, to be output after `made`.
    kept: Range<usize>,
    made: BytesMut,
}

impl Spliced {
    /// Begins with a piece, of which nothing is kept yet.
    #[must_use]
    pub(crate) fn of(piece: Bytes) -> Self {
        Self { piece, kept: 0..0, made: BytesMut::new() }
    }

    /// Returns the current piece.
    #[must_use]
    pub(crate) fn piece(&self) -> &[u8] {
        &self.piece
    }

    /// Keeps a part of the current piece, which must come after the parts that were kept before.
    pub(crate) fn keep(&mut self, part: Range<usize>) {
        if part.is_empty() {
            return;
        }
        if self.kept.end == part.start && !self.kept.is_empty() {
            self.kept.end = part.end;
        } else {
            self.settle();
            self.kept = part;
        }
    }

    /// Inserts bytes after what was kept so far.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.settle();
            self.made.extend_from_slice(bytes);
        }
    }

    /// Returns the output.
    #[must_use]
    pub(crate) fn finish(mut self) -> Bytes {
        if self.made.is_empty() {
            return self.piece.get(self.kept.clone()).map(|kept| self.piece.slice_ref(kept)).unwrap_or_default();
        }
        self.settle();
        self.made.freeze()
    }

    /// Copies the kept part to `made`.
    fn settle(&mut self) {
        let kept = self.piece.get(self.kept.clone()).unwrap_or_default();
        if self.made.capacity() - self.made.len() < kept.len() {
            // Most of the piece is likely to be kept, with a little inserted.
            self.made.reserve(self.piece.len() + self.piece.len() / 16 + 256);
        }
        self.made.extend_from_slice(kept);
        self.kept = 0..0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_only_where_something_was_put_or_left_out() {
        let piece = Bytes::from_static(b"abcdef");
        let mut whole = Spliced::of(piece.clone());
        whole.keep(1..3);
        whole.keep(3..5);
        let kept = whole.finish();
        assert_eq!(kept, "bcde");
        assert_eq!(kept.as_ptr(), piece.get(1..).unwrap().as_ptr());

        let mut changed = Spliced::of(piece);
        changed.keep(0..2);
        changed.put(b"-");
        changed.keep(4..6);
        assert_eq!(changed.finish(), "ab-ef");
        assert_eq!(Spliced::of(Bytes::from_static(b"abc")).finish(), "");
    }
}
