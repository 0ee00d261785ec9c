//! OpenEMR's answers to searches, kept for a moment: from one that is a whole set, the pages behind the one that was asked for are cut,
//! too, in place of having OpenEMR make the set again for each.
//!
//! Bounded in bytes over all sites, in bytes for one client and for one answer, in entries, and in time. A timer drops an entry when its
//! time is over, a write through the gateway drops all of its site. What goes is overwritten.
//!
//! Decision: `docs/decisions/61-pages.md`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::nodes::in_flight::Flow;
use crate::site::flights::{Key, SharedAnswer, WriteCount};

/// The most answers that are kept at a site.
const MOST_ENTRIES: usize = 64;
/// The part of them, and of the memory, one in so many, that one client may use.
const OF_A_CLIENT: usize = 2;
/// The part that one answer may use.
const OF_AN_ANSWER: usize = 4;

/// The memory for kept answers, in bytes, over all sites. A reload keeps it.
#[derive(Debug)]
pub(crate) struct PageMemory {
    most: usize,
    used: AtomicUsize,
}

/// What an answer uses of it, until this is dropped.
#[derive(Debug)]
struct Room {
    memory: Arc<PageMemory>,
    bytes: usize,
}

/// The kept answers of one site.
pub(crate) struct KeptPages {
    /// `None`: none is kept.
    time: Option<Duration>,
    memory: Arc<PageMemory>,
    writes: Arc<WriteCount>,
    entries: Mutex<Vec<Kept>>,
}

/// A kept answer.
struct Kept {
    key: Key,
    client: Flow,
    until: Instant,
    answer: Arc<SharedAnswer>,
    room: Room,
}

/// An answer that is kept once it is whole, as far as it has come. Dropped, nothing of it is kept.
pub(crate) struct Collected {
    pages: Arc<KeptPages>,
    key: Key,
    client: Flow,
    /// The count of writes when it was asked for.
    writes: u64,
    pieces: Vec<Bytes>,
    room: Room,
}

impl PageMemory {
    /// So many bytes, all free.
    #[must_use]
    pub(crate) fn new(most: usize) -> Self {
        Self { most, used: AtomicUsize::new(0) }
    }
}

impl Room {
    /// Takes so many bytes more. False where an answer may not have as many, or there are not as many left.
    #[must_use]
    fn grow(&mut self, more: usize) -> bool {
        let PageMemory { most, used } = &*self.memory;
        if self.bytes.saturating_add(more) > most / OF_AN_ANSWER {
            return false;
        }
        let within = |used: usize| used.checked_add(more).filter(|used| used <= most);
        let has_grown = used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, within).is_ok();
        self.bytes += if has_grown { more } else { 0 };
        has_grown
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl KeptPages {
    /// None so far. `time`: how long an answer is kept; `None` for a site that keeps none.
    #[must_use]
    pub(crate) fn new(time: Option<Duration>, memory: Arc<PageMemory>, writes: Arc<WriteCount>) -> Self {
        Self { time, memory, writes, entries: Mutex::default() }
    }

    /// Whether answers are kept at all.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.time.is_some()
    }

    /// The answer with this key, if it is kept and its time is not over.
    #[must_use]
    pub(crate) fn find(&self, key: &Key, now: Instant) -> Option<Arc<SharedAnswer>> {
        let entries = self.entries.lock();
        let kept = entries.iter().find(|kept| kept.key == *key && kept.until > now)?;
        Some(Arc::clone(&kept.answer))
    }

    /// Begins to collect the answer to a request with this key.
    #[must_use]
    pub(crate) fn collect(self: &Arc<Self>, key: Key, client: Flow) -> Collected {
        let room = Room { memory: Arc::clone(&self.memory), bytes: 0 };
        Collected { pages: Arc::clone(self), key, client, writes: self.writes.get(), pieces: Vec::new(), room }
    }

    /// Drops the answer with this key: its walk begins anew.
    pub(crate) fn drop_walk(&self, key: &Key) {
        let gone: Vec<Kept> = self.entries.lock().extract_if(.., |kept| kept.key == *key).collect();
        drop(gone);
    }

    /// Drops all answers: something has been written.
    pub(crate) fn drop_all(&self) {
        let gone = std::mem::take(&mut *self.entries.lock());
        drop(gone);
    }

    /// The bytes of all kept answers.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.entries.lock().iter().map(|kept| kept.room.bytes).sum()
    }

    /// Drops what has outlived its time.
    fn drop_ended(&self, now: Instant) {
        let gone: Vec<Kept> = self.entries.lock().extract_if(.., |kept| kept.until <= now).collect();
        drop(gone);
    }

    /// Puts an answer in the place of what has the same key. The client's oldest ones give way to it, those of others do not.
    fn put(&self, new: Kept) {
        let mut entries = self.entries.lock();
        let mut gone: Vec<Kept> = entries.extract_if(.., |kept| kept.key == new.key).collect();
        let is_own = |kept: &Kept| kept.client == new.client;
        let (mut own, mut bytes) = entries
            .iter()
            .filter(|kept| is_own(kept))
            .fold((1, new.room.bytes), |(count, bytes), kept| (count + 1, bytes + kept.room.bytes));
        let (most, most_bytes) = (MOST_ENTRIES / OF_A_CLIENT, self.memory.most / OF_A_CLIENT);
        while (own > most || bytes > most_bytes || entries.len() >= MOST_ENTRIES)
            && let Some(oldest) = entries.iter().position(is_own)
        {
            let oldest = entries.remove(oldest);
            (own, bytes) = (own - 1, bytes - oldest.room.bytes);
            gone.push(oldest);
        }
        if entries.len() < MOST_ENTRIES {
            entries.push(new);
        }
        drop(entries);
        drop(gone);
    }
}

impl Collected {
    /// Takes a piece of the body. False where there is no room for it: then nothing is kept.
    #[must_use]
    pub(crate) fn push(&mut self, piece: &Bytes) -> bool {
        let has_room = self.room.grow(piece.len());
        if has_room {
            self.pieces.push(piece.clone());
        }
        has_room
    }

    /// Keeps the answer, which is whole, unless something has been written since it was asked for.
    pub(crate) fn keep(self, head: ResponseHeader, now: Instant) {
        let Self { pages, key, client, writes, pieces, room } = self;
        let (Some(time), Ok(runtime)) = (pages.time, Handle::try_current()) else { return };
        let mut body = Zeroizing::new(Vec::with_capacity(room.bytes));
        for piece in pieces {
            body.extend_from_slice(&piece);
        }
        let answer = Arc::new(SharedAnswer { head, body: Bytes::from_owner(body) });
        pages.put(Kept { key, client, until: now + time, answer, room });
        // One that is noted from now on drops it.
        if pages.writes.get() != writes {
            pages.drop_all();
            return;
        }
        let pages: Weak<KeptPages> = Arc::downgrade(&pages);
        runtime.spawn(async move {
            tokio::time::sleep_until((now + time).into()).await;
            if let Some(pages) = pages.upgrade() {
                pages.drop_ended(Instant::now());
            }
        });
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // It has the ids and names that were asked for. The body is overwritten by the last that reads it.
        self.key.zeroize();
    }
}

opaque!(KeptPages Collected);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
