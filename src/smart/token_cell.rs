//! Where a site's token stands: what requests read, and how they wait for the first one.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{mpsc, oneshot, watch};

use crate::nodes::Nodes;
use crate::smart::exchanged::ExchangeError;
use crate::smart::schedule::Reason;
use crate::smart::scope_record::ScopeRecord;
use crate::smart::token::AccessToken;

/// What the site's task is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// An exchange is under way, or about to begin.
    Exchanging,
    /// There is a token, and its time has not come.
    Resting,
    /// The last exchange failed; the next begins at this instant.
    BackingOff(Instant),
}

/// No token, and none soon enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable {
    /// When it is worth asking again.
    pub retry_after: Duration,
}

/// Somebody needs a token newer than the one they have seen.
pub(super) struct Wish {
    /// The generation that is not good enough; 0 when there was none.
    pub seen: u64,
    pub reason: Reason,
    pub reply: oneshot::Sender<Outcome>,
}

/// Why a wish for a newer token was not fulfilled.
#[derive(Debug, Clone)]
pub enum NoNewToken {
    /// The exchange failed.
    Failed(Arc<ExchangeError>),
    /// Too many exchanges were caused of late; one is allowed after so long.
    Limited(Duration),
    /// The last attempt failed as it says, and the next begins by itself after so long.
    BackingOff(Duration, Option<Arc<ExchangeError>>),
    /// The task has ended: the gateway is shutting down.
    Stopped,
}

/// What became of a wish.
pub type Outcome = Result<Arc<AccessToken>, NoNewToken>;

/// A token's owner: its task runs for as long as somebody holds this.
#[derive(Debug)]
pub struct TokenHandle {
    cell: Arc<TokenCell>,
    nodes: Arc<ArcSwap<Nodes>>,
    /// Dropped with the handle, which the task notices.
    _alive: oneshot::Sender<Infallible>,
}

impl TokenHandle {
    /// The handle of a cell, and what tells its task that nobody holds it any more.
    pub(super) fn new(cell: Arc<TokenCell>, nodes: Arc<ArcSwap<Nodes>>) -> (Self, oneshot::Receiver<Infallible>) {
        let (alive, dropped) = oneshot::channel();
        (Self { cell, nodes, _alive: alive }, dropped)
    }

    /// From now on tokens are asked for at these nodes. Their token URLs are the same; what else is known of them, and
    /// the tasks that find it out, are these nodes' own.
    pub fn ask_at(&self, nodes: Arc<Nodes>) {
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
pub struct TokenCell {
    current: ArcSwapOption<AccessToken>,
    phase: watch::Sender<Phase>,
    failing: AtomicBool,
    wishes: mpsc::Sender<Wish>,
    /// Which of the token's scopes are of no use.
    pub scopes: ScopeRecord,
}

/// More wishes than this wait in the caller's own task.
const WISHES: usize = 64;

impl TokenCell {
    /// An empty cell, and the wishes that its task must hear.
    pub(super) fn new() -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, heard) = mpsc::channel(WISHES);
        let cell = Self {
            current: ArcSwapOption::empty(),
            phase: watch::Sender::new(Phase::Exchanging),
            failing: AtomicBool::new(false),
            wishes,
            scopes: ScopeRecord::default(),
        };
        (cell, heard)
    }

    /// The token, unless there is none that OpenEMR would still take.
    #[must_use]
    pub fn usable(&self, now: Instant) -> Option<Arc<AccessToken>> {
        self.current.load_full().filter(|token| token.is_usable(now))
    }

    /// The token, however old.
    #[must_use]
    pub fn latest(&self) -> Option<Arc<AccessToken>> {
        self.current.load_full()
    }

    /// What the site's task is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits for a token, at most `patience`. Gives up at once when the next exchange begins later than that.
    ///
    /// # Errors
    /// [`Unavailable`], with a sensible time to ask again.
    pub async fn wait(&self, patience: Duration) -> Result<Arc<AccessToken>, Unavailable> {
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
    pub async fn first_outcome(&self, deadline: Instant) {
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

    /// Whether the latest exchange that ended has failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Asks for a token newer than generation `seen`. All who ask during one exchange get its outcome; a generation
    /// that is already past costs none.
    ///
    /// # Errors
    /// The exchange's own error, or why there was no exchange.
    pub async fn newer_than(&self, seen: u64, reason: Reason) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.wishes.send(Wish { seen, reason, reply }).await.map_err(|_| NoNewToken::Stopped)?;
        outcome.await.unwrap_or(Err(NoNewToken::Stopped))
    }

    /// Says that generation `seen` was refused, and waits for nothing.
    pub fn report_refused(&self, seen: u64) {
        // When so many wishes wait that there is no room, one more changes nothing.
        let _ = self.wishes.try_send(Wish { seen, reason: Reason::Needed, reply: oneshot::channel().0 });
    }

    /// A token in place of generation `seen`, which OpenEMR has refused. Waits at most `patience`, over failures and
    /// limits that end before it does.
    ///
    /// # Errors
    /// [`Unavailable`], with a sensible time to ask again.
    pub async fn replacement(&self, seen: u64, patience: Duration) -> Result<Arc<AccessToken>, Unavailable> {
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

    pub(super) fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Puts a new token in. Call before [`Self::set_phase`], which wakes those who wait.
    pub(super) fn store(&self, token: Arc<AccessToken>) {
        let earlier = self.current.swap(Some(Arc::clone(&token)));
        if earlier.is_some_and(|earlier| earlier.scope != token.scope) {
            self.scopes.forget();
        }
    }
}
