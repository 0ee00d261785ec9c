//! The sandbox's TLS: a given certificate, or one made at start for localhost.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

/// How the sandbox is served over HTTPS.
#[derive(Clone, Debug)]
pub enum Tls {
    /// With a self-signed certificate for localhost, 127.0.0.1 and ::1, made at start.
    SelfSigned,
    /// With the certificate and key in these files, in PEM.
    Files {
        /// The certificate chain, leaf first.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read, or holds no PEM of that kind.
    #[error("{path}: {reason}\n  give a certificate chain and a private key in PEM, or leave both away for a self-signed one")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate and key do not work together.
    #[error("the TLS certificate cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// A self-signed certificate could not be made.
    #[error("no self-signed certificate could be made: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

/// A certificate and key that are ready to serve TLS.
pub(super) struct Prepared {
    acceptor: TlsAcceptor,
    certificate_pem: String,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Prepared {
    /// Reads or makes the certificate and key.
    pub(super) fn new(tls: &Tls) -> Result<Prepared, TlsError> {
        let (certificate_pem, chain, key) = match tls {
            Tls::SelfSigned => {
                let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
                let made = rcgen::generate_simple_self_signed(names)?;
                let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
                (made.cert.pem(), vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            }
            Tls::Files { certificate, key } => {
                let failed = |path: &PathBuf, reason: String| TlsError::File { path: path.clone(), reason };
                let pem = std::fs::read_to_string(certificate).map_err(|error| failed(certificate, error.to_string()))?;
                let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| failed(certificate, error.to_string()))?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, error.to_string()))?;
                (pem, chain, key)
            }
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Prepared { acceptor: TlsAcceptor::from(Arc::new(config)), certificate_pem })
    }

    /// Returns the certificate that clients have to trust, in PEM.
    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Returns the acceptor of connections.
    pub(super) fn into_acceptor(self) -> TlsAcceptor {
        self.acceptor
    }
}
