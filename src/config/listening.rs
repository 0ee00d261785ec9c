//! Listeners: addresses, and certificates that fit their keys.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::file::FileListener;
use super::problem::{Findings, Place, Problem, Written, shown, shown_path};
use super::read::{self, ReadError};
use super::site_keys::{holds_pem, warn_if_open};
use super::{Listener, ListenerTls, defaults};

/// The largest certificate file that is read, in bytes.
const MAX_CERTIFICATES: usize = 4 * 1024 * 1024;
/// What Pingora hands to a successor at once.
const MAX_LISTENERS: usize = 32;
const MAX_PRIVATE_KEY: usize = 64 * 1024;
const TRY_OUT: &str = "for trying out:  openemr-gateway keys certificate --host localhost --out certs";

/// The listeners written, or the default one.
pub(super) fn read(written: Option<&[FileListener]>, place: &Place, findings: &mut Findings) -> Vec<Listener> {
    let Some(written) = written else {
        return defaults::LISTEN
            .parse()
            .map(|address| vec![Listener { address, tls: None, http2: true, h2c: false }])
            .unwrap_or_default();
    };
    if written.is_empty() && findings.problems.is_empty() {
        let problem = place.member("listen").problem("names no address");
        findings.problem(problem.remedy(format!("write  - address: {}", defaults::LISTEN)));
    }
    if written.len() > MAX_LISTENERS {
        let problem = place.member("listen").problem(format!("names {} addresses", written.len()));
        findings.problem(problem.remedy(format!("name {MAX_LISTENERS} at most: that many are handed over in an upgrade")));
        return Vec::new();
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for entry in written {
        let address = address(&entry.address, findings);
        let tls = entry.tls.as_ref().and_then(|(certificate, key)| tls(certificate, key, findings));
        let Some(address) = address else { continue };
        if listeners.iter().any(|earlier| earlier.address == address) {
            findings
                .problem(entry.address.place.problem(format!("`{address}` is listened on twice")).remedy("keep one of the two"));
            continue;
        }
        listeners.push(Listener { address, tls, http2: entry.http2, h2c: entry.h2c });
    }
    listeners
}

fn address(written: &Written<String>, findings: &mut Findings) -> Option<SocketAddr> {
    match written.value.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => Some(address),
        Ok(_) => {
            let problem = written.place.problem(format!("`{}` has port 0, another one at each start", shown(&written.value)));
            findings.problem(problem.remedy("name a port, 8000 for instance"));
            None
        }
        Err(_) => {
            let problem = written.place.problem(format!("`{}` is no IP address with a port", shown(&written.value)));
            findings.problem(problem.remedy("write  127.0.0.1:8000  or  \"[::1]:8000\"  or, for every interface,  0.0.0.0:8000"));
            None
        }
    }
}

fn tls(certificate: &Written<String>, key: &Written<String>, findings: &mut Findings) -> Option<ListenerTls> {
    let certificates = certificates(certificate, findings);
    let private_key = private_key(key, findings);
    let (certificates, private_key) = (certificates?, private_key?);
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified_key = match CertifiedKey::from_der(certificates, private_key, &provider) {
        Ok(certified_key) => Arc::new(certified_key),
        Err(error) => {
            let files = format!("{} and {}", shown_path(Path::new(&certificate.value)), shown_path(Path::new(&key.value)));
            findings.problem(match error {
                rustls::Error::InconsistentKeys(_) => certificate
                    .place
                    .problem(format!("{files} do not fit together: the certificate is for another key"))
                    .remedy("name the key that the certificate was made for"),
                other => {
                    certificate.place.problem(format!("{files} cannot be used: {}", shown(&other.to_string()))).remedy(TRY_OUT)
                }
            });
            return None;
        }
    };
    Some(ListenerTls { certificate: certificate.value.clone().into(), private_key: key.value.clone().into(), certified_key })
}

/// The certificates of a PEM file, at least one.
pub(super) fn certificates(written: &Written<String>, findings: &mut Findings) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = bytes(written, MAX_CERTIFICATES, findings)?;
    let blocks = ::pem::parse_many(&*bytes).unwrap_or_default();
    let certificates: Vec<_> = blocks
        .into_iter()
        .filter(|block| matches!(block.tag(), "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|block| CertificateDer::from(block.into_contents()))
        .collect();
    if certificates.is_empty() {
        let path = Path::new(&written.value);
        let problem = written.place.problem(format!("{} holds no PEM certificate", shown_path(path)));
        findings.problem(problem.remedy("name a file with  -----BEGIN CERTIFICATE-----  in it"));
        return None;
    }
    Some(certificates)
}

fn private_key(written: &Written<String>, findings: &mut Findings) -> Option<PrivateKeyDer<'static>> {
    let bytes = bytes(written, MAX_PRIVATE_KEY, findings)?;
    warn_if_open(written, findings);
    let blocks = ::pem::parse_many(&*bytes).unwrap_or_default();
    let encrypted =
        blocks.iter().any(|block| block.tag() == "ENCRYPTED PRIVATE KEY" || block.headers().get("Proc-Type").is_some());
    let key = blocks.into_iter().find_map(|block| match block.tag() {
        "PRIVATE KEY" => Some(PrivatePkcs8KeyDer::from(block.into_contents()).into()),
        "RSA PRIVATE KEY" => Some(PrivatePkcs1KeyDer::from(block.into_contents()).into()),
        "EC PRIVATE KEY" => Some(PrivateSec1KeyDer::from(block.into_contents()).into()),
        _ => None,
    });
    if key.is_none() || encrypted {
        let file = shown_path(Path::new(&written.value));
        findings.problem(if encrypted {
            let plain = shown(&written.value);
            written
                .place
                .problem(format!("{file} is encrypted with a passphrase"))
                .remedy(format!("decrypt it:  openssl pkey -in {plain} -out {plain}.plain.pem"))
        } else {
            written.place.problem(format!("{file} holds no PEM private key")).remedy(TRY_OUT)
        });
        return None;
    }
    key
}

fn bytes(written: &Written<String>, limit: usize, findings: &mut Findings) -> Option<Zeroizing<Vec<u8>>> {
    if let Some(problem) = holds_pem(written) {
        findings.problem(problem);
        return None;
    }
    let path = Path::new(&written.value);
    match read::file(path, limit) {
        Ok(bytes) => Some(Zeroizing::new(bytes)),
        Err(error) => {
            let problem = written.place.problem(format!("{} {error}", shown_path(path)));
            findings.problem(match error {
                ReadError::Missing => problem.remedy(if written.place.key.contains(".tls.") {
                    TRY_OUT
                } else {
                    "name the file that exists, or leave the key out"
                }),
                ReadError::Forbidden => problem.remedy("let the gateway's user read it"),
                ReadError::NotAFile | ReadError::TooLarge(_) | ReadError::Other(_) => problem.remedy("name a PEM file"),
            });
            None
        }
    }
}

/// Whether each listener's address belongs to this machine; with `ports`, whether its port is free too.
///
/// Not part of [`super::load`], since a configuration may be checked on another machine than the one it is for.
#[must_use]
pub fn unusable(listeners: &[Listener], place: &Place, ports: bool) -> Vec<Problem> {
    let check = |(index, listener): (usize, &Listener)| {
        let port = if ports { listener.address.port() } else { 0 };
        let place = place.member("listen").element(index).member("address");
        let error = TcpListener::bind((listener.address.ip(), port)).err()?;
        let problem = place.problem(format!("`{}` cannot be listened on: {error}", listener.address));
        Some(match error.kind() {
            std::io::ErrorKind::AddrNotAvailable => {
                problem.remedy("name an address of this machine (`ip addr` lists them), or 0.0.0.0 for all")
            }
            std::io::ErrorKind::AddrInUse => problem.remedy("stop the program that listens there, or name another port"),
            std::io::ErrorKind::PermissionDenied => {
                problem.remedy("name a port from 1024 up, or let the gateway bind low ones:  setcap cap_net_bind_service=+ep")
            }
            _ => problem,
        })
    };
    listeners.iter().enumerate().filter_map(check).collect()
}

/// Whether an address is reachable from this machine alone.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
