//! Files of certificates and of their private keys, and when the certificates expire.
//!
//! Decision: `docs/decisions/22-configuration.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::node::Node;
use super::permissions;
use super::problem::{Findings, Place, Written, shell_word, shown, shown_path};
use super::read::{self, ReadError};
use super::setting::Setting;
use super::shape::Shape;
use super::site_keys::holds_key;
use crate::access::remote_keys::Authorities;
use crate::keys::key_error::KeyError;
use crate::keys::{not_pem, secret_pem};

/// What makes a certificate to try things out with.
pub(super) const TRY_OUT: &str = "for trying out:  openemr-gateway keys certificate --host localhost --out certs";
/// The largest certificate file that is read, in bytes.
const MAX_CERTIFICATES: usize = 4 * 1024 * 1024;
const MAX_PRIVATE_KEY: usize = 64 * 1024;
/// How long before its end a certificate is warned of.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A file of CA certificates, read and checked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CaFile {
    /// The file, as written.
    pub path: PathBuf,
    /// What it held: at least one certificate, each of which can be trusted.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for CaFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CaFile").field(&self.path).finish()
    }
}

impl Setting for CaFile {
    fn shape() -> Shape {
        Shape::Text("path")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = Written::<String>::read(node, place, findings)?;
        let certificates = certificates(&written, findings)?;
        let (signed, untrusted) = match &place.key {
            key if key.ends_with("client_ca") => ("your clients'", "no client's certificate is accepted"),
            key if key.starts_with("access.") => ("that of the server at jwks_uri", "that server's certificate is not trusted"),
            key if key.starts_with("tracing.") => ("the collector's", "the collector's certificate is not trusted"),
            key if key.starts_with("store.") => ("the store's", "the store's certificate is not trusted"),
            _ => ("OpenEMR's", "OpenEMR's certificate is not trusted"),
        };
        let mut roots = rustls::RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            if let Err(error) = roots.add(certificate.clone()) {
                let file = shown_path(Path::new(&written.value));
                let (number, error) = (index + 1, shown(&error.to_string()));
                let problem = place.problem(format!("certificate {number} of {file} cannot be used: {error}"));
                findings.problem(problem.remedy(format!("name a PEM file with the certificates of the CA that signed {signed}")));
                return None;
            }
        }
        let renew = format!("name a file with the CA's present certificate; without it {untrusted}");
        warn_of_expiry(&certificates, &written, &renew, findings);
        Some(Self { path: written.value.into(), certificates })
    }

    fn to_yaml(&self) -> serde_yaml::Value {
        self.path.to_yaml()
    }
}

impl From<CaFile> for Authorities {
    fn from(CaFile { path, certificates }: CaFile) -> Self {
        Self { file: path, certificates }
    }
}

impl From<&Authorities> for CaFile {
    fn from(Authorities { file, certificates }: &Authorities) -> Self {
        Self { path: file.clone(), certificates: certificates.clone() }
    }
}

/// Reads a certificate and its private key, which must fit together.
pub(super) fn certified_key(
    certificate: &Written<String>,
    key: &Written<String>,
    findings: &mut Findings,
) -> Option<Arc<CertifiedKey>> {
    let certificates = certificates(certificate, findings);
    let private_key = private_key(key, findings);
    let (certificates, private_key) = (certificates?, private_key?);
    warn_of_expiry(&certificates, certificate, "renew it; clients refuse it from then on", findings);
    let error = match certify(certificates, &private_key) {
        Ok(certified_key) => return Some(Arc::new(certified_key)),
        Err(error) => error,
    };
    let files = format!("{} and {}", shown_path(Path::new(&certificate.value)), shown_path(Path::new(&key.value)));
    findings.problem(match error {
        rustls::Error::InconsistentKeys(_) => certificate
            .place
            .problem(format!("{files} do not fit together: the certificate is for another key"))
            .remedy("name the key that the certificate was made for"),
        other => certificate.place.problem(format!("{files} cannot be used: {}", shown(&other.to_string()))).remedy(TRY_OUT),
    });
    None
}

/// Joins certificates and their key, as `CertifiedKey::from_der` does, which leaves a copy of the key in memory.
fn certify(certificates: Vec<CertificateDer<'static>>, key: &PrivateDer) -> Result<CertifiedKey, rustls::Error> {
    let der = match key.form {
        Form::Pkcs8 => PrivatePkcs8KeyDer::from(&key.contents[..]).into(),
        Form::Pkcs1 => PrivatePkcs1KeyDer::from(&key.contents[..]).into(),
        Form::Sec1 => PrivateSec1KeyDer::from(&key.contents[..]).into(),
    };
    let certified_key = CertifiedKey::new(certificates, any_supported_type(&der)?);
    match certified_key.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified_key),
        Err(error) => Err(error),
    }
}

/// A private key in DER, zeroed on drop.
struct PrivateDer {
    form: Form,
    contents: Zeroizing<Vec<u8>>,
}

enum Form {
    Pkcs8,
    Pkcs1,
    Sec1,
}

/// The certificates of a PEM file, at least one.
fn certificates(written: &Written<String>, findings: &mut Findings) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = bytes(written, MAX_CERTIFICATES, findings)?;
    let blocks = secret_pem::blocks(&bytes).unwrap_or_default();
    let certificates: Vec<_> = blocks
        .into_iter()
        .filter(|block| matches!(block.label, "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|block| CertificateDer::from(block.contents.to_vec()))
        .collect();
    if certificates.is_empty() {
        let path = Path::new(&written.value);
        let problem = written.place.problem(format!("{} holds no PEM certificate", shown_path(path)));
        findings.problem(problem.remedy("name a file with  -----BEGIN CERTIFICATE-----  in it"));
        return None;
    }
    Some(certificates)
}

fn private_key(written: &Written<String>, findings: &mut Findings) -> Option<PrivateDer> {
    let bytes = bytes(written, MAX_PRIVATE_KEY, findings)?;
    permissions::check_readers(Path::new(&written.value), &written.place, findings);
    let blocks = secret_pem::blocks(&bytes).unwrap_or_default();
    let encrypted = blocks.iter().any(|block| block.label == "ENCRYPTED PRIVATE KEY" || block.is_encrypted);
    let key = blocks.into_iter().find_map(|block| {
        let form = match block.label {
            "PRIVATE KEY" => Form::Pkcs8,
            "RSA PRIVATE KEY" => Form::Pkcs1,
            "EC PRIVATE KEY" => Form::Sec1,
            _ => return None,
        };
        Some(PrivateDer { form, contents: block.contents })
    });
    if key.is_none() || encrypted {
        let file = shown_path(Path::new(&written.value));
        findings.problem(if encrypted {
            let plain = shell_word(Path::new(&written.value));
            written
                .place
                .problem(format!("{file} is encrypted with a passphrase"))
                .remedy(format!("decrypt it:  openssl pkey -in {plain} -out {plain}.plain.pem"))
        } else {
            let error = not_pem::named(&bytes);
            let remedy = match &error {
                KeyError::NotPem | KeyError::Empty | KeyError::NotPrivate(_) => TRY_OUT.to_owned(),
                other => other.remedy().replace("{file}", &shell_word(Path::new(&written.value))),
            };
            written.place.problem(format!("{file} holds no PEM private key: it {error}")).remedy(remedy)
        });
        return None;
    }
    key
}

/// What a file of certificates, of a key or of revocation lists holds; a PEM text without what was wrapped around it.
pub(super) fn bytes(written: &Written<String>, limit: usize, findings: &mut Findings) -> Option<Zeroizing<Vec<u8>>> {
    if let Some(problem) = holds_key(written) {
        findings.problem(problem);
        return None;
    }
    let path = Path::new(&written.value);
    permissions::check_writers(path, &written.place, findings);
    match read::file(path, limit) {
        Ok(bytes) => {
            let bytes = Zeroizing::new(bytes);
            Some(secret_pem::unwrapped(&bytes).unwrap_or(bytes))
        }
        Err(error) => {
            let problem = written.place.problem(format!("{} {error}", shown_path(path)));
            findings.problem(match error {
                ReadError::Missing => {
                    problem.remedy(if written.place.key.contains(".tls.") && !written.place.key.contains(".client_") {
                        TRY_OUT
                    } else {
                        "name the file that exists, or leave the key out"
                    })
                }
                ReadError::Forbidden => problem.remedy("let the gateway's user read it"),
                ReadError::NotAFile | ReadError::TooLarge(_) | ReadError::Other(_) => problem.remedy("name a PEM file"),
            });
            None
        }
    }
}

/// Warns about each certificate that is not valid, or soon will not be.
fn warn_of_expiry(certificates: &[CertificateDer<'_>], written: &Written<String>, remedy: &str, findings: &mut Findings) {
    let file = shown_path(Path::new(&written.value));
    for (index, certificate) in certificates.iter().enumerate() {
        if let Some(what) = invalidity(certificate, SystemTime::now()) {
            let which = if certificates.len() == 1 { String::new() } else { format!("certificate {} of ", index + 1) };
            findings.warning(written.place.problem(format!("{which}{file} {what}")).remedy(remedy));
        }
    }
}

/// When a certificate ends, in seconds since 1970; `None` for one that cannot be read.
#[must_use]
pub(crate) fn end_of_certificate(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// What is wrong with a certificate's validity at this time, as the end of a sentence that begins with its file's name.
/// `None` for a certificate that cannot be read: its user says what is wrong with it.
pub(crate) fn invalidity(certificate: &[u8], now: SystemTime) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    };
    let (from, until) = (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
    let date = |at: i64| jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.strftime("%F").to_string());
    if until < seconds(now) {
        Some(format!("expired on {}", date(until)))
    } else if until < seconds(now + SOON) {
        let days = (until - seconds(now)) / (24 * 60 * 60);
        Some(format!("expires on {}, in {days} days", date(until)))
    } else if from > seconds(now) {
        Some(format!("is not valid before {}", date(from)))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_from_thirty_days_before_its_end() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 3, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 6, 1);
        let certificate = parameters.self_signed(&key).unwrap();
        for (day, expected) in [
            ("2026-02-28", Some("is not valid before 2026-03-01")),
            ("2026-03-02", None),
            ("2026-05-01", None),
            ("2026-05-03", Some("expires on 2026-06-01, in 29 days")),
            ("2026-06-02", Some("expired on 2026-06-01")),
        ] {
            let day: jiff::Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
            let found = invalidity(certificate.der(), SystemTime::from(day));
            assert_eq!(found.as_deref(), expected, "{day}");
        }
        assert_eq!(invalidity(b"no certificate", SystemTime::now()), None);
    }
}
