//! Certificates of clients, the CAs that sign them, and their revocation lists.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A CA.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate of a client with its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    serial: u64,
    chain: Vec<CertificateDer<'static>>,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        Self(CertifiedIssuer::self_signed(ca_parameters(name), KeyPair::generate().unwrap()).unwrap())
    }

    /// A CA whose certificate this one signs, with its serial number.
    pub fn below(&self, name: &str, serial: u64) -> Self {
        let mut parameters = ca_parameters(name);
        parameters.serial_number = Some(serial.into());
        Self(CertifiedIssuer::signed_by(parameters, KeyPair::generate().unwrap(), &self.0).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A client's certificate with this common name and these DNS names.
    pub fn issue(&self, serial: u64, name: &str, dns: &[&str]) -> Identity {
        self.issue_with(serial, name, dns, |_| {})
    }

    pub fn issue_with(&self, serial: u64, name: &str, dns: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.subject_alt_names = dns.iter().map(|dns| SanType::DnsName((*dns).try_into().unwrap())).collect();
        parameters.serial_number = Some(serial.into());
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap().der().clone();
        Identity { certificate, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(), serial, chain: Vec::new() }
    }

    /// A server on this machine with a certificate of this CA.
    pub fn server(&self, serial: u64) -> ServerConfig {
        let Identity { certificate, key, .. } = self.issue_with(serial, "server", &["localhost"], |parameters| {
            parameters.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
    }

    /// The list of those certificates of this CA that were revoked; the next one is due in that year.
    pub fn revocations(&self, revoked: &[u64], next: i32) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 6, 17),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 6, 17),
            next_update: date_time_ymd(next, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Identity {
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Shows this certificate of its issuer, too.
    pub fn with_issuer(mut self, issuer: &Ca) -> Self {
        self.chain.push(issuer.der());
        self
    }

    /// The SHA-256 of the certificate.
    #[allow(dead_code, reason = "for rules on it")]
    pub fn fingerprint(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.certificate);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn ca_parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    parameters
}

/// A client that trusts `server` alone, and shows an identity, or none.
pub fn client(server: &Path, identity: Option<&Identity>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(server).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = std::iter::once(&identity.certificate).chain(&identity.chain).cloned().collect();
            builder.with_client_auth_cert(chain, identity.key.clone_key()).unwrap()
        }
    }
}

/// Files that a gateway reads, in a folder of their own.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where a file of that name would be.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let (file, beside) = (self.0.path().join(name), self.0.path().join("new"));
        std::fs::write(&beside, contents).unwrap();
        std::fs::rename(beside, &file).unwrap();
        file
    }
}

/// Whether a handshake fails: with TLS 1.3 a client hears so at its first read.
pub fn is_refused(address: SocketAddr, config: &ClientConfig) -> bool {
    let answered = || -> io::Result<bool> {
        let mut connection = super::http::Connection::tls(TcpStream::connect(address)?, Arc::new(config.clone()));
        connection.try_write(&super::http::request("GET", "/health", &[], b""))?;
        connection.is_alive()
    };
    !answered().unwrap_or(false)
}
