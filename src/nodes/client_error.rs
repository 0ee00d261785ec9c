//! Why a request of the gateway's own got no answer.

use std::fmt;
use std::time::Duration;

use crate::nodes::cause::{Cause, Explained, Place, is_no_connection};
use crate::nodes::resolve::ResolveError;

/// Names and values of an answer's head may have this many bytes, as `limits.response_head` is by default.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Why there is no answer. Prints as one line for the log, with the URL and the configuration key.
#[derive(Debug)]
pub(crate) struct ClientError {
    place: Place,
    problem: Problem,
}

/// How far a request of the gateway's own came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The name was looked up.
    Name,
    /// A connection was tried.
    Connection,
    /// The TLS handshake was tried.
    Tls,
    /// The request was sent.
    Answer,
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

impl ClientError {
    /// Where the request ended.
    #[must_use]
    pub(crate) fn stage(&self) -> Stage {
        use pingora::ErrorType::{HandshakeError, InvalidCert, TLSHandshakeFailure, TLSHandshakeTimedout};
        match &self.problem {
            Problem::Unresolved(_) => Stage::Name,
            Problem::NotConnected(error) => match error.etype() {
                TLSHandshakeFailure | TLSHandshakeTimedout | InvalidCert | HandshakeError => Stage::Tls,
                _ => Stage::Connection,
            },
            Problem::Broken(_) | Problem::TimedOut(_) | Problem::HeadTooLong | Problem::BodyTooLong(_) => Stage::Answer,
        }
    }

    /// What happened, in an operator's words, without the URL.
    #[must_use]
    pub(crate) fn cause(&self) -> String {
        match &self.problem {
            Problem::Unresolved(error) => self.place.with(Cause::from(error)).cause(),
            Problem::NotConnected(error) | Problem::Broken(error) => self.place.explain(error).cause(),
            Problem::TimedOut(total) => format!("no whole answer within {total:?}"),
            Problem::HeadTooLong => format!("the head of the answer is larger than {MAX_HEAD} bytes"),
            Problem::BodyTooLong(limit) => format!("the body of the answer is larger than {limit} bytes"),
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub(crate) fn remedy(&self) -> Option<String> {
        self.explained()?.remedy()
    }

    /// Whether the certificate is not trusted because its issuer is not.
    #[must_use]
    pub(crate) fn is_unknown_issuer(&self) -> bool {
        self.explained().is_some_and(|explained| explained.is_unknown_issuer())
    }

    /// The cause at its place; `None` for a limit of the gateway's own.
    fn explained(&self) -> Option<Explained<'_>> {
        match &self.problem {
            Problem::Unresolved(error) => Some(self.place.with(Cause::from(error))),
            Problem::NotConnected(error) | Problem::Broken(error) => Some(self.place.explain(error)),
            Problem::TimedOut(_) | Problem::HeadTooLong | Problem::BodyTooLong(_) => None,
        }
    }
}

fn is_timeout(error: &pingora::Error) -> bool {
    use pingora::ErrorType::{ConnectTimedout, ReadTimedout, TLSHandshakeTimedout, WriteTimedout};
    matches!(error.etype(), ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout)
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.explained() {
            Some(explained) => explained.fmt(f),
            None => write!(f, "{}: {}", self.place.url, self.cause()),
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
