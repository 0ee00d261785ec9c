//! Self-signed certificates for trying out HTTPS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use zeroize::Zeroizing;

/// A self-signed certificate and its private key, both in PEM.
pub(crate) struct SelfSigned {
    /// The certificate.
    pub(crate) certificate_pem: String,
    /// The private key in PKCS#8. A secret; zeroed on drop.
    pub(crate) private_key_pem: Zeroizing<String>,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The host is not valid in a certificate.
    #[error("`{0}` is neither a host name nor an IP address")]
    Host(String),
    /// rcgen failed.
    #[error("no certificate could be made")]
    Rcgen(#[from] rcgen::Error),
}

/// Makes a certificate for `host` (a name or an IP address) that is valid for 365 days from `now`. The one for
/// `localhost` includes 127.0.0.1 and ::1.
///
/// # Errors
/// [`CertificateError`] when `host` is neither a host name nor an IP address, or rcgen fails.
pub(crate) fn self_signed(host: &str, now: std::time::SystemTime) -> Result<SelfSigned, CertificateError> {
    let names = match host.parse::<IpAddr>() {
        Ok(address) => vec![SanType::IpAddress(address)],
        Err(_) => {
            if !is_host_name(host) {
                return Err(CertificateError::Host(host.to_owned()));
            }
            let name = SanType::DnsName(host.try_into()?);
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            let addresses = loopback.into_iter().filter(|_| host == "localhost").map(SanType::IpAddress);
            std::iter::once(name).chain(addresses).collect()
        }
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, host);
    params.subject_alt_names = names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = now.into();
    params.not_after = (now + std::time::Duration::from_secs(365 * 24 * 60 * 60)).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(SelfSigned { certificate_pem: certificate.pem(), private_key_pem: Zeroizing::new(key.serialize_pem()) })
}

/// Returns whether `text` is a host name (RFC 1123 section 2.1), with or without a leading `*.`.
fn is_host_name(text: &str) -> bool {
    let labels = text.strip_prefix("*.").unwrap_or(text);
    text.len() <= 253
        && labels.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}
