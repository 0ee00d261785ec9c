//! One fetch at a time: requests that want the same thing wait for one fetch of it, and none is begun right after one that failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

/// The fetches of one thing.
#[derive(Debug, Default)]
pub(super) struct SingleFetch(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Closed when the current fetch has ended.
    current: Option<watch::Receiver<()>>,
    /// When the latest fetch ended, if it failed.
    failed: Option<Instant>,
}

impl SingleFetch {
    /// Begins a fetch unless there is one already; gives what is closed at its end. `None` when the latest one has failed less than
    /// `pause` ago. A fetch says whether it went well, and goes on when the request that began it is given up.
    pub(super) fn begin<Fetch>(&self, pause: Duration, fetch: impl FnOnce() -> Fetch) -> Option<watch::Receiver<()>>
    where
        Fetch: Future<Output = bool> + Send + 'static,
    {
        let mut state = self.0.lock();
        if let Some(current) = &state.current {
            return Some(current.clone());
        }
        if state.failed.is_some_and(|at| at.elapsed() < pause) {
            return None;
        }
        let (ends, current) = watch::channel(());
        state.current = Some(current.clone());
        let end = End { state: Arc::clone(&self.0), _ends: ends };
        let fetch = fetch();
        tokio::spawn(async move {
            let is_good = fetch.await;
            end.state.lock().failed = (!is_good).then(Instant::now);
            drop(end);
        });
        Some(current)
    }

    /// Whether the latest fetch that has ended failed.
    #[must_use]
    pub(super) fn has_failed(&self) -> bool {
        self.0.lock().failed.is_some()
    }
}

/// Ends a fetch when it is dropped, also when its task is cancelled.
struct End {
    state: Arc<Mutex<State>>,
    _ends: watch::Sender<()>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.state.lock().current = None;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::ready;

    use super::*;

    const PAUSE: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn one_fetch_serves_all_who_wait_and_a_failure_is_followed_by_a_pause() {
        let fetches = SingleFetch::default();
        let (go, mut held) = watch::channel(false);
        let first = fetches.begin(PAUSE, || async move { held.wait_for(|go| *go).await.is_ok() });
        let second = fetches.begin(PAUSE, || -> std::future::Ready<bool> { panic!("there is one already") });
        assert!(!fetches.has_failed());
        go.send(true).unwrap();
        for waits in [first, second] {
            assert!(waits.unwrap().changed().await.is_err(), "nothing is sent, and the channel is closed");
        }
        let _ = fetches.begin(PAUSE, || ready(false)).unwrap().changed().await;
        assert!(fetches.has_failed());
        assert!(fetches.begin(PAUSE, || ready(true)).is_none());
        let _ = fetches.begin(Duration::ZERO, || ready(true)).unwrap().changed().await;
        assert!(!fetches.has_failed());
    }
}
