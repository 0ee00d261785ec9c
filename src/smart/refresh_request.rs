//! A request for a newer token, sent to the task that keeps it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::smart::exchanged::ExchangeError;
use crate::smart::schedule::Reason;
use crate::smart::token::AccessToken;

/// A request for a token newer than the one that was seen.
pub(super) struct RefreshRequest {
    /// The generation that is not good enough; 0 when there was none.
    pub(super) seen: u64,
    pub(super) reason: Reason,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// Why a refresh request brought no newer token.
#[derive(Debug, Clone)]
pub(crate) enum NoNewToken {
    /// The exchange failed.
    Failed(Arc<ExchangeError>),
    /// Too many exchanges were requested of late; one is allowed after so long.
    Limited(Duration),
    /// The last attempt failed as it says, and the next begins by itself after so long.
    BackingOff(Duration, Option<Arc<ExchangeError>>),
    /// The task has ended: the gateway is shutting down.
    Stopped,
}

/// The outcome of a refresh request.
pub(crate) type Outcome = Result<Arc<AccessToken>, NoNewToken>;
