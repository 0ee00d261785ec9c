//! The lifecycle of the process: whether it serves, drains or accepts no more connections, and how many requests are in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

/// The lifecycle of the process, shared by everything that depends on it.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    is_draining: AtomicBool,
    draining: watch::Sender<bool>,
    is_closed: AtomicBool,
    in_flight: AtomicUsize,
    connections: AtomicUsize,
    /// Set when draining begins.
    ends_by: Mutex<Option<Instant>>,
}

impl Lifecycle {
    /// Whether the process drains: it still serves requests, but callers should send no more.
    #[must_use]
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Begins to drain. The process ends after `within` at the latest.
    pub(crate) fn drain(&self, within: Duration) {
        // A duration that the clock cannot hold means no deadline.
        *self.ends_by.lock() = Instant::now().checked_add(within);
        self.is_draining.store(true, Ordering::Relaxed);
        self.draining.send_replace(true);
    }

    /// Becomes true when the process begins to drain.
    #[must_use]
    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// When the process ends, whatever is still in flight; `None` before it drains, and when it may take any time.
    #[must_use]
    pub(crate) fn ends_by(&self) -> Option<Instant> {
        *self.ends_by.lock()
    }

    /// Notes that no more connections are accepted, and that those without a request have been closed.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Whether every request that this process will serve has begun.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Counts a request until the guard is dropped.
    #[must_use]
    pub(crate) fn request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Counts an HTTP/2 connection until the guard is dropped.
    #[must_use]
    pub(crate) fn connection(self: &Arc<Self>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// How many HTTP/2 connections are open.
    #[must_use]
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    /// How many requests are in flight.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

/// One request in flight.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Lifecycle>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

/// One open HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Open(Arc<Lifecycle>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_until_its_guard_is_gone() {
        let lifecycle = Arc::<Lifecycle>::default();
        let (one, two) = (lifecycle.request(), lifecycle.request());
        assert_eq!(lifecycle.in_flight(), 2);
        drop(one);
        drop(two);
        assert_eq!(lifecycle.in_flight(), 0);
    }

    #[test]
    fn an_endless_grace_period_is_no_deadline() {
        let lifecycle = Lifecycle::default();
        assert!(!lifecycle.is_draining());
        lifecycle.drain(Duration::MAX);
        assert!(lifecycle.is_draining() && lifecycle.ends_by().is_none());
        lifecycle.drain(Duration::from_secs(1));
        assert!(lifecycle.ends_by().is_some_and(|end| end > Instant::now()));
    }
}
