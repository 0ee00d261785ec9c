//! The certificates that a server presents, read in a handshake that ends with them.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::problem::shown;

/// The most certificates of a chain that are read.
const MOST: usize = 10;

/// A certificate that a server presents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// Its owner.
    pub(crate) subject: String,
    /// Who signed it.
    pub(crate) issuer: String,
    /// Its fingerprint, as `openssl x509 -fingerprint -sha256` shows it.
    pub(crate) sha256: String,
    /// The day of its end.
    pub(crate) until: String,
    /// Whether its owner signed it.
    pub(super) is_self_issued: bool,
    /// The certificate.
    pub(crate) der: Vec<u8>,
}

impl Certificate {
    fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let until = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
        let octets = digest(&SHA256, der);
        let hex: Vec<String> = octets.as_ref().iter().map(|octet| format!("{octet:02X}")).collect();
        Some(Self {
            subject: shown(&certificate.subject().to_string()),
            issuer: shown(&certificate.issuer().to_string()),
            sha256: hex.join(":"),
            until: until.strftime("%F").to_string(),
            is_self_issued: certificate.subject() == certificate.issuer(),
            der: der.to_vec(),
        })
    }

    /// One line about a certificate that is trusted.
    #[must_use]
    pub(super) fn summary(&self) -> String {
        format!("trusted: {}, issued by {}, valid until {}", self.subject, self.issuer, self.until)
    }

    /// Its lines where it is not trusted.
    #[must_use]
    pub(super) fn described(&self) -> Vec<String> {
        vec![
            format!("subject  {}", self.subject),
            format!("issuer   {}", self.issuer),
            format!("SHA-256  {}", self.sha256),
            format!("until    {}", self.until),
        ]
    }

    /// The certificate in PEM.
    #[must_use]
    pub(crate) fn to_pem(&self) -> String {
        let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("CERTIFICATE", self.der.clone()), lines)
    }
}

/// The certificates that a server presents, its own first; none where there is no handshake. Nothing is trusted and nothing is
/// sent: the handshake fails as soon as they are there.
pub(super) async fn presented(address: SocketAddr, host: &str, within: Duration) -> Vec<Certificate> {
    let Ok(name) = ServerName::try_from(host.to_owned()) else { return Vec::new() };
    let looking = tokio::task::spawn_blocking(move || look(address, name, within));
    let chain = tokio::time::timeout(within, looking).await.ok().and_then(Result::ok).unwrap_or_default();
    chain.iter().filter_map(|der| Certificate::read(der)).collect()
}

fn look(address: SocketAddr, name: ServerName<'static>, within: Duration) -> Vec<CertificateDer<'static>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let witness =
        Arc::new(Witness { schemes: provider.signature_verification_algorithms.supported_schemes(), seen: Mutex::default() });
    let handshake = || -> Option<()> {
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .ok()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
        let mut stream = TcpStream::connect_timeout(&address, within).ok()?;
        stream.set_read_timeout(Some(within)).ok()?;
        stream.set_write_timeout(Some(within)).ok()?;
        // It always fails: the witness refuses what it has seen.
        connection.complete_io(&mut stream).ok().map(|_| ())
    };
    handshake();
    std::mem::take(&mut *witness.seen.lock())
}

/// Keeps the certificates of a handshake, and refuses them.
#[derive(Debug)]
struct Witness {
    schemes: Vec<SignatureScheme>,
    seen: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(own).chain(others).take(MOST);
        *self.seen.lock() = chain.map(|certificate| certificate.clone().into_owned()).collect();
        Err(refused())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refused())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refused())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

fn refused() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}
