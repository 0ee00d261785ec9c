//! Turns: of the requests with one key, one at a time goes on. It orders the conditional creates of this process; other
//! processes have turns of their own.
//!
//! Decision: `docs/decisions/33-conditional-create.md`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as Waiting, OwnedMutexGuard};

/// How long the next request still waits after one whose answer did not come: OpenEMR may be at work on it.
const LINGER: Duration = Duration::from_secs(3);

/// What requests are told apart by. A digest: it says nothing about a patient.
pub(crate) type Key = [u8; 32];

/// The turns of one site.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Key, Weak<Waiting<()>>>>);

/// The turn of one request, until it is dropped.
pub(crate) struct Turn {
    guard: Option<OwnedMutexGuard<()>>,
    is_open: bool,
}

impl Turns {
    /// Waits for the turn of a request: those before it come first. A request that stops waiting gives its place up.
    pub(crate) async fn take(&self, key: Key) -> Turn {
        let waiting = self.waiting(key);
        Turn { guard: Some(waiting.lock_owned().await), is_open: false }
    }

    fn waiting(&self, key: Key) -> Arc<Waiting<()>> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, waiting| waiting.strong_count() > 0);
        let new = Arc::default();
        all.insert(key, Arc::downgrade(&new));
        new
    }
}

impl Turn {
    /// Notes that the request is sent, and that its answer is open.
    pub(crate) fn note_sent(&mut self) {
        self.is_open = true;
    }

    /// Notes that its answer has come.
    pub(crate) fn note_answered(&mut self) {
        self.is_open = false;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (true, Some(guard), Ok(runtime)) = (self.is_open, self.guard.take(), Handle::try_current()) {
            runtime.spawn(async move {
                tokio::time::sleep(LINGER).await;
                drop(guard);
            });
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// The turn, if it is this request's at once.
    fn at_once(turns: &Turns, key: Key) -> Option<Turn> {
        match pin!(turns.take(key)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_at_a_time_for_one_key() {
        let turns = Turns::default();
        let first = at_once(&turns, [1; 32]);
        assert!(first.is_some());
        assert!(at_once(&turns, [2; 32]).is_some(), "another key waits for nobody");
        assert!(at_once(&turns, [1; 32]).is_none());
        drop(first);
        assert!(at_once(&turns, [1; 32]).is_some(), "one that stopped waiting gave its place up");
        assert!(at_once(&turns, [3; 32]).is_some());
        assert!(turns.0.lock().len() <= 2, "what nobody waits for is forgotten");
    }

    #[tokio::test]
    async fn an_open_answer_keeps_the_next_one_waiting() {
        let turns = Turns::default();
        for (is_answered, is_free) in [(false, false), (true, true)] {
            let key = [u8::from(is_answered); 32];
            let mut first = turns.take(key).await;
            first.note_sent();
            if is_answered {
                first.note_answered();
            }
            drop(first);
            assert_eq!(at_once(&turns, key).is_some(), is_free);
        }
    }
}
