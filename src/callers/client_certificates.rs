//! The check of client certificates: in the handshake, and again at requests on a connection that is open longer.
//!
//! A reload swaps the CAs and the revocation lists. What was good in the handshake need not be good at a later request, and rustls
//! resumes a session without a new check: so each request asks whether its connection's certificate has been checked in this minute
//! by the rules in force.
//!
//! Decision: `docs/decisions/40-client-certificates.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use crate::access::certificates::CertificateFacts;
use crate::config::{ClientCertificates, ClientDemand};

/// The rules of one listener for clients' certificates; a reload replaces them.
#[derive(Debug)]
pub(crate) struct CertificateCheck {
    rules: ArcSwap<Rules>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The rules in force.
#[derive(Debug)]
struct Rules {
    /// Counts the reloads, so that each set of rules has a number of its own.
    number: u32,
    clients: Option<ClientCertificates>,
}

/// The certificate of the client of one connection, or that it has shown none.
#[derive(Debug)]
pub(crate) struct PeerCertificate {
    check: Arc<CertificateCheck>,
    /// The client's certificate, then those of its issuers; empty where it has shown none.
    chain: Vec<CertificateDer<'static>>,
    facts: Option<Arc<CertificateFacts>>,
    /// The rules and the minute of the last check that it has passed.
    passed: AtomicU64,
}

/// A connection's certificate is not good, or not good any more.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum BadCertificate {
    /// There is none, and one must be shown.
    #[error("no client certificate was shown in the handshake, and one is demanded now")]
    Missing,
    /// It was revoked, has expired, or its CA is trusted no longer.
    #[error("the client certificate is not good any more: {0}")]
    NotGood(Error),
}

impl CertificateCheck {
    /// The rules of a listener; `None` where no certificates are asked for.
    #[must_use]
    pub(crate) fn new(clients: Option<ClientCertificates>) -> Self {
        let algorithms = default_provider().signature_verification_algorithms;
        Self { rules: ArcSwap::from_pointee(Rules { number: 1, clients }), algorithms }
    }

    /// Puts other rules in force: for new handshakes, and at the next request of each open connection.
    pub(crate) fn replace(&self, clients: Option<ClientCertificates>) {
        self.rules.rcu(|rules| Rules { number: rules.number.wrapping_add(1), clients: clients.clone() });
    }
}

impl PeerCertificate {
    /// What a client has shown in its handshake.
    #[must_use]
    pub(crate) fn new(check: Arc<CertificateCheck>, chain: &[CertificateDer<'static>]) -> Self {
        let facts = chain.first().and_then(|certificate| CertificateFacts::read(certificate)).map(Arc::new);
        Self { check, chain: chain.to_vec(), facts, passed: AtomicU64::new(0) }
    }

    /// What the certificate says of its owner; `None` where there is none.
    #[must_use]
    #[allow(dead_code, reason = "for the check of credentials")]
    pub(crate) fn facts(&self) -> Option<&Arc<CertificateFacts>> {
        self.facts.as_ref()
    }

    /// Checks it by the rules in force.
    ///
    /// # Errors
    /// It is not good any more, or there is none where one is due.
    pub(crate) fn check(&self, now: UnixTime) -> Result<(), BadCertificate> {
        let rules = self.check.rules.load();
        let this = (u64::from(rules.number) << 32) | (now.as_secs() / 60) & u64::from(u32::MAX);
        if self.passed.load(Ordering::Relaxed) == this {
            return Ok(());
        }
        match (self.chain.split_first(), &rules.clients) {
            (None, Some(clients)) if clients.demand == ClientDemand::Required => return Err(BadCertificate::Missing),
            (None, _) => {}
            (Some((certificate, issuers)), Some(clients)) => {
                verify(clients, certificate, issuers, now).map_err(BadCertificate::NotGood)?;
            }
            (Some(_), None) => return Err(BadCertificate::NotGood(CertificateError::UnknownIssuer.into())),
        }
        self.passed.store(this, Ordering::Relaxed);
        Ok(())
    }
}

fn verify(
    clients: &ClientCertificates,
    certificate: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<ClientCertVerified, Error> {
    clients.verifier.verify_client_cert(certificate, issuers, now)
}

impl ClientCertVerifier for CertificateCheck {
    fn offer_client_auth(&self) -> bool {
        self.rules.load().clients.is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.rules.load().clients.as_ref().is_some_and(|clients| clients.demand == ClientDemand::Required)
    }

    /// None: a client then shows what it has, also when a reload has brought another CA.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let rules = self.rules.load();
        let Some(clients) = &rules.clients else { return Err(CertificateError::UnknownIssuer.into()) };
        let verified = verify(clients, certificate, issuers, now)?;
        // Pingora reads it with the same parser when the handshake is done, and panics where that fails.
        match CertificateFacts::read(certificate) {
            Some(_) => Ok(verified),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
