//! The outcome of a token exchange, and what can be asked for one.

use std::time::{Duration, Instant};

use crate::nodes::cause::Explained;
use crate::nodes::client_error::ClientError;
use crate::smart::assertion::AssertionError;
use crate::smart::discovery::DiscoveryFailure;
use crate::smart::signing_keys::Keys;
use crate::smart::token_response::{Grant, TokenError};

/// A token that came, and when its life began at the earliest.
pub(crate) struct Exchanged {
    /// What was granted.
    pub grant: Grant,
    /// When the request was sent, on the monotonic clock: OpenEMR cannot have issued the token before.
    pub requested_at: Instant,
}

/// What is wrong with the URL from which an answer came.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// All of it, for the log.
    pub line: String,
    /// What happened, without the URL.
    pub cause: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl From<Explained<'_>> for Explanation {
    fn from(explained: Explained<'_>) -> Self {
        Self { line: explained.to_string(), cause: explained.cause(), remedy: explained.remedy() }
    }
}

/// Why an exchange brought no token. Prints as one line for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// No connection, or no node that could be asked.
    #[error("the token endpoint cannot be reached: {0}")]
    Unreachable(#[source] ClientError),
    /// The SMART configuration does not say where the token endpoint is.
    #[error("the token endpoint is unknown: {0}")]
    Unknown(#[from] DiscoveryFailure),
    /// The exchange took longer than `timeouts.token`.
    #[error("the token endpoint{} did not answer within {limit:?} (timeouts.token)", at.as_ref().map(|url| format!(" {url}")).unwrap_or_default())]
    TimedOut {
        /// The URL that was asked last.
        at: Option<String>,
        /// The limit.
        limit: Duration,
    },
    /// The connection broke, or a limit was passed, before the answer was whole.
    #[error("the token endpoint's answer broke off: {0}")]
    BrokenOff(#[source] ClientError),
    /// The answer brings no token.
    #[error("{error}{}", explanation.as_ref().map(|explained| format!(". {}", explained.line)).unwrap_or_default())]
    Answer {
        /// What it says.
        #[source]
        error: TokenError,
        /// What is wrong with the URL, where that can be told.
        explanation: Option<Explanation>,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// No assertion could be signed.
    #[error(transparent)]
    Signing(#[from] AssertionError),
}

impl From<TokenError> for ExchangeError {
    fn from(error: TokenError) -> Self {
        Self::Answer { error, explanation: None, retry_after: None }
    }
}

impl ExchangeError {
    /// How long the token endpoint wants to be left alone, where its answer says so.
    #[must_use]
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer { retry_after, .. } => *retry_after,
            Self::Unreachable(_) | Self::Unknown(_) | Self::TimedOut { .. } | Self::BrokenOff(_) | Self::Signing(_) => None,
        }
    }

    /// The text for callers: it has no address, no file and nothing of OpenEMR's text.
    #[must_use]
    pub(crate) fn public_summary(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Unknown(_) => "OpenEMR's token endpoint cannot be reached",
            Self::TimedOut { .. } => "OpenEMR's token endpoint did not answer in time",
            Self::BrokenOff(_) => "OpenEMR's token endpoint gave no usable answer",
            Self::Answer { error, .. } => error.public_summary(),
            Self::Signing(_) => "the gateway could not sign its client assertion",
        }
    }
}

/// A token endpoint that can be asked with one key or another.
pub(crate) trait Exchange {
    /// One exchange, with an assertion that these keys sign.
    ///
    /// # Errors
    /// Whatever kept a usable token from coming back.
    fn exchange(&mut self, keys: &Keys) -> impl Future<Output = Result<Exchanged, ExchangeError>> + Send;
}
