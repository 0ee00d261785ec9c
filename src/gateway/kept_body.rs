//! The pieces of a body that is kept until it is whole.

use bytes::{Bytes, BytesMut};

/// A body as far as it has come. A piece that stays alone is not copied.
#[derive(Debug, Default)]
pub(super) struct KeptBody {
    first: Bytes,
    more: BytesMut,
}

impl KeptBody {
    /// Its length in bytes.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.more.len()
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        self.more.extend_from_slice(&std::mem::take(&mut self.first));
        self.more.extend_from_slice(&piece);
    }

    /// Takes all that has come.
    #[must_use]
    pub(super) fn take(&mut self) -> Bytes {
        let first = std::mem::take(&mut self.first);
        if self.more.is_empty() { first } else { std::mem::take(&mut self.more).freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_come_back_in_their_order() {
        for pieces in [&[][..], &["", "a"], &["a"], &["a", "", "b", "c"]] {
            let mut body = KeptBody::default();
            pieces.iter().for_each(|piece| body.push(Bytes::from_static(piece.as_bytes())));
            assert_eq!((body.len(), body.take()), (pieces.concat().len(), Bytes::from(pieces.concat())));
            assert_eq!((body.len(), body.take().len()), (0, 0), "nothing is left");
        }
        let alone = Bytes::from_static(b"alone");
        let mut body = KeptBody::default();
        body.push(alone.clone());
        assert_eq!(body.take().as_ptr(), alone.as_ptr(), "no copy");
    }
}
