//! A table of rate limiters: the state of each key that was seen of late, in memory that never grows.
//!
//! A state is the time at which the key's bucket will be full again (the theoretical arrival time of GCRA, the generic cell rate
//! algorithm). A key has its place in one of eight slots. When all of them are taken, the state whose bucket is full first goes: where
//! it is full already, nothing is lost. A state that goes before that is counted.
//!
//! A key that has a slot is looked up, tested and counted without a lock. One that has none takes the lock of its set, so that no key
//! ever has two slots.
//!
//! Decision: `docs/decisions/45-rate-limits.md`.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

use crate::limits::admission::{Admission, nanos};
use crate::limits::rate::Quota;
use crate::limits::subject::Key;

/// How many slots a key can have.
const WAYS: usize = 8;
/// How many locks there are for keys without a slot.
const LOCKS: usize = 64;
/// The key of a slot that is free, or about to be given to another key.
const NOBODY: u64 = 0;

/// The states of many keys.
#[derive(Debug)]
pub(crate) struct RateTable {
    sets: Box<[Set]>,
    newcomers: [Mutex<()>; LOCKS],
    evicted: AtomicU64,
}

/// The slots that a key can have: two cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Slot; WAYS]);

/// The state of one key.
#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    /// When the bucket is full again, in nanoseconds since the table's beginning.
    full_at: AtomicU64,
}

impl RateTable {
    /// A table of about so many slots: at least those of one set.
    #[must_use]
    pub(crate) fn new(slots: usize) -> Self {
        let sets = std::iter::repeat_with(Set::default).take(slots.div_ceil(WAYS).max(1));
        Self { sets: sets.collect(), newcomers: [const { Mutex::new(()) }; LOCKS], evicted: AtomicU64::new(0) }
    }

    /// How many states went before their buckets were full.
    #[must_use]
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Decides on a request of a key, and counts it if it is admitted. `now`: since the table's beginning.
    ///
    /// The state does not depend on the quota. Where that has changed, the key has at most as much to wait for as if it had just used
    /// the whole of the new one.
    #[must_use]
    pub(crate) fn admit(&self, key: Key, quota: Quota, now: Duration) -> Admission {
        let (now, window) = (nanos(now), nanos(quota.window()));
        let states = States { table: self, now, latest: now.saturating_add(window), full_at: Cell::new(now) };
        let limiter = RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota.cells(), states, At(Cell::new(0)));
        limiter.clock().0.set(now);
        let refused = limiter.check_key(&key).err();
        let is_admitted = refused.is_none();
        let full_at = limiter.into_state_store().full_at.get();
        Admission::of(quota, is_admitted, Duration::from_nanos(full_at.saturating_sub(now)))
    }

    /// What [`RateTable::admit`] would decide, without counting the request.
    #[must_use]
    pub(crate) fn look(&self, key: Key, quota: Quota, now: Duration) -> Admission {
        let (now, window) = (nanos(now), nanos(quota.window()));
        let slot = self.set_of(key).and_then(|set| set.slot_of(key));
        // As in an update: the key is looked at after the time.
        let full_at = slot.and_then(|slot| {
            let full_at = slot.full_at.load(Ordering::Acquire);
            slot.is_of(key).then_some(full_at)
        });
        let missing = full_at.map_or(0, |full_at| full_at.saturating_sub(now)).min(window);
        let is_admitted = missing.saturating_add(nanos(quota.interval())) <= window;
        Admission::of(quota, is_admitted, Duration::from_nanos(missing))
    }

    /// The slots that a key can have.
    fn set_of(&self, key: Key) -> Option<&Set> {
        self.sets.get(self.place_of(key))
    }

    fn place_of(&self, key: Key) -> usize {
        usize::try_from(key.number() % self.sets.len() as u64).unwrap_or_default()
    }

    /// Replaces the state of a key by what `decide` makes of it, along with the decision. `now` tells which states are worth nothing
    /// any more.
    fn update<T>(&self, key: Key, now: u64, decide: impl Fn(Option<u64>) -> (T, u64)) -> T {
        let at = self.place_of(key);
        loop {
            let Some(set) = self.set_of(key) else { return decide(None).0 };
            let decided = match set.slot_of(key) {
                Some(slot) => slot.update(key, &decide),
                None => self.take_in(set, at, key, now, &decide),
            };
            if let Some(decided) = decided {
                return decided;
            }
        }
    }

    /// Gives a slot to a key that has none. `None`: it has one by now.
    fn take_in<T>(&self, set: &Set, at: usize, key: Key, now: u64, decide: impl Fn(Option<u64>) -> (T, u64)) -> Option<T> {
        let _turn = self.newcomers.get(at % LOCKS)?.lock();
        if set.slot_of(key).is_some() {
            return None;
        }
        let slot = set.first_full()?;
        let (decided, full_at) = decide(None);
        // Whoever still counts a request of the former key finds another time, or another key, and looks again.
        let former = slot.key.swap(NOBODY, Ordering::AcqRel);
        let was_full_at = slot.full_at.swap(full_at, Ordering::AcqRel);
        slot.key.store(key.number(), Ordering::Release);
        if former != NOBODY && was_full_at > now {
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        Some(decided)
    }
}

impl Set {
    fn slot_of(&self, key: Key) -> Option<&Slot> {
        self.0.iter().find(|slot| slot.is_of(key))
    }

    /// A free slot, or the one whose bucket is full first.
    fn first_full(&self) -> Option<&Slot> {
        self.0.iter().min_by_key(|slot| match slot.key.load(Ordering::Relaxed) {
            NOBODY => 0,
            _ => slot.full_at.load(Ordering::Relaxed),
        })
    }
}

impl Slot {
    fn is_of(&self, key: Key) -> bool {
        self.key.load(Ordering::Acquire) == key.number()
    }

    /// Replaces the state of this slot's key. `None`: the slot is another key's by now.
    ///
    /// The key is looked at after the time, which is written before a new key: a time that was read is the key's own. Should the
    /// slot change hands after that and the new key's time be equal to the nanosecond, one request is counted for the new key.
    fn update<T>(&self, key: Key, decide: impl Fn(Option<u64>) -> (T, u64)) -> Option<T> {
        let mut full_at = self.full_at.load(Ordering::Acquire);
        loop {
            if !self.is_of(key) {
                return None;
            }
            let (decided, next) = decide(Some(full_at));
            if next == full_at {
                return Some(decided);
            }
            match self.full_at.compare_exchange_weak(full_at, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(decided),
                Err(newer) => full_at = newer,
            }
        }
    }
}

/// The table as the arithmetic sees it, for one request.
struct States<'t> {
    table: &'t RateTable,
    now: u64,
    /// The latest time at which a bucket of this quota can be full.
    latest: u64,
    /// When the bucket is full: what was decided on.
    full_at: Cell<u64>,
}

impl StateStore for States<'_> {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.table.update(*key, self.now, |full_at| {
            let known = full_at.map(|full_at| full_at.min(self.latest));
            let (measured, next) = match measure(known.map(Nanos::new)) {
                Ok((admitted, next)) => (Ok(admitted), next.as_u64()),
                // A refusal changes nothing but what is left of another quota.
                Err(refused) => (Err(refused), known.unwrap_or(self.now)),
            };
            self.full_at.set(next);
            (measured, next)
        })
    }
}

/// A clock that stands still, and is set.
#[derive(Debug)]
struct At(Cell<u64>);

impl Clock for At {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get())
    }
}

#[cfg(test)]
mod tests;
