//! What an error of Pingora's means: to the client, and to the operator.

use std::io;

use http::StatusCode;
use pingora::{Error, ErrorSource, ErrorType};

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::request_body::TooSlow;
use crate::http::framing::violation::Violation;

/// What Pingora's error means to the client; `None` when the client is gone. `body_is_missing`: OpenEMR had to wait for the rest
/// of the request.
#[must_use]
pub(super) fn rejection(error: &Error, body_is_missing: bool) -> Option<Rejection> {
    use ErrorType::*;
    if let Some(violation) = violation(error) {
        return Some(violation.into());
    }
    let exception = |reason, text: &'static str| Some(Rejection::bad_gateway(IssueCode::Exception, reason, text));
    let rejection = |status, code, reason, text: &'static str| Some(Rejection::new(status, code, reason, text));
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ReadTimedout) => rejection(
            StatusCode::REQUEST_TIMEOUT,
            IssueCode::Timeout,
            Reason::RequestTimeout,
            "The request did not arrive in time.",
        ),
        (ErrorSource::Upstream, ReadTimedout) if body_is_missing => Some(TooSlow.into()),
        (ErrorSource::Downstream, ReadError | WriteError | WriteTimedout | ConnectionClosed | ConnectError) => None,
        (ErrorSource::Downstream, _) => Some(Rejection::invalid(Reason::Malformed, "The request is not well-formed HTTP.")),
        (ErrorSource::Upstream, ConnectTimedout | TLSHandshakeTimedout | ReadTimedout | WriteTimedout) => {
            rejection(StatusCode::GATEWAY_TIMEOUT, IssueCode::Timeout, Reason::UpstreamTimeout, "OpenEMR did not answer in time.")
        }
        (ErrorSource::Upstream, TLSHandshakeFailure | InvalidCert | HandshakeError) => {
            exception(Reason::Tls, "The gateway does not trust OpenEMR's certificate, or cannot agree with it on TLS.")
        }
        (ErrorSource::Upstream, ConnectRefused | ConnectNoRoute | ConnectError | ConnectProxyFailure | SocketError) => {
            Some(Rejection::bad_gateway(IssueCode::Transient, Reason::Connect, "OpenEMR cannot be reached."))
        }
        (ErrorSource::Upstream, _) => exception(Reason::BadAnswer, "OpenEMR's answer could not be read."),
        (ErrorSource::Internal | ErrorSource::Unset, _) => {
            let text = "The gateway could not handle the request.";
            rejection(StatusCode::INTERNAL_SERVER_ERROR, IssueCode::Exception, Reason::Internal, text)
        }
    }
}

/// Why the guard refused the body of the request.
fn violation(error: &Error) -> Option<Violation> {
    error.root_cause().downcast_ref::<io::Error>()?.get_ref()?.downcast_ref().copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn failed(source: ErrorSource, kind: ErrorType) -> Box<Error> {
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
            assert_eq!(
                rejection(&failed(ErrorSource::Upstream, kind.clone()), false).unwrap().status.as_u16(),
                status,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_body_that_stops_is_the_clients_delay() {
        let error = failed(ErrorSource::Upstream, ErrorType::ReadTimedout);
        assert_eq!(rejection(&error, true).unwrap().status, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn a_caller_who_left_gets_nothing_and_the_rest_no_detail() {
        assert_eq!(rejection(&failed(ErrorSource::Downstream, ErrorType::ConnectionClosed), false), None);
        for source in [ErrorSource::Upstream, ErrorSource::Downstream, ErrorSource::Internal] {
            let error = failed(source, ErrorType::InvalidHTTPHeader);
            let told = rejection(&error, false).unwrap().text;
            assert!(!told.contains("Doe") && !told.contains("10.0.0.7"), "{told}");
        }
    }
}
