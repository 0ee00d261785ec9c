//! What goes wrong, and what a caller is told: a status and an OperationOutcome without an internal address,
//! a token or a word that was not written here.

use std::time::Duration;

use pingora::{Error, ErrorSource, ErrorType};

use crate::fhir::operation_outcome::IssueCode;
use crate::http::request_target::UnsafePath;
use crate::openemr::offered::{Allowed, NotOffered};
use crate::scopes::required::RequiredScope;

/// Why the gateway itself refuses or gives up a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The caller's address is in none of `access.allow_from`.
    NotAllowed,
    /// A web page that was not let in sent what could change something.
    ForeignPage,
    /// The head is larger than `limits.request_head`.
    HeadTooLarge,
    /// The request target is longer than `limits.request_target`.
    TargetTooLong,
    /// The head has more field lines than `limits.header_fields`.
    TooManyFields,
    /// The body is larger than `limits.request_body`.
    BodyTooLarge,
    /// The caller wants a format that OpenEMR does not speak.
    NotAcceptable,
    /// OpenEMR does not do this.
    NotOffered(NotOffered),
    /// HTTP/1.1 without Host (RFC 9112 section 3.2).
    NoHost,
    /// The path could leave the FHIR base.
    UnsafePath(UnsafePath),
    /// The request asks for another protocol.
    Upgrade,
    /// There is no token, and it is worth trying again after this long.
    NoToken(Duration),
    /// OpenEMR refused the token, and there is no other before so long.
    TokenRefused(Duration),
    /// The same, of a request that cannot be sent again.
    NotCarriedOut,
    /// OpenEMR refuses tokens that it has just granted.
    NewTokensRefused,
    /// OpenEMR did not grant the gateway this scope.
    NotGranted(RequiredScope),
    /// It did, and refuses what the scope is for all the same.
    ScopeRefused(RequiredScope),
    /// OpenEMR has not said what it does.
    NoStatement,
    /// No node of OpenEMR's can be reached, and it is worth trying again after this long.
    AllOut(Duration),
    /// As many requests wait for OpenEMR as may.
    QueueFull(Duration),
    /// The request's turn did not come within `in_flight.queue_timeout`.
    QueueTimeout(Duration),
    /// OpenEMR's name has never been resolved.
    NoAddress,
    /// OpenEMR answered 200 with a page.
    Page,
    /// OpenEMR sent the gateway elsewhere.
    Redirected,
    /// The body ended before its document did.
    CutShort,
    /// The head of OpenEMR's answer is larger than `limits.response_head`.
    AnswerHeadTooLarge,
    /// A refusal whose body is longer than what is held back.
    TooLong,
    /// A search by POST with a body that is no form.
    NoForm,
    /// A search by POST with a form that is larger than what can be kept for another try.
    FormTooLarge,
}

/// Why a request goes no further.
#[derive(Debug)]
pub enum Stop {
    /// Its caller is told this.
    Refused(Verdict),
    /// Its caller is gone.
    Gone(Box<Error>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Refused(failure.verdict())
    }
}

impl From<Verdict> for Stop {
    fn from(verdict: Verdict) -> Self {
        Self::Refused(verdict)
    }
}

impl From<Box<Error>> for Stop {
    fn from(error: Box<Error>) -> Self {
        Self::Gone(error)
    }
}

/// What a caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The HTTP status.
    pub status: u16,
    /// FHIR's word for it.
    pub code: IssueCode,
    /// A sentence for a human.
    pub text: String,
    /// `Retry-After`, in whole seconds.
    pub retry_after: Option<u64>,
    /// `Allow`, of a 405.
    pub allow: Option<Allowed>,
}

impl Verdict {
    /// Without more than a status, FHIR's word and a sentence.
    pub(super) fn new(status: u16, code: IssueCode, text: &str) -> Self {
        Self { status, code, text: text.to_owned(), retry_after: None, allow: None }
    }

    fn later(wait: Duration, text: &str) -> Self {
        Self { retry_after: Some(whole_seconds(wait)), ..Self::new(503, IssueCode::Transient, text) }
    }
}

impl Failure {
    /// What the caller is told.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::NotAllowed => Verdict::new(403, IssueCode::Forbidden, "This address may not use the gateway."),
            Self::ForeignPage => {
                Verdict::new(403, IssueCode::Forbidden, "A web page of this origin may not send this to the gateway.")
            }
            Self::HeadTooLarge => Verdict::new(431, IssueCode::TooLong, "The request's head is larger than the gateway takes."),
            Self::TargetTooLong => Verdict::new(
                414,
                IssueCode::TooLong,
                "The request's URL is longer than the gateway takes. A search can be sent as POST to _search.",
            ),
            Self::TooManyFields => {
                Verdict::new(431, IssueCode::TooLong, "The request has more header fields than the gateway takes.")
            }
            Self::BodyTooLarge => Verdict::new(413, IssueCode::TooLong, "The request's body is larger than the gateway takes."),
            Self::NotAcceptable => {
                Verdict::new(406, IssueCode::NotSupported, "OpenEMR speaks JSON alone: ask for application/fhir+json.")
            }
            Self::NotOffered(refusal) => {
                Verdict { allow: refusal.allowed(), ..Verdict::new(refusal.status(), refusal.code(), &refusal.to_string()) }
            }
            Self::NoHost => Verdict::new(400, IssueCode::Invalid, "The request has no Host field."),
            Self::UnsafePath(reason) => Verdict::new(400, IssueCode::Invalid, &format!("The request was refused: {reason}.")),
            Self::Upgrade => Verdict::new(400, IssueCode::NotSupported, "The gateway does not switch protocols."),
            Self::NoToken(wait) => Verdict::later(wait, "The gateway has no access token for OpenEMR at the moment."),
            Self::TokenRefused(wait) => {
                Verdict::later(wait, "OpenEMR no longer takes the gateway's access token, and there is no new one yet.")
            }
            Self::NotCarriedOut => Verdict::later(
                Duration::ZERO,
                "OpenEMR refused the gateway's access token before it looked at the request, which was not carried out. Send it again.",
            ),
            Self::NewTokensRefused => {
                Verdict::later(Duration::from_secs(5), "OpenEMR refuses access tokens that it has just granted.")
            }
            Self::NotGranted(need) => Verdict::new(
                403,
                IssueCode::Forbidden,
                &format!("This needs the scope {need}, which OpenEMR did not grant to the gateway."),
            ),
            Self::ScopeRefused(need) => Verdict::new(
                403,
                IssueCode::Forbidden,
                &format!("This needs the scope {need}, and OpenEMR refuses it even to a new access token of the gateway."),
            ),
            Self::NoStatement => {
                Verdict::later(Duration::from_secs(5), "OpenEMR's CapabilityStatement cannot be had at the moment.")
            }
            Self::AllOut(wait) => Verdict::later(wait, "OpenEMR cannot be reached at the moment."),
            Self::QueueFull(wait) => Verdict::later(wait, "OpenEMR is busy, and too many requests wait for it already."),
            Self::QueueTimeout(wait) => Verdict::later(wait, "OpenEMR is busy: the request waited for its turn too long."),
            Self::NoAddress => Verdict::new(502, IssueCode::Transient, "OpenEMR cannot be found."),
            Self::Page => Verdict::new(502, IssueCode::Exception, "OpenEMR answered with a web page where FHIR was due."),
            Self::Redirected => Verdict::new(502, IssueCode::Exception, "OpenEMR sent the gateway to another address."),
            Self::CutShort => Verdict::new(502, IssueCode::Exception, "OpenEMR's answer ended too soon."),
            Self::AnswerHeadTooLarge => {
                Verdict::new(502, IssueCode::Exception, "The head of OpenEMR's answer is larger than the gateway takes.")
            }
            Self::NoForm => Verdict::new(
                415,
                IssueCode::NotSupported,
                "A search by POST has its parameters in a form: application/x-www-form-urlencoded.",
            ),
            Self::FormTooLarge => Verdict::new(413, IssueCode::TooCostly, "The form of a search may have 64 KiB at most."),
            Self::TooLong => Verdict::new(502, IssueCode::Exception, "OpenEMR's refusal is too long to be read."),
        }
    }
}

/// For `Retry-After`: rounded up, never zero.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs_f64().ceil().max(1.0) as u64
}

/// What Pingora's error means to the caller; `None` when the caller is gone.
#[must_use]
pub fn verdict(error: &Error) -> Option<Verdict> {
    use ErrorType::*;
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ReadTimedout) => {
            Some(Verdict::new(408, IssueCode::Timeout, "The request did not arrive in time."))
        }
        (ErrorSource::Downstream, ReadError | WriteError | WriteTimedout | ConnectionClosed | ConnectError) => None,
        (ErrorSource::Downstream, _) => Some(Verdict::new(400, IssueCode::Invalid, "The request is not well-formed HTTP.")),
        (ErrorSource::Upstream, ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout) => {
            Some(Verdict::new(504, IssueCode::Timeout, "OpenEMR did not answer in time."))
        }
        (ErrorSource::Upstream, TLSHandshakeFailure | InvalidCert | HandshakeError) => Some(Verdict::new(
            502,
            IssueCode::Exception,
            "The gateway does not trust OpenEMR's certificate, or cannot agree with it on TLS.",
        )),
        (ErrorSource::Upstream, ConnectRefused | ConnectNoRoute | ConnectError | ConnectProxyFailure | SocketError) => {
            Some(Verdict::new(502, IssueCode::Transient, "OpenEMR cannot be reached."))
        }
        (ErrorSource::Upstream, _) => Some(Verdict::new(502, IssueCode::Exception, "OpenEMR's answer could not be read.")),
        (ErrorSource::Internal | ErrorSource::Unset, _) => {
            Some(Verdict::new(500, IssueCode::Exception, "The gateway could not handle the request."))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(source: ErrorSource, kind: ErrorType) -> Box<Error> {
        let mut error = Error::explain(kind, "buf: GET /fhir/Patient?name=Doe 10.0.0.7:443");
        error.esource = source;
        error
    }

    #[test]
    fn upstream_trouble_is_502_or_504() {
        for (kind, status) in [
            (ErrorType::ConnectRefused, 502),
            (ErrorType::ConnectTimedout, 504),
            (ErrorType::ReadTimedout, 504),
            (ErrorType::InvalidCert, 502),
            (ErrorType::ConnectionClosed, 502),
            (ErrorType::InvalidHTTPHeader, 502),
        ] {
            assert_eq!(verdict(&error(ErrorSource::Upstream, kind.clone())).unwrap().status, status, "{kind:?}");
        }
    }

    #[test]
    fn a_caller_who_left_gets_nothing_and_the_rest_no_detail() {
        assert_eq!(verdict(&error(ErrorSource::Downstream, ErrorType::ConnectionClosed)), None);
        for source in [ErrorSource::Upstream, ErrorSource::Downstream, ErrorSource::Internal] {
            let error = error(source, ErrorType::InvalidHTTPHeader);
            let told = verdict(&error).unwrap().text;
            assert!(!told.contains("Doe") && !told.contains("10.0.0.7"), "{told}");
        }
    }

    #[test]
    fn retry_after_is_never_zero() {
        assert_eq!(Failure::NoToken(Duration::from_millis(1)).verdict().retry_after, Some(1));
        assert_eq!(Failure::NoToken(Duration::from_millis(2_100)).verdict().retry_after, Some(3));
    }
}
