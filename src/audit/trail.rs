//! The way of records from those who make them to the thread that writes them.
//!
//! A record is handed over with one try and without waiting. Whoever answers a client closes the gate of its connection with it, so
//! that the end of the answer leaves when the record is written.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::doorbell::{Doorbell, RingsAtEnd};
use super::gate::Gate;
use super::posting::{Posting, PostingHealth};
use super::record::Record;

/// The most records that wait to be written.
const MOST: usize = 16 * 1024;
/// The most bytes of records that wait, roughly.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// The most records that are written at once.
const BATCH: usize = 1024;
/// From this many bytes on a batch takes no more records.
const BATCH_BYTES: usize = 1024 * 1024;

/// Where records are handed over.
#[derive(Debug)]
pub(crate) struct Trail {
    open: Option<Open>,
    /// Where a repository gets the records, too.
    posting: OnceLock<Arc<Posting>>,
}

#[derive(Debug)]
struct Open {
    queue: SyncSender<Queued>,
    /// Behind the queue, which has to end first.
    bell: RingsAtEnd,
    shared: Arc<Shared>,
    /// Whether nothing may be answered that is not recorded.
    required: bool,
    takes_queries: bool,
}

/// A record that waits to be written.
#[derive(Debug)]
struct Queued {
    record: Box<Record>,
    size: usize,
    gate: Option<Arc<Gate>>,
}

/// What those who hand over, the writer and its watch share.
#[derive(Debug)]
pub(crate) struct Shared {
    required: bool,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    written: AtomicU64,
    lost: AtomicU64,
    /// How many batches the writer is done with.
    batches: AtomicU64,
    /// Whether the latest batch was written, and there is room for those to come.
    is_ready: AtomicBool,
    released: Arc<AtomicBool>,
    gates: Mutex<Gates>,
}

/// The gates of all open connections, and some of closed ones.
#[derive(Debug, Default)]
struct Gates {
    all: Vec<Weak<Gate>>,
    sweep_at: usize,
}

/// What is known of the trail at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Health {
    /// Records written since the start.
    pub(crate) written: u64,
    /// Records lost since the start.
    pub(crate) lost: u64,
    /// Whether the next record can be written, as far as is known.
    pub(crate) is_ready: bool,
}

/// The other end: what was handed over, in batches.
#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Receiver<Queued>,
    bell: Arc<Doorbell>,
    shared: Arc<Shared>,
    gates: Vec<Option<Arc<Gate>>>,
    bytes: usize,
}

impl Trail {
    /// A trail that keeps nothing.
    #[must_use]
    pub(crate) fn off() -> Arc<Self> {
        Arc::new(Self { open: None, posting: OnceLock::new() })
    }

    /// A trail, and where its records come out. `required`: what is not recorded is not answered. `takes_queries`: whether a sink
    /// wants what was searched for.
    #[must_use]
    pub(crate) fn new(required: bool, takes_queries: bool) -> (Arc<Self>, Inbox) {
        let (queue, received) = sync_channel(MOST);
        let shared = Arc::new(Shared {
            required,
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            is_ready: AtomicBool::new(true),
            released: Arc::default(),
            gates: Mutex::default(),
        });
        let bell = Arc::<Doorbell>::default();
        let open = Open { queue, bell: RingsAtEnd(Arc::clone(&bell)), shared: Arc::clone(&shared), required, takes_queries };
        (
            Arc::new(Self { open: Some(open), posting: OnceLock::new() }),
            Inbox { queue: received, bell, shared, gates: Vec::new(), bytes: 0 },
        )
    }

    /// Whether records are kept.
    #[must_use]
    pub(crate) fn is_on(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a record is to have the query.
    #[must_use]
    pub(crate) fn takes_queries(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.takes_queries)
    }

    /// Whether a request may be served: one that could not be recorded must not be where that is required. Costs one load.
    #[must_use]
    pub(crate) fn may_serve(&self) -> bool {
        self.open.as_ref().is_none_or(|open| !open.required || open.shared.is_ready.load(Ordering::Relaxed))
    }

    /// The gate of a new connection; `None` where nothing is recorded.
    #[must_use]
    pub(crate) fn gate(&self) -> Option<Arc<Gate>> {
        let shared = &self.open.as_ref()?.shared;
        let gate = Arc::new(Gate::new(Arc::clone(&shared.released)));
        shared.gates.lock().add(&gate);
        Some(gate)
    }

    /// Hands a record over. Nothing is written to the connection of `gate` until it is written, or lost and not required.
    pub(crate) fn record(&self, record: Record, gate: Option<&Arc<Gate>>) {
        let Some(Open { queue, bell, shared, .. }) = &self.open else { return };
        let size = record.size();
        if let Some(gate) = gate {
            gate.close();
        }
        let queued = Queued { record: Box::new(record), size, gate: gate.cloned() };
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        let before = shared.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let is_full = before > 0 && before.saturating_add(size) > MOST_BYTES;
        let refused = match is_full {
            true => Some(queued),
            false => match queue.try_send(queued) {
                Ok(()) => {
                    bell.0.ring();
                    None
                }
                Err(TrySendError::Full(queued) | TrySendError::Disconnected(queued)) => Some(queued),
            },
        };
        if let Some(queued) = refused {
            shared.set_ready(false);
            shared.ended(1, size, false);
            if let Some(gate) = queued.gate {
                gate.open(!shared.required);
            }
        }
    }

    /// Makes known how posting to a repository goes.
    pub(crate) fn set_posting(&self, posting: Arc<Posting>) {
        let _ = self.posting.set(posting);
    }

    /// What is known of posting to a repository; `None` where there is none.
    #[must_use]
    pub(crate) fn posting(&self) -> Option<PostingHealth> {
        self.posting.get().map(|posting| posting.health())
    }

    /// Counts a record that was not handed over.
    pub(crate) fn lose(&self) {
        if let Some(open) = &self.open {
            open.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is known of the trail; `None` where there is none.
    #[must_use]
    pub(crate) fn health(&self) -> Option<Health> {
        self.open.as_ref().map(|open| open.shared.health())
    }
}

impl Gates {
    fn add(&mut self, gate: &Arc<Gate>) {
        if self.all.len() >= self.sweep_at {
            self.all.retain(|gate| gate.strong_count() > 0);
            self.sweep_at = (2 * self.all.len()).max(64);
        }
        self.all.push(Arc::downgrade(gate));
    }
}

impl Shared {
    /// What is known at this moment.
    #[must_use]
    pub(crate) fn health(&self) -> Health {
        Health {
            written: self.written.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            is_ready: self.is_ready.load(Ordering::Relaxed),
        }
    }

    /// How many batches the writer is done with, and whether records wait for it.
    #[must_use]
    pub(crate) fn progress(&self) -> (u64, bool) {
        (self.batches.load(Ordering::Acquire), self.waiting.load(Ordering::Acquire) > 0)
    }

    /// Says whether records can be written.
    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Opens every gate while `is_stalled`, unless records are required: a writer that is stuck stops nobody else.
    pub(crate) fn stalled(&self, is_stalled: bool) {
        if is_stalled {
            self.set_ready(false);
        }
        if !self.required {
            self.released.store(is_stalled, Ordering::SeqCst);
            if is_stalled {
                let gates = self.gates.lock().all.clone();
                gates.iter().filter_map(Weak::upgrade).for_each(|gate| gate.wake());
            }
        }
    }

    fn ended(&self, records: usize, bytes: usize, are_written: bool) {
        let count = u64::try_from(records).unwrap_or(u64::MAX);
        let ended = if are_written { &self.written } else { &self.lost };
        ended.fetch_add(count, Ordering::Relaxed);
        self.waiting.fetch_sub(records, Ordering::AcqRel);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Inbox {
    /// What those who hand over see.
    #[must_use]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits for records, this long at most, and puts all that wait into `batch`, which has been emptied. False once all who hand
    /// over are gone.
    pub(crate) fn take(&mut self, batch: &mut Vec<Record>, within: Duration) -> bool {
        batch.clear();
        self.gates.clear();
        self.bytes = 0;
        let first = self.bell.wait(within, || match self.queue.try_recv() {
            Err(TryRecvError::Empty) => None,
            found => Some(found),
        });
        match first {
            Some(Ok(first)) => self.add(first, batch),
            Some(Err(_)) => return false,
            None => return true,
        }
        while batch.len() < BATCH
            && self.bytes < BATCH_BYTES
            && let Ok(queued) = self.queue.try_recv()
        {
            self.add(queued, batch);
        }
        true
    }

    fn add(&mut self, queued: Queued, batch: &mut Vec<Record>) {
        self.bytes += queued.size;
        self.gates.push(queued.gate);
        batch.push(*queued.record);
    }

    /// Says what became of the batch that was taken last, and opens the gates of its records.
    pub(crate) fn done(&mut self, are_written: bool) {
        self.shared.ended(self.gates.len(), self.bytes, are_written);
        self.shared.batches.fetch_add(1, Ordering::Release);
        let is_kept = are_written || !self.shared.required;
        self.gates.drain(..).flatten().for_each(|gate| gate.open(is_kept));
        self.bytes = 0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audit::record::Kind;
    use std::task::{Context, Poll, Waker};

    const SOON: Duration = Duration::from_millis(1);

    fn record() -> Record {
        Record::new(Kind::Request, jiff::Timestamp::UNIX_EPOCH)
    }

    fn state(gate: &Gate) -> Option<bool> {
        match gate.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => None,
            Poll::Ready(state) => Some(state.is_ok()),
        }
    }

    #[test]
    fn a_gate_opens_when_its_record_is_written() {
        let (trail, mut inbox) = Trail::new(false, false);
        let gate = trail.gate().unwrap();
        trail.record(record(), Some(&gate));
        assert_eq!(state(&gate), None);
        let mut batch = Vec::new();
        assert!(inbox.take(&mut batch, SOON));
        assert_eq!((batch.len(), state(&gate)), (1, None));
        inbox.done(true);
        assert_eq!(state(&gate), Some(true));
        assert_eq!(trail.health().unwrap(), Health { written: 1, lost: 0, is_ready: true });
    }

    #[test]
    fn what_is_lost_is_counted_and_ends_an_answer_only_where_records_are_required() {
        for (required, expected) in [(false, true), (true, false)] {
            let (trail, mut inbox) = Trail::new(required, false);
            let gate = trail.gate().unwrap();
            trail.record(record(), Some(&gate));
            inbox.take(&mut Vec::new(), SOON);
            inbox.done(false);
            assert_eq!(state(&gate), Some(expected), "{required}");
            assert_eq!(trail.health().unwrap().lost, 1);
        }
    }

    #[test]
    fn a_queue_that_nobody_empties_is_bounded_and_what_does_not_fit_is_lost_at_once() {
        let (trail, mut inbox) = Trail::new(false, false);
        let gate = trail.gate().unwrap();
        for _ in 0..MOST + 5 {
            trail.record(record(), None);
        }
        trail.record(record(), Some(&gate));
        assert_eq!((state(&gate), trail.health().unwrap().lost), (Some(true), 6));
        let (mut batch, mut taken) = (Vec::new(), 0);
        while taken < MOST {
            assert!(inbox.take(&mut batch, SOON) && !batch.is_empty());
            taken += batch.len();
            inbox.done(true);
        }
        let health = trail.health().unwrap();
        assert_eq!((health.written, health.lost), (MOST as u64, 6));
        assert!(!inbox.shared().progress().1);
    }

    #[test]
    fn long_records_are_bounded_by_their_bytes() {
        let (trail, _inbox) = Trail::new(false, false);
        let long = Record { patients: vec!["x".repeat(1024 * 1024).into(); 20], ..record() };
        for _ in 0..5 {
            trail.record(long.clone(), None);
        }
        assert_eq!(trail.health().unwrap().lost, 2);
    }

    #[test]
    fn a_writer_that_is_stuck_holds_nobody_unless_records_are_required() {
        for (required, expected) in [(false, Some(true)), (true, None)] {
            let (trail, inbox) = Trail::new(required, false);
            let gate = trail.gate().unwrap();
            trail.record(record(), Some(&gate));
            inbox.shared().stalled(true);
            assert_eq!(state(&gate), expected);
            assert_eq!(trail.may_serve(), !required);
            inbox.shared().stalled(false);
            assert_eq!(state(&gate), None);
        }
    }

    #[test]
    fn the_gates_of_closed_connections_are_forgotten() {
        let (trail, inbox) = Trail::new(false, false);
        let kept: Vec<_> = (0..10).map(|_| trail.gate()).collect();
        for _ in 0..10_000 {
            let _ = trail.gate();
        }
        assert!(inbox.shared().gates.lock().all.len() <= 64 + kept.len());
    }

    #[test]
    fn without_a_trail_nothing_is_kept_and_everything_served() {
        let trail = Trail::off();
        trail.record(record(), None);
        assert!(!trail.is_on() && trail.may_serve() && trail.gate().is_none() && trail.health().is_none());
    }
}
