//! Servers that are broken as a newcomer's OpenEMR is: with another certificate than is due, or with one answer to everything.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::openemr::OpenEmr;

/// A certificate and its key, as files.
pub struct Certified {
    pub certificate: PathBuf,
    pub key: PathBuf,
    folder: TempDir,
}

impl Certified {
    /// A self-signed one for these names.
    pub fn write(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = parameters(names);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Self::of(&params.self_signed(&key).unwrap().pem(), &key)
    }

    /// One that an authority of this name signs, and the file of the authority's certificate.
    pub fn signed(names: &[&str], authority: &str) -> (PathBuf, Self) {
        let mut params = parameters(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, authority);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = Self::of(&parameters(names).signed_by(&key, &issuer).unwrap().pem(), &key);
        let file = own.folder.path().join("authority.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        (file, own)
    }

    fn of(certificate: &str, key: &KeyPair) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Self { certificate: file("c.pem", certificate), key: file("k.pem", &key.serialize_pem()), folder }
    }

    /// An OpenEMR that shows it.
    pub fn openemr(&self) -> OpenEmr {
        let [certificate, key] = [&self.certificate, &self.key].map(|path| path.to_str().unwrap());
        OpenEmr::with(&["--tls", "--tls-certificate", certificate, "--tls-key", key])
    }
}

fn parameters(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

/// A server that answers each request with these bytes, and closes; gives its address.
pub fn canned(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 16 * 1024]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    base
}

/// How long a dripping server lasts: longer than any limit that a test sets, so that a test without the limit fails and ends.
const DRIPS: Duration = Duration::from_secs(30);

/// A server that answers for `/metadata` with this, if anything, and whatever else byte by byte for half a minute; gives its address.
pub fn dripping(statement: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut head = [0; 16 * 1024];
                let length = stream.read(&mut head).unwrap_or_default();
                let is_metadata = String::from_utf8_lossy(&head[..length]).contains("/metadata ");
                let fields = "HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(fields.as_bytes());
                if let Some(statement) = statement.filter(|_| is_metadata) {
                    let _ = stream.write_all(statement.as_bytes());
                    return;
                }
                let until = Instant::now() + DRIPS;
                while Instant::now() < until && stream.write_all(b" ").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    base
}
