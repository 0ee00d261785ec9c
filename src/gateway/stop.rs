//! How a step of a request ends.

use pingora::Error;

use crate::fhir::rejection::Rejection;
use crate::http::answer::Answer;

/// The result of a step: the request goes on, or stops here.
pub(super) type Step = Result<(), Stop>;

/// Why a request goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// The gateway answers the request itself.
    Answered(Answer),
    /// The client gets an error.
    Rejected(Rejection),
    /// The exchange ends with this error of Pingora's: the client is gone, or Pingora is to try again.
    Gone(Box<Error>),
}

impl<Cause: Into<Rejection>> From<Cause> for Stop {
    fn from(cause: Cause) -> Self {
        Self::Rejected(cause.into())
    }
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::Answered(answer)
    }
}

impl From<Box<Error>> for Stop {
    fn from(error: Box<Error>) -> Self {
        Self::Gone(error)
    }
}
