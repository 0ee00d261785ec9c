//! The state of a site's token, as requests read it, and how they wait for the first one.
//!
//! Decision: `docs/decisions/06-token-life.md`.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::nodes::Nodes;
use crate::smart::past_exchange::{PastExchange, PastExchanges};
use crate::smart::refresh_request::{NoNewToken, Outcome, RefreshRequest};
use crate::smart::schedule::Reason;
use crate::smart::scope_record::ScopeRecord;
use crate::smart::token::AccessToken;
use crate::smart::token_failure::TokenFailure;

/// What the token's task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// An exchange is under way, or about to begin.
    Exchanging,
    /// There is a token, and the next exchange is not due.
    Resting,
    /// The last exchange failed; the next begins at this instant.
    BackingOff(Instant),
}

/// There is no token, and none will come soon enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

/// The owner of a token: its task runs until this is dropped.
#[derive(Debug)]
pub(crate) struct TokenHandle {
    cell: Arc<TokenCell>,
    nodes: Arc<ArcSwap<Nodes>>,
    /// Lets the task begin.
    begin: Arc<Notify>,
    /// Dropped with the handle, which the task notices.
    _alive: oneshot::Sender<Infallible>,
}

impl TokenHandle {
    /// The handle of a cell, and a receiver that tells its task when the handle is dropped.
    pub(super) fn new(
        cell: Arc<TokenCell>,
        nodes: Arc<ArcSwap<Nodes>>,
        begin: Arc<Notify>,
    ) -> (Self, oneshot::Receiver<Infallible>) {
        let (alive, dropped) = oneshot::channel();
        (Self { cell, nodes, begin, _alive: alive }, dropped)
    }

    /// Lets the first exchange begin, if it has not begun.
    pub(crate) fn begin(&self) {
        self.begin.notify_one();
    }

    /// Asks these nodes for tokens from now on. Their token URLs are the same as before; their health and addresses are their
    /// own.
    pub(crate) fn set_nodes(&self, nodes: Arc<Nodes>) {
        self.nodes.store(nodes);
    }
}

impl Deref for TokenHandle {
    type Target = TokenCell;

    fn deref(&self) -> &TokenCell {
        &self.cell
    }
}

/// A site's token. Requests read it with one atomic load; one task writes it.
#[derive(Debug)]
pub(crate) struct TokenCell {
    current: ArcSwapOption<AccessToken>,
    phase: watch::Sender<Phase>,
    failing: AtomicBool,
    /// The exchanges that have failed since one succeeded.
    failure: ArcSwapOption<TokenFailure>,
    /// The latest exchanges. No request looks at them.
    past: Mutex<PastExchanges>,
    good: AtomicU64,
    failed: AtomicU64,
    refresh_requests: mpsc::Sender<RefreshRequest>,
    /// The scopes that OpenEMR granted and refuses all the same.
    pub scopes: ScopeRecord,
}

/// How many refresh requests the task's channel holds; more wait to be sent.
const REFRESH_REQUESTS: usize = 64;

impl TokenCell {
    /// An empty cell, and the receiver of the refresh requests, for its task.
    pub(super) fn new() -> (Self, mpsc::Receiver<RefreshRequest>) {
        let (refresh_requests, receiver) = mpsc::channel(REFRESH_REQUESTS);
        let cell = Self {
            current: ArcSwapOption::empty(),
            phase: watch::Sender::new(Phase::Exchanging),
            failing: AtomicBool::new(false),
            failure: ArcSwapOption::empty(),
            past: Mutex::default(),
            good: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refresh_requests,
            scopes: ScopeRecord::default(),
        };
        (cell, receiver)
    }

    /// The token, unless there is none that OpenEMR still accepts.
    #[must_use]
    pub(crate) fn usable(&self, now: Instant) -> Option<Arc<AccessToken>> {
        self.current.load_full().filter(|token| token.is_usable(now))
    }

    /// The token, however old.
    #[must_use]
    pub(crate) fn latest(&self) -> Option<Arc<AccessToken>> {
        self.current.load_full()
    }

    /// What the token's task is doing.
    #[must_use]
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits for a token, at most `patience`. Gives up at once when the next exchange begins later than that.
    ///
    /// # Errors
    /// [`Unavailable`], with a sensible time to ask again.
    pub(crate) async fn wait(&self, patience: Duration) -> Result<Arc<AccessToken>, Unavailable> {
        let deadline = Instant::now() + patience;
        let mut phase = self.phase.subscribe();
        loop {
            let now = Instant::now();
            let current_phase = *phase.borrow_and_update();
            if let Some(token) = self.usable(now) {
                return Ok(token);
            }
            if let Phase::BackingOff(until) = current_phase
                && until > deadline
            {
                return Err(Unavailable { retry_after: until - now });
            }
            match tokio::time::timeout_at(deadline.into(), phase.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Unavailable { retry_after: Duration::from_secs(1) }),
            }
        }
    }

    /// Waits until there is a token, or an exchange has failed; to the deadline at most.
    pub(crate) async fn first_outcome(&self, deadline: Instant) {
        let mut phase = self.phase.subscribe();
        loop {
            phase.borrow_and_update();
            if self.usable(Instant::now()).is_some() || self.is_failing() {
                return;
            }
            if !matches!(tokio::time::timeout_at(deadline.into(), phase.changed()).await, Ok(Ok(()))) {
                return;
            }
        }
    }

    /// Whether the last exchange to end has failed.
    #[must_use]
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Requests a token newer than generation `seen`. All requests during one exchange get its outcome; for a generation that
    /// is already past there is none.
    ///
    /// # Errors
    /// The exchange's own error, or why there was no exchange.
    pub(crate) async fn newer_than(&self, seen: u64, reason: Reason) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.refresh_requests.send(RefreshRequest { seen, reason, reply }).await.map_err(|_| NoNewToken::Stopped)?;
        outcome.await.unwrap_or(Err(NoNewToken::Stopped))
    }

    /// Reports that OpenEMR refused generation `seen`, without waiting.
    pub(crate) fn report_refused(&self, seen: u64) {
        // When the channel is full, one more request changes nothing.
        let _ = self.refresh_requests.try_send(RefreshRequest { seen, reason: Reason::Needed, reply: oneshot::channel().0 });
    }

    /// A token in place of generation `seen`, which OpenEMR has refused. Waits at most `patience`, over failures and
    /// limits that end before it does.
    ///
    /// # Errors
    /// [`Unavailable`], with a sensible time to ask again.
    pub(crate) async fn replacement(&self, seen: u64, patience: Duration) -> Result<Arc<AccessToken>, Unavailable> {
        let deadline = Instant::now() + patience;
        let soon = Unavailable { retry_after: Duration::from_secs(1) };
        loop {
            let outcome = tokio::time::timeout_at(deadline.into(), self.newer_than(seen, Reason::Needed)).await;
            let wait = match outcome.map_err(|_| soon)? {
                Ok(token) => return Ok(token),
                Err(NoNewToken::Stopped) => return Err(soon),
                Err(NoNewToken::Failed(_)) => Duration::ZERO,
                Err(NoNewToken::Limited(wait) | NoNewToken::BackingOff(wait, _)) => wait,
            };
            let until = Instant::now() + wait;
            if until >= deadline {
                return Err(Unavailable { retry_after: wait });
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// The exchanges that have failed since one succeeded; `None` when the last one did.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<Arc<TokenFailure>> {
        self.failure.load_full()
    }

    /// How many exchanges have succeeded, and how many have failed.
    #[must_use]
    pub(crate) fn exchanges(&self) -> (u64, u64) {
        (self.good.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// The latest exchanges, the last one first.
    #[must_use]
    pub(crate) fn past_exchanges(&self) -> Vec<PastExchange> {
        self.past.lock().latest_first()
    }

    /// Notes how an exchange ended, after this time: with a token, or for this cause without.
    pub(super) fn note_exchange(&self, failure: Option<String>, took: Duration) {
        let now = Timestamp::now();
        self.past.lock().add(PastExchange { at: now, took, failure: failure.clone() });
        self.failing.store(failure.is_some(), Ordering::Relaxed);
        (if failure.is_some() { &self.failed } else { &self.good }).fetch_add(1, Ordering::Relaxed);
        let earlier = self.failure.load();
        let next = failure.map(|cause| TokenFailure::after(earlier.as_deref(), now, cause));
        self.failure.store(next.map(Arc::new));
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Stores a new token. Call it before [`Self::set_phase`], which wakes waiting requests.
    pub(super) fn store(&self, token: Arc<AccessToken>) {
        let earlier = self.current.swap(Some(Arc::clone(&token)));
        if earlier.is_some_and(|earlier| earlier.scope != token.scope) {
            self.scopes.forget();
        }
    }
}
