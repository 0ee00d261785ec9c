//! The rejection of a request, with the answer that its client gets.

use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;

/// The error that a client gets in place of an answer.
///
/// `text` is written by the gateway: it holds no internal address, no token and nothing that the client or a server sent.
/// The cause is for the log alone.
#[derive(Debug, Clone)]
pub(crate) struct Rejection {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The code of the OperationOutcome's issue.
    pub(crate) code: IssueCode,
    /// Why, as a code for the log and the metrics.
    pub(crate) reason: Reason,
    /// A sentence for a person.
    pub(crate) text: Cow<'static, str>,
    /// FHIRPaths of the elements that it is about.
    pub(crate) expression: Box<[String]>,
    /// The value of `Retry-After`, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// The value of `Allow`, on a 405.
    pub(crate) allow: Option<Box<HeaderValue>>,
    /// The value of `WWW-Authenticate`, on a 401.
    pub(crate) challenge: Option<Box<HeaderValue>>,
    /// Whether the policy of the caller is why: another caller may do it.
    pub(crate) by_policy: bool,
    /// Whether the answer is an OperationOutcome even where FHIR is not spoken: the request is wrong whatever its route is.
    pub(crate) on_every_route: bool,
    /// What went wrong, for the log. `None` when `text` says it all.
    pub(crate) cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl Rejection {
    /// Makes a rejection of a status, a code, a reason and a sentence.
    #[must_use]
    pub(crate) fn new(status: StatusCode, code: IssueCode, reason: Reason, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            reason,
            text: text.into(),
            expression: Box::default(),
            retry_after: None,
            allow: None,
            challenge: None,
            by_policy: false,
            on_every_route: false,
            cause: None,
        }
    }

    /// Makes a 400: the request is not valid.
    #[must_use]
    pub(crate) fn invalid(reason: Reason, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, IssueCode::Invalid, reason, text)
    }

    /// Makes a 403: the policy of the caller does not permit it.
    #[must_use]
    pub(crate) fn by_policy(text: impl Into<Cow<'static, str>>) -> Self {
        Self { by_policy: true, ..Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, Reason::Policy, text) }
    }

    /// Makes a 502: the server, or the way to it, failed.
    #[must_use]
    pub(crate) fn bad_gateway(code: IssueCode, reason: Reason, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, reason, text)
    }

    /// Makes a 503: the same request may succeed after `wait`.
    #[must_use]
    pub(crate) fn unavailable(reason: Reason, wait: Duration, text: impl Into<Cow<'static, str>>) -> Self {
        let rejection = Self::new(StatusCode::SERVICE_UNAVAILABLE, IssueCode::Transient, reason, text);
        Self { retry_after: Some(whole_seconds(wait)), ..rejection }
    }

    /// Makes a 405 with the methods that the address takes.
    #[must_use]
    pub(crate) fn method_not_allowed(text: impl Into<Cow<'static, str>>, allow: HeaderValue) -> Self {
        let rejection = Self::new(StatusCode::METHOD_NOT_ALLOWED, IssueCode::NotSupported, Reason::NotSupported, text);
        Self { allow: Some(Box::new(allow)), ..rejection }
    }

    /// Adds how the client can authenticate (RFC 9110 section 11.6.1).
    #[must_use]
    pub(crate) fn challenging(self, challenge: HeaderValue) -> Self {
        Self { challenge: Some(Box::new(challenge)), ..self }
    }

    /// Adds the elements that it is about, as FHIRPaths.
    #[must_use]
    pub(crate) fn about(self, expression: Vec<String>) -> Self {
        Self { expression: expression.into(), ..self }
    }

    /// Makes the answer an OperationOutcome on local routes, too.
    #[must_use]
    pub(crate) fn on_every_route(self) -> Self {
        Self { on_every_route: true, ..self }
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub(crate) fn because(self, cause: impl Error + Send + Sync + 'static) -> Self {
        Self { cause: Some(Arc::new(cause)), ..self }
    }
}

/// Returns the value of `Retry-After` for a wait: rounded up, and never zero.
#[must_use]
pub(crate) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil().max(1.0) as u64
}

/// Two rejections are equal when their clients get the same answer.
impl PartialEq for Rejection {
    fn eq(&self, other: &Self) -> bool {
        let Self { status, code, text, expression, retry_after, allow, challenge, .. } = self;
        (status, code, text, expression) == (&other.status, &other.code, &other.text, &other.expression)
            && (retry_after, allow, challenge) == (&other.retry_after, &other.allow, &other.challenge)
    }
}

impl Eq for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_zero() {
        for (wait, seconds) in [(0, 1), (1, 1), (1_000, 1), (2_100, 3)] {
            assert_eq!(whole_seconds(Duration::from_millis(wait)), seconds);
        }
    }
}
