//! What a client has not read yet of its answers. OpenEMR does not wait for a slow client as long as there is room here.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};

/// The part of all memory for answers, one in so many, that one connection may use.
const SHARE: usize = 16;

/// The size in which memory is taken, in bytes.
const PIECE: usize = 64 * 1024;

/// The memory, in bytes, for answers that clients have not read, over all connections.
#[derive(Debug)]
pub(crate) struct AnswerMemory {
    free: AtomicUsize,
    most_a_connection: usize,
}

/// The unread bytes of one connection, in order.
#[derive(Debug)]
pub(crate) struct Backlog {
    memory: Arc<AnswerMemory>,
    /// In pieces of up to [`PIECE`] bytes, none of them empty.
    unread: VecDeque<BytesMut>,
    length: usize,
}

impl AnswerMemory {
    /// So many bytes, all free.
    #[must_use]
    pub(crate) fn new(most: usize) -> Self {
        Self { free: AtomicUsize::new(most), most_a_connection: most / SHARE }
    }

    /// Takes up to `wanted` bytes; gives how many.
    fn take(&self, wanted: usize) -> usize {
        let taken = self.free.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |free| Some(free - wanted.min(free)));
        taken.map_or(0, |free| wanted.min(free))
    }

    fn give_back(&self, bytes: usize) {
        self.free.fetch_add(bytes, Ordering::AcqRel);
    }
}

impl Backlog {
    /// An empty one.
    #[must_use]
    pub(crate) fn new(memory: Arc<AnswerMemory>) -> Self {
        Self { memory, unread: VecDeque::new(), length: 0 }
    }

    /// Takes as many of these bytes as there is room for; gives how many.
    #[must_use]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = self.memory.take(bytes.len().min(self.room()));
        self.length += taken;
        let mut left = bytes.get(..taken).unwrap_or_default();
        while !left.is_empty() {
            let last = match self.unread.back_mut() {
                Some(last) if last.len() < last.capacity() => last,
                _ => {
                    self.unread.push_back(BytesMut::with_capacity(PIECE));
                    continue;
                }
            };
            let (now, later) = left.split_at(left.len().min(last.capacity() - last.len()));
            last.extend_from_slice(now);
            left = later;
        }
        taken
    }

    /// Takes as much of a piece as there is room for, without a copy.
    pub(crate) fn adopt(&mut self, piece: &mut BytesMut) {
        let taken = self.memory.take(piece.len().min(self.room()));
        self.length += taken;
        if taken == piece.len() {
            self.unread.extend(Some(std::mem::take(piece)).filter(|piece| !piece.is_empty()));
        } else if taken > 0 {
            self.unread.push_back(piece.split_to(taken));
        }
    }

    /// Bytes that go out next; none when all have.
    #[must_use]
    pub(crate) fn next(&self) -> &[u8] {
        self.unread.front().map_or(&[], |first| first)
    }

    /// Takes a piece behind those that wait; gives what must go out now, the first bytes first: nothing while there is room, as
    /// much as comes in when there is none, and all that waits at the end.
    #[must_use]
    pub(crate) fn pass(&mut self, piece: &Bytes, is_end: bool) -> Bytes {
        if is_end && self.is_empty() {
            return piece.clone();
        }
        let kept = if is_end { 0 } else { self.push(piece) };
        let mut rest = piece.slice(kept..);
        let mut out = BytesMut::new();
        if !rest.is_empty() || is_end {
            self.take(if is_end { self.length } else { rest.len().min(self.length) }, &mut out);
            if !is_end {
                let kept = self.push(&rest);
                rest = rest.slice(kept..);
            }
        }
        if !rest.is_empty() {
            // The memory is used up by others: all goes out.
            self.take(self.length, &mut out);
            out.extend_from_slice(&rest);
        }
        out.freeze()
    }

    /// Whether all bytes have gone out.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Drops the first of the bytes that go out next: they have.
    pub(crate) fn written(&mut self, count: usize) {
        let Some(first) = self.unread.front_mut() else { return };
        let count = count.min(first.len());
        first.advance(count);
        if first.is_empty() {
            self.unread.pop_front();
        }
        self.length -= count;
        self.memory.give_back(count);
    }

    /// What the connection may still use, in bytes, if others leave it.
    fn room(&self) -> usize {
        self.memory.most_a_connection.saturating_sub(self.length)
    }

    fn take(&mut self, count: usize, out: &mut BytesMut) {
        let mut left = count.min(self.length);
        while left > 0 {
            let some = self.next().len().min(left);
            out.extend_from_slice(self.next().get(..some).unwrap_or_default());
            self.written(some);
            left -= some;
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.memory.give_back(self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_out_in_order_and_memory_is_never_exceeded_nor_lost(
            most in 0_usize..4_000, steps in proptest::collection::vec((0..3, 0_usize..3, 0_usize..300), 0..60)
        ) {
            let memory = Arc::new(AnswerMemory::new(most));
            let mut backlogs: Vec<Backlog> = (0..3).map(|_| Backlog::new(Arc::clone(&memory))).collect();
            let mut counts = [(0_usize, 0_usize); 3];
            for (step, which, length) in steps {
                let (backlog, (came, gone)) = (&mut backlogs[which], &mut counts[which]);
                let bytes: Vec<u8> = (*came..*came + length).map(|at| at as u8).collect();
                if step == 0 {
                    *came += backlog.push(&bytes);
                } else if step == 1 {
                    let mut piece = BytesMut::from(&bytes[..]);
                    backlog.adopt(&mut piece);
                    prop_assert_eq!(&piece[..], &bytes[length - piece.len()..]);
                    *came += length - piece.len();
                } else {
                    let some = length.min(backlog.next().len());
                    prop_assert!(backlog.next()[..some].iter().zip(*gone..).all(|(byte, at)| *byte == at as u8));
                    backlog.written(some);
                    *gone += some;
                }
                prop_assert_eq!(backlog.length, *came - *gone);
                prop_assert!(backlog.length <= most / SHARE);
                let held: usize = backlogs.iter().map(|backlog| backlog.length).sum();
                prop_assert_eq!(memory.free.load(Ordering::Relaxed) + held, most);
            }
            drop(backlogs);
            prop_assert_eq!(memory.free.load(Ordering::Relaxed), most);
        }

        #[test]
        fn what_passes_comes_out_whole_and_late(
            most in 0_usize..4_000, used in 0_usize..4_000, lengths in proptest::collection::vec(0_usize..700, 1..20)
        ) {
            let memory = Arc::new(AnswerMemory::new(most));
            memory.take(used);
            let mut backlog = Backlog::new(Arc::clone(&memory));
            let (mut came, mut gone) = (Vec::new(), Vec::new());
            for (at, length) in lengths.iter().enumerate() {
                let piece: Vec<u8> = (0..*length).map(|byte| (at + byte) as u8).collect();
                came.extend_from_slice(&piece);
                let out = backlog.pass(&Bytes::from(piece), at + 1 == lengths.len());
                prop_assert!(at + 1 == lengths.len() || out.len() <= length + most / SHARE);
                gone.extend_from_slice(&out);
            }
            prop_assert_eq!(came, gone);
            prop_assert!(backlog.is_empty());
            prop_assert_eq!(memory.free.load(Ordering::Relaxed), most - used.min(most));
        }
    }
}
