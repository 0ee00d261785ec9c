//! Why a request of the gateway's own got no answer.

use std::fmt;
use std::time::Duration;

use crate::nodes::cause::{Cause, Place, is_no_connection};
use crate::nodes::resolve::ResolveError;

/// Names and values of an answer's head may have this many bytes, as `limits.response_head` is by default.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Why there is no answer. Prints as one line for the log, with the URL and the configuration key.
#[derive(Debug)]
pub(crate) struct ClientError {
    place: Place,
    problem: Problem,
}

/// What happened to a request of the gateway's own.
#[derive(Debug)]
pub(super) enum Problem {
    /// The name has no address; nothing was sent.
    Unresolved(ResolveError),
    /// No connection came about; nothing was sent.
    NotConnected(Box<pingora::Error>),
    /// The connection broke, or a step took too long; the request may have arrived.
    Broken(Box<pingora::Error>),
    /// The whole took longer than this; the request may have arrived.
    TimedOut(Duration),
    /// The head of the answer is longer than 64 KiB.
    HeadTooLong,
    /// The body of the answer is longer than this, in bytes.
    BodyTooLong(usize),
}

impl ClientError {
    pub(super) fn new(place: Place, problem: Problem) -> Self {
        Self { place, problem }
    }

    #[cfg(test)]
    pub(super) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Whether nothing was sent.
    #[must_use]
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self.problem, Problem::Unresolved(_) | Problem::NotConnected(_))
    }

    /// Whether the answer was too long.
    #[must_use]
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self.problem, Problem::HeadTooLong | Problem::BodyTooLong(_))
    }

    /// Whether a step or the whole took too long.
    #[must_use]
    pub(crate) fn is_timeout(&self) -> bool {
        match &self.problem {
            Problem::TimedOut(_) => true,
            Problem::NotConnected(error) | Problem::Broken(error) => is_timeout(error),
            Problem::Unresolved(_) | Problem::HeadTooLong | Problem::BodyTooLong(_) => false,
        }
    }

    /// Whether the server is why no connection came about; see [`is_no_connection`].
    #[must_use]
    pub(crate) fn is_servers_fault(&self) -> bool {
        match &self.problem {
            Problem::Unresolved(_) => true,
            Problem::NotConnected(error) => is_no_connection(error),
            Problem::Broken(_) | Problem::TimedOut(_) | Problem::HeadTooLong | Problem::BodyTooLong(_) => false,
        }
    }
}

fn is_timeout(error: &pingora::Error) -> bool {
    use pingora::ErrorType::{ConnectTimedout, ReadTimedout, TLSHandshakeTimedout, WriteTimedout};
    matches!(error.etype(), ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout)
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = &self.place.url;
        match &self.problem {
            Problem::Unresolved(error) => self.place.with(Cause::from(error)).fmt(f),
            Problem::NotConnected(error) | Problem::Broken(error) => self.place.explain(error).fmt(f),
            Problem::TimedOut(total) => write!(f, "{url}: no whole answer within {total:?}"),
            Problem::HeadTooLong => write!(f, "{url}: the head of the answer is larger than {MAX_HEAD} bytes"),
            Problem::BodyTooLong(limit) => write!(f, "{url}: the body of the answer is larger than {limit} bytes"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Unresolved(error) => Some(error),
            Problem::NotConnected(error) | Problem::Broken(error) => Some(error.as_ref()),
            Problem::TimedOut(_) | Problem::HeadTooLong | Problem::BodyTooLong(_) => None,
        }
    }
}
