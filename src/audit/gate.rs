//! What holds the end of an answer back until its record is written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

/// The gate of one client's connection. While a record of a request on it is due, nothing is written to the client.
///
/// Nobody waits in a thread: the connection's task is woken when the gate opens.
#[derive(Debug)]
pub(crate) struct Gate {
    /// How many records were handed over.
    due: AtomicU64,
    /// How many of them are written, or lost.
    done: AtomicU64,
    /// Whether one that had to be written is lost.
    is_broken: AtomicBool,
    /// Whether all gates stand open, because nothing is written any more.
    released: Arc<AtomicBool>,
    waker: AtomicWaker,
}

impl Gate {
    /// An open gate. While `released` is true it does not close.
    #[must_use]
    pub(super) fn new(released: Arc<AtomicBool>) -> Self {
        Self {
            due: AtomicU64::new(0),
            done: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            released,
            waker: AtomicWaker::new(),
        }
    }

    /// Closes the gate for one more record.
    pub(super) fn close(&self) {
        self.due.fetch_add(1, Ordering::SeqCst);
    }

    /// Opens the gate for one record. `is_kept`: it is written, or may be lost.
    pub(super) fn open(&self, is_kept: bool) {
        if !is_kept {
            self.is_broken.store(true, Ordering::SeqCst);
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Lets the connection look again.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Whether bytes may be written to the client. Costs three loads while the gate is open.
    ///
    /// # Errors
    /// A record that had to be written is lost: the connection must end without them.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(state) = self.state() {
            return Poll::Ready(state);
        }
        self.waker.register(context.waker());
        // It may have opened before the waker was there.
        self.state().map_or(Poll::Pending, Poll::Ready)
    }

    /// `None` while it is closed.
    fn state(&self) -> Option<io::Result<()>> {
        if self.is_broken.load(Ordering::SeqCst) {
            return Some(Err(io::Error::other("what was answered could not be recorded")));
        }
        // In this order: a record that is handed over meanwhile closes the gate again.
        let done = self.done.load(Ordering::SeqCst);
        (self.due.load(Ordering::SeqCst) == done || self.released.load(Ordering::SeqCst)).then_some(Ok(()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Waker;

    fn gate() -> (Gate, Arc<AtomicBool>) {
        let released = Arc::new(AtomicBool::new(false));
        (Gate::new(Arc::clone(&released)), released)
    }

    fn is_open(gate: &Gate) -> bool {
        matches!(gate.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
    }

    #[test]
    fn a_gate_is_closed_while_any_of_its_records_is_due() {
        let (gate, _) = gate();
        assert!(is_open(&gate));
        gate.close();
        gate.close();
        assert!(!is_open(&gate));
        gate.open(true);
        assert!(!is_open(&gate));
        gate.open(true);
        assert!(is_open(&gate));
    }

    #[test]
    fn a_lost_record_ends_the_connection_and_a_release_lets_it_go_on() {
        let (broken, _) = gate();
        broken.close();
        broken.open(false);
        assert!(matches!(broken.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_))));
        let (gate, released) = gate();
        gate.close();
        released.store(true, Ordering::SeqCst);
        assert!(is_open(&gate));
        released.store(false, Ordering::SeqCst);
        assert!(!is_open(&gate));
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let gate = Arc::new(gate().0);
        gate.close();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { poll_fn(|context| gate.poll(context)).await }
        });
        tokio::task::yield_now().await;
        std::thread::spawn(move || gate.open(true)).join().unwrap();
        waiting.await.unwrap().unwrap();
    }
}
