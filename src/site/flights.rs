//! Flights: identical requests that are at OpenEMR at the same time share one of its answers.
//!
//! The first of them leads, the others follow. A flight can be joined until the head of OpenEMR's answer has come; it is in the
//! registry for as long as it can be joined, and what it holds lives no longer than its leader and its followers. The registry is an
//! array of fixed size without a lock: two different requests that meet in a slot do not share, and the later one goes alone.
//!
//! Decision: `docs/decisions/46-asked-once.md`.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use tokio::sync::Notify;
use zeroize::Zeroize as _;

/// The slots of a registry. With 32 requests at OpenEMR, three in a hundred meet another one in their slot.
const SLOTS: usize = 1024;
/// How often a request looks again into a slot that others are changing.
const TRIES: usize = 3;

/// What makes requests identical, as bytes. It holds what was asked for, and lives no longer than its flight.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Key(Vec<u8>);

/// OpenEMR's answer, as several requests get it.
#[derive(Debug)]
pub(crate) struct SharedAnswer {
    /// The head, with the fields of OpenEMR's that may go on.
    pub(crate) head: ResponseHeader,
    /// The body, decoded.
    pub(crate) body: Bytes,
}

/// How many writes have begun or ended at a site. A reload keeps it.
#[derive(Debug, Default)]
pub(crate) struct WriteCount(AtomicU64);

/// The flights of one site.
pub(crate) struct Flights {
    slots: Box<[ArcSwapOption<Flight>]>,
    hasher: RandomState,
    writes: Arc<WriteCount>,
}

/// What a request does.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It goes to OpenEMR, and others may follow it.
    Leader(Leader),
    /// It waits for the answer to another one.
    Follower(Follower),
    /// It goes to OpenEMR for itself: its slot has the flight of another request.
    Alone,
}

/// The request of a flight that goes to OpenEMR. Dropped, it ends the flight without an answer.
pub(crate) struct Leader {
    flights: Arc<Flights>,
    slot: usize,
    flight: Arc<Flight>,
}

/// A flight that has followers, and whose answer is coming. Dropped, it ends the flight without one.
pub(crate) struct Landing(Arc<Flight>);

/// A request that waits for the answer to another one.
pub(crate) struct Follower(Arc<Flight>);

struct Flight {
    key: Key,
    state: AtomicUsize,
    /// `None` inside: the answer is not shared.
    outcome: OnceLock<Option<Arc<SharedAnswer>>>,
    ended: Notify,
}

/// In [`Flight::state`]: nobody can join any more.
const CLOSED: usize = 1;
/// In [`Flight::state`]: one follower.
const FOLLOWER: usize = 2;

impl Key {
    /// The key with these bytes.
    #[must_use]
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Overwrites it.
    pub(crate) fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl WriteCount {
    /// Notes that a write begins, or has ended.
    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// How many have.
    #[must_use]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Flights {
    /// A registry for a site with this count of writes.
    #[must_use]
    pub(crate) fn new(writes: Arc<WriteCount>) -> Self {
        Self::with_slots(SLOTS, writes)
    }

    fn with_slots(slots: usize, writes: Arc<WriteCount>) -> Self {
        Self { slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(), hasher: RandomState::new(), writes }
    }

    /// The count of writes. It is part of every key: who asks after a write was answered gets no answer from before it.
    #[must_use]
    pub(crate) fn writes(&self) -> &Arc<WriteCount> {
        &self.writes
    }

    /// Joins the flight with this key, or begins it.
    #[must_use]
    pub(crate) fn enter(self: &Arc<Self>, key: Key) -> Entry {
        let at = self.slot_of(&key);
        let Some(slot) = self.slots.get(at) else { return Entry::Alone };
        let new = Arc::new(Flight::new(key));
        for _ in 0..TRIES {
            let present = slot.load();
            if let Some(flight) = &*present {
                if flight.key == new.key && flight.join() {
                    return Entry::Follower(Follower(Arc::clone(flight)));
                }
                if !flight.is_closed() {
                    return Entry::Alone;
                }
            }
            let found = slot.compare_and_swap(&present, Some(Arc::clone(&new)));
            if is_same(found.as_ref(), present.as_ref()) {
                return Entry::Leader(Leader { flights: Arc::clone(self), slot: at, flight: new });
            }
        }
        Entry::Alone
    }

    fn slot_of(&self, key: &Key) -> usize {
        let slots = self.slots.len().max(1) as u64;
        usize::try_from(self.hasher.hash_one(key) % slots).unwrap_or_default()
    }

    /// Takes a flight out, unless another one is in its place by now.
    fn remove(&self, slot: usize, flight: &Arc<Flight>) {
        if let Some(slot) = self.slots.get(slot) {
            let _ = slot.compare_and_swap(flight, None);
        }
    }
}

fn is_same(one: Option<&Arc<Flight>>, other: Option<&Arc<Flight>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl Leader {
    /// Lets nobody join any more. `None`: nobody waits for the answer.
    #[must_use]
    pub(crate) fn close(self) -> Option<Landing> {
        let before = self.flight.state.fetch_or(CLOSED, Ordering::AcqRel);
        (before >= FOLLOWER).then(|| Landing(Arc::clone(&self.flight)))
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let before = self.flight.state.fetch_or(CLOSED, Ordering::AcqRel);
        self.flights.remove(self.slot, &self.flight);
        if before & CLOSED == 0 {
            self.flight.end(None);
        }
    }
}

impl Landing {
    /// Gives the answer to all who wait for it.
    pub(crate) fn land(self, answer: SharedAnswer) {
        self.0.end(Some(Arc::new(answer)));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.end(None);
    }
}

impl Follower {
    /// Waits for the answer. `None`: it is not shared, and this request has to ask for itself.
    pub(crate) async fn answer(self) -> Option<Arc<SharedAnswer>> {
        loop {
            let mut ended = std::pin::pin!(self.0.ended.notified());
            ended.as_mut().enable();
            if let Some(outcome) = self.0.outcome.get() {
                return outcome.clone();
            }
            ended.await;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.state.fetch_sub(FOLLOWER, Ordering::AcqRel);
    }
}

impl Flight {
    fn new(key: Key) -> Self {
        Self { key, state: AtomicUsize::new(0), outcome: OnceLock::new(), ended: Notify::new() }
    }

    /// Joins as a follower, unless it is too late for that.
    fn join(&self) -> bool {
        let more = |state: usize| (state & CLOSED == 0).then_some(state + FOLLOWER);
        self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn is_closed(&self) -> bool {
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Ends it, unless it has ended.
    fn end(&self, outcome: Option<Arc<SharedAnswer>>) {
        if self.outcome.set(outcome).is_ok() {
            self.ended.notify_waiters();
        }
    }
}

opaque!(Key Flights Leader Landing Follower);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
