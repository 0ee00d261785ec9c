//! The limit on requests in flight at one site, and the wait queue in front of it: OpenEMR is PHP, each request occupies
//! one of a few dozen workers, and beyond those it only gets slower.
//!
//! A [`Semaphore`] gives out the permits, in the order of arrival: a permit that is given back while requests wait goes to
//! the first of them without being free in between, so that no newcomer overtakes. What is added here is the bound of the
//! queue, and the time after which a waiting request gets no permit.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::config::InFlightLimit;

/// The limit and the wait queue of one site.
#[derive(Debug)]
pub(crate) struct InFlight {
    limit: InFlightLimit,
    permits: Arc<Semaphore>,
    waiting: AtomicU32,
}

/// What became of a request that asked for a permit.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It has one.
    Admitted(Permit),
    /// It waits in the queue.
    Queued(Ticket),
    /// The queue is full.
    Full,
}

/// A permit to be in flight, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
}

/// A place in the wait queue, left when dropped.
pub(crate) struct Ticket {
    permit: Acquisition,
    deadline: Instant,
    _waiting: Waiting,
}

type Acquisition = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// Counts a request in the wait queue.
#[derive(Debug)]
struct Waiting(Arc<InFlight>);

impl InFlight {
    /// A limit with nothing in flight.
    #[must_use]
    pub(crate) fn new(limit: InFlightLimit) -> Self {
        Self { limit, permits: Arc::new(Semaphore::new(limit.most as usize)), waiting: AtomicU32::new(0) }
    }

    /// The limit.
    #[must_use]
    pub(crate) fn limit(&self) -> InFlightLimit {
        self.limit
    }

    /// How many are in flight, and how many wait.
    #[cfg(test)]
    fn counts(&self) -> (u64, u64) {
        let free = self.permits.available_permits() as u64;
        (u64::from(self.limit.most).saturating_sub(free), u64::from(self.waiting.load(Ordering::Relaxed)))
    }

    /// Takes a permit, or a place in the queue until `now` + `queue_timeout`.
    pub(crate) fn enter(self: &Arc<Self>, now: Instant) -> Entry {
        self.enter_queue(now, self.limit.queue)
    }

    /// The same for a request that was in flight before: for it the queue is never full. There are never more of these than
    /// may be in flight.
    pub(crate) fn return_to(self: &Arc<Self>, now: Instant) -> Entry {
        self.enter_queue(now, u32::MAX)
    }

    fn enter_queue(self: &Arc<Self>, now: Instant, longest: u32) -> Entry {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Entry::Admitted(Permit { _permit: permit });
        }
        let joined = |waiting: u32| (waiting < longest).then_some(waiting + 1);
        if self.waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, joined).is_err() {
            return Entry::Full;
        }
        let waiting = Waiting(Arc::clone(self));
        let mut permit: Acquisition = Box::pin(Arc::clone(&self.permits).acquire_owned());
        // The first poll joins the semaphore's queue: the place is that of the arrival, not of the first wait.
        match permit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            // A request has ended since.
            Poll::Ready(Ok(permit)) => Entry::Admitted(Permit { _permit: permit }),
            Poll::Ready(Err(_)) => Entry::Full,
            Poll::Pending => Entry::Queued(Ticket { permit, deadline: now + self.limit.queue_timeout, _waiting: waiting }),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Ticket {
    /// Waits for a permit; `None` when `queue_timeout` is over. Dropping it leaves the queue.
    pub(crate) async fn permit(mut self) -> Option<Permit> {
        let permit = tokio::time::timeout_at(self.deadline.into(), self.permit.as_mut()).await.ok()?.ok()?;
        self.accept(permit, Instant::now())
    }

    /// A permit that came too late, because a timer was late, goes to the next in the queue.
    fn accept(&self, permit: OwnedSemaphorePermit, now: Instant) -> Option<Permit> {
        (now < self.deadline).then_some(Permit { _permit: permit })
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
