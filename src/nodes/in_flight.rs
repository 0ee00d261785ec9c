//! The limit on requests in flight at one site, and the wait queue in front of it: OpenEMR is PHP, each request occupies
//! one of a few dozen workers, and beyond those it only gets slower.
//!
//! A [`Semaphore`] gives out the permits, in the order of arrival: a permit that is given back while requests wait goes to
//! the first of them without being free in between, so that no newcomer overtakes. What is added here is the bound of the
//! queue, the time after which a waiting request gets no permit, and that no client gets more than its share of either: a
//! request waits for a permit of its client's first.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
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
    shares: Box<[Share]>,
    clients: RandomState,
}

/// What one client may have at once; clients that fall into the same share, by chance, have it together.
#[derive(Debug)]
struct Share {
    permits: Arc<Semaphore>,
    waiting: AtomicU32,
}

/// How many shares there are for clients. Behind them is that of the gateway's own requests, which is all.
const SHARES: usize = 256;

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
    // Given back after the other: the client's next request is behind those that wait already.
    _of_client: OwnedSemaphorePermit,
}

/// A place in the wait queue, left when dropped.
pub(crate) struct Ticket {
    permit: Acquisition,
    deadline: Instant,
    _waiting: Waiting,
}

type Acquisition = Pin<Box<dyn Future<Output = Result<Permit, AcquireError>> + Send>>;

/// Counts a request in the wait queue.
#[derive(Debug)]
struct Waiting {
    in_flight: Arc<InFlight>,
    share: usize,
}

impl InFlight {
    /// A limit with nothing in flight.
    #[must_use]
    pub(crate) fn new(limit: InFlightLimit) -> Self {
        let semaphore = |permits: u32| Arc::new(Semaphore::new(permits as usize));
        let share = || Share { permits: semaphore(limit.most_of_a_client()), waiting: AtomicU32::new(0) };
        let own = Share { permits: semaphore(limit.most), waiting: AtomicU32::new(0) };
        Self {
            limit,
            permits: semaphore(limit.most),
            waiting: AtomicU32::new(0),
            shares: std::iter::repeat_with(share).take(SHARES).chain([own]).collect(),
            clients: RandomState::new(),
        }
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

    /// Takes a permit for this client, or a place in the queue until `now` + `queue_timeout`. Clients without an address are one.
    pub(crate) fn enter(self: &Arc<Self>, client: Option<IpAddr>, now: Instant) -> Entry {
        self.enter_queue(self.share_of(client), now, [self.limit.queue, self.limit.queue_of_a_client()])
    }

    /// The same for a request of the gateway's own.
    pub(crate) fn enter_own(self: &Arc<Self>, now: Instant) -> Entry {
        self.enter_queue(SHARES, now, [self.limit.queue; 2])
    }

    /// The same for a request that was in flight before: for it the queue is never full. There are never more of these than
    /// may be in flight.
    pub(crate) fn return_to(self: &Arc<Self>, client: Option<IpAddr>, now: Instant) -> Entry {
        self.enter_queue(self.share_of(client), now, [u32::MAX; 2])
    }

    fn enter_queue(self: &Arc<Self>, at: usize, now: Instant, longest: [u32; 2]) -> Entry {
        let Some(share) = self.shares.get(at) else { return Entry::Full };
        if let Ok(of_client) = Arc::clone(&share.permits).try_acquire_owned()
            && let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
        {
            return Entry::Admitted(Permit { _permit: permit, _of_client: of_client });
        }
        let Some(waiting) = Waiting::join(self, at, longest) else { return Entry::Full };
        let (all, of_client) = (Arc::clone(&self.permits), Arc::clone(&share.permits));
        let mut permit: Acquisition = Box::pin(async move {
            let of_client = of_client.acquire_owned().await?;
            Ok(Permit { _permit: all.acquire_owned().await?, _of_client: of_client })
        });
        // The first poll joins the semaphore's queue: the place is that of the arrival, not of the first wait.
        match permit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            // A request has ended since.
            Poll::Ready(Ok(permit)) => Entry::Admitted(permit),
            Poll::Ready(Err(_)) => Entry::Full,
            Poll::Pending => Entry::Queued(Ticket { permit, deadline: now + self.limit.queue_timeout, _waiting: waiting }),
        }
    }

    /// The share of a client. One client has a whole network of IPv6: the first 64 bits.
    fn share_of(&self, client: Option<IpAddr>) -> usize {
        let client = match client {
            Some(IpAddr::V6(address)) => u128::from(address) >> 64 << 64,
            Some(IpAddr::V4(address)) => u128::from(u32::from(address)) + 1,
            None => 0,
        };
        self.clients.hash_one(client) as usize % SHARES
    }
}

impl Waiting {
    /// Joins the queue and the client's part of it, unless one of them is that long already.
    fn join(in_flight: &Arc<InFlight>, share: usize, [longest, longest_of_client]: [u32; 2]) -> Option<Self> {
        let one_more = |waiting: &AtomicU32, longest: u32| {
            let joined = |waiting: u32| (waiting < longest).then_some(waiting + 1);
            waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, joined).is_ok()
        };
        let of_client = &in_flight.shares.get(share)?.waiting;
        if !one_more(of_client, longest_of_client) {
            return None;
        }
        if !one_more(&in_flight.waiting, longest) {
            of_client.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Self { in_flight: Arc::clone(in_flight), share })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.in_flight.waiting.fetch_sub(1, Ordering::AcqRel);
        if let Some(share) = self.in_flight.shares.get(self.share) {
            share.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Ticket {
    /// Waits for a permit; `None` when `queue_timeout` is over. Dropping it leaves the queue.
    pub(crate) async fn permit(mut self) -> Option<Permit> {
        let permit = tokio::time::timeout_at(self.deadline.into(), self.permit.as_mut()).await.ok()?.ok()?;
        self.accept(permit, Instant::now())
    }

    /// A permit that came too late, because a timer was late, goes to the next in the queue.
    fn accept(&self, permit: Permit, now: Instant) -> Option<Permit> {
        (now < self.deadline).then_some(permit)
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
