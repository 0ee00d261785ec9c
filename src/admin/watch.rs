//! Keeps the history of the last hour, and tells the status once a second while somebody looks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::snapshot;
use crate::admin::state::State;
use crate::admin::status::{Certificate, Status};
use crate::observe::metrics::history::{History, STEP};

/// How often the status is told.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// The status, and what it needs of the past.
#[derive(Debug)]
pub(super) struct Watch {
    state: Arc<State>,
    kept: Mutex<Kept>,
    /// The latest status as JSON; empty before the first one.
    told: watch::Sender<Bytes>,
}

/// What is made anew with each step of the history.
#[derive(Debug)]
struct Kept {
    history: History,
    /// It takes parsing to know them.
    certificates: Vec<Certificate>,
}

impl Watch {
    /// Begins the history.
    #[must_use]
    pub(super) fn new(state: Arc<State>) -> Self {
        let history = History::new(Instant::now(), Timestamp::now().as_second(), snapshot::totals());
        let kept = Kept { history, certificates: snapshot::certificates(&state.runtime.load()) };
        Self { state, kept: Mutex::new(kept), told: watch::Sender::new(Bytes::new()) }
    }

    /// The status of this moment.
    #[must_use]
    pub(super) fn status(&self) -> Status {
        let kept = self.kept.lock();
        snapshot::take(&self.state, &kept.history, kept.certificates.clone())
    }

    /// The same as JSON.
    #[must_use]
    pub(super) fn json(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(&self.status()).expect("a status has string keys alone"))
    }

    /// Gets the status once a second, as JSON.
    #[must_use]
    pub(super) fn subscribe(&self) -> watch::Receiver<Bytes> {
        self.told.subscribe()
    }

    /// Keeps the history, and tells who has subscribed. Never ends.
    pub(super) async fn run(&self) {
        let mut ticks = interval(TOLD_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_step = Instant::now() + STEP;
        loop {
            ticks.tick().await;
            if Instant::now() >= next_step {
                next_step += STEP;
                self.step();
            }
            if self.told.receiver_count() > 0 {
                self.told.send_replace(self.json());
            }
        }
    }

    fn step(&self) {
        let (totals, certificates) = (snapshot::totals(), snapshot::certificates(&self.state.runtime.load()));
        let mut kept = self.kept.lock();
        kept.history.note(Instant::now(), Timestamp::now().as_second(), totals);
        kept.certificates = certificates;
    }
}
