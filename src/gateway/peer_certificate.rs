//! The certificate that a client has shown in the TLS handshake of a request's connection.
//!
//! Decision: `docs/decisions/40-client-certificates.md`.

use std::sync::Arc;

use http::StatusCode;
use pingora::proxy::Session;
use rustls::pki_types::UnixTime;

use crate::access::certificates::CertificateFacts;
use crate::callers::client_certificates::{BadCertificate, PeerCertificate};
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;

/// What the certificate says of its owner; `None` without TLS, and where none was shown. [`check`] says whether it is good.
pub(super) fn facts(session: &Session) -> Option<Arc<CertificateFacts>> {
    of(session)?.facts().cloned()
}

/// Checks the certificate of the connection by the rules in force now: a reload may have brought others since the handshake. A
/// connection with a bad one ends with this answer, so that its client opens another with the certificate that it has by now.
///
/// # Errors
/// It was revoked, has expired, or there is none where one is due.
pub(super) fn check(session: &mut Session) -> Result<(), BadCertificate> {
    let checked = of(session).map_or(Ok(()), |certificate| certificate.check(UnixTime::now()));
    if checked.is_err() {
        session.set_keepalive(None);
    }
    checked
}

fn of(session: &Session) -> Option<&PeerCertificate> {
    session.digest()?.ssl_digest.as_ref()?.extension.get()
}

impl From<BadCertificate> for Rejection {
    fn from(bad: BadCertificate) -> Self {
        let text = match bad {
            BadCertificate::Missing => "A client certificate is required: open a new connection and show one.",
            BadCertificate::NotGood(_) => {
                "The client certificate of this connection is not good any more: it was revoked, has expired, or its CA is no longer trusted."
            }
        };
        Self::new(StatusCode::UNAUTHORIZED, IssueCode::Login, Reason::Certificate, text).because(bad)
    }
}
