//! Where a site's token stands: what requests read, and how they wait for the first one.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot, watch};

use crate::smart::token::AccessToken;
use crate::smart::token_response::TokenError;

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
    pub reply: oneshot::Sender<Outcome>,
}

/// How an exchange ended, for everybody who waited for it.
pub type Outcome = Result<Arc<AccessToken>, Arc<TokenError>>;

/// A token's owner: its task runs for as long as somebody holds this.
#[derive(Debug)]
pub struct TokenHandle {
    cell: Arc<TokenCell>,
    /// Dropped with the handle, which the task notices.
    _alive: oneshot::Sender<Infallible>,
}

impl TokenHandle {
    /// The handle of a cell, and what tells its task that nobody holds it any more.
    pub(super) fn new(cell: Arc<TokenCell>) -> (Self, oneshot::Receiver<Infallible>) {
        let (alive, dropped) = oneshot::channel();
        (Self { cell, _alive: alive }, dropped)
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
    wishes: mpsc::Sender<Wish>,
}

/// More wishes than this wait in the caller's own task.
const WISHES: usize = 64;

impl TokenCell {
    /// An empty cell, and the wishes that its task must hear.
    pub(super) fn new() -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, heard) = mpsc::channel(WISHES);
        let cell = Self { current: ArcSwapOption::empty(), phase: watch::Sender::new(Phase::Exchanging), wishes };
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

    /// Asks for a token newer than generation `seen`. All who ask during one exchange get its outcome.
    ///
    /// # Errors
    /// The exchange's own error; `None` inside when the gateway is shutting down.
    pub async fn newer_than(&self, seen: u64) -> Result<Arc<AccessToken>, Option<Arc<TokenError>>> {
        let (reply, outcome) = oneshot::channel();
        self.wishes.send(Wish { seen, reply }).await.map_err(|_| None)?;
        outcome.await.map_err(|_| None)?.map_err(Some)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Puts a new token in. Call before [`Self::set_phase`], which wakes those who wait.
    pub(super) fn store(&self, token: Arc<AccessToken>) {
        self.current.store(Some(token));
    }
}
