//! What a limit says of one request.

use std::time::Duration;

use crate::limits::rate::Quota;

/// What a rate says of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admission {
    /// The rate.
    pub(crate) quota: Quota,
    /// Whether the request is within it.
    pub(crate) is_admitted: bool,
    /// How many more requests would be, at once.
    pub(crate) remaining: u32,
    /// How long it takes until there is one more than `remaining`.
    pub(crate) next: Duration,
}
