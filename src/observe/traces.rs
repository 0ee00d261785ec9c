//! The requests whose spans wait to be sent. On a request's way this is one attempt to put it into a bounded queue; what finds no room
//! has no spans, and is counted.
//!
//! Decision: `docs/decisions/54-opentelemetry.md`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::finished_request::{Course, FinishedRequest};
use super::request_record::RequestRecord;

/// The most requests that wait.
const MOST: usize = 4096;

static QUEUE: OnceLock<Sender<FinishedRequest>> = OnceLock::new();
/// Requests whose spans were never sent, since the start.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Opens the queue. `None` where it is open already: there is one for each process.
#[must_use]
pub(crate) fn open() -> Option<Receiver<FinishedRequest>> {
    let (sender, receiver) = channel(MOST);
    QUEUE.set(sender).ok().map(|()| receiver)
}

/// Queues the spans of a request that is recorded; never waits.
pub(crate) fn hand_over(record: &RequestRecord<'_>, course: &Course) {
    let Some(queue) = QUEUE.get() else { return };
    match queue.try_reserve() {
        Ok(room) => room.send(FinishedRequest::new(record, course)),
        Err(_) => note_lost(1),
    }
}

/// Counts requests whose spans are not sent.
pub(crate) fn note_lost(count: usize) {
    LOST.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Returns how many requests have no spans at the collector although they were recorded, since the start.
#[must_use]
pub(crate) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}
