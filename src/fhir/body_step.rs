//! The interface of everything that rewrites a body on its way through the gateway.

use std::fmt::Debug;

use bytes::Bytes;

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;

/// Rewrites a body piece by piece, in bounded memory. The pieces may be cut anywhere.
pub trait BodyStep: Debug + Send + Sync {
    /// Takes the next piece and returns the part of the new body that is now known; empty while more is needed. A piece that is
    /// not changed is returned without a copy.
    fn feed(&mut self, piece: Bytes) -> Bytes;

    /// Returns the rest of the new body, after the last piece.
    fn finish(&mut self) -> Bytes;

    /// Whether the answer may go on, as far as the pieces tell until now.
    fn verdict(&self) -> Verdict {
        Verdict::Good
    }

    /// Whether the new body, which has ended, has a link to a next page.
    fn has_next_page(&self) -> bool {
        false
    }
}

/// Whether the answer may go on to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing of it may go out yet, its head included.
    Undecided,
    /// It may.
    Good,
    /// Nothing more of it may. What has gone out is not the whole.
    Bad(Broken),
}

/// A body that is not what it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Broken {
    /// What is wrong with it, for the log.
    pub reason: &'static str,
    /// A sentence for the client.
    pub text: &'static str,
    /// The same as a code, for the log and the metrics.
    pub(crate) code: Reason,
}

impl From<Broken> for Rejection {
    fn from(broken: Broken) -> Self {
        Self::bad_gateway(IssueCode::Exception, broken.code, broken.text).because(broken)
    }
}
