//! What a listener asks of its clients' certificates: the CAs that sign them, whether one must be shown, and which were revoked.
//!
//! Decision: `docs/decisions/40-client-certificates.md`.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::certificates::{self, CaFile};
use super::declaration::words;
use super::node::Node;
use super::problem::{Findings, Place, Written, shown, shown_path};
use super::setting::Setting;
use super::shape::Shape;
use crate::keys::secret_pem;

/// The largest file of revocation lists that is read, in bytes.
const MAX_LISTS: usize = 64 * 1024 * 1024;
const GET_LIST: &str = "name the revocation list of your CA, in PEM or in DER";

words! {
    /// Whether clients must show a certificate.
    pub(crate) enum ClientDemand {
        /// They may.
        Optional = "optional",
        /// They must: a handshake without one fails.
        Required = "required",
    }
}

/// The check of clients' certificates on a listener.
#[derive(Debug, Clone)]
pub(crate) struct ClientCertificates {
    /// The CAs.
    pub ca: CaFile,
    /// Whether a certificate must be shown.
    pub demand: ClientDemand,
    /// The certificates that were revoked.
    pub crl: Option<CrlFile>,
    /// Checks certificates by all of these.
    pub verifier: Arc<dyn ClientCertVerifier>,
}

/// A file of revocation lists (RFC 5280 section 5), read and checked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CrlFile {
    /// The file, as written.
    pub path: PathBuf,
    /// What it held, the newest list first: of several lists of one CA the first counts.
    pub lists: Vec<CertificateRevocationListDer<'static>>,
}

impl std::fmt::Debug for CrlFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CrlFile").field(&self.path).finish()
    }
}

impl ClientCertificates {
    /// The check that the three keys make; `None` without a CA, and where they do not fit together.
    pub(super) fn of(
        ca: Option<CaFile>,
        demand: Option<Written<ClientDemand>>,
        crl: Option<Written<CrlFile>>,
        findings: &mut Findings,
    ) -> Option<Self> {
        let Some(ca) = ca else {
            let places = demand.map(|demand| demand.place).into_iter().chain(crl.map(|crl| crl.place));
            for place in places {
                let problem = place.problem("has no effect without `client_ca`: no client could show a certificate");
                findings.problem(problem.remedy("write  client_ca: certs/clients-ca.pem  beside it, or leave it out"));
            }
            return None;
        };
        let demand = demand.map_or(ClientDemand::Optional, |demand| demand.value);
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(ca.certificates.iter().cloned());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        if demand == ClientDemand::Optional {
            builder = builder.allow_unauthenticated();
        }
        if let Some(crl) = &crl {
            // A list that is out of date may lack the certificate that was revoked today.
            builder = builder.with_crls(crl.value.lists.clone()).enforce_revocation_expiration();
        }
        match (builder.build(), crl) {
            (Ok(verifier), crl) => Some(Self { ca, demand, crl: crl.map(|crl| crl.value), verifier }),
            (Err(error), Some(crl)) => {
                let file = shown_path(&crl.value.path);
                let problem = crl.place.problem(format!("{file} cannot be used: {}", shown(&error.to_string())));
                findings.problem(problem.remedy(GET_LIST));
                None
            }
            // The CA's certificates have been checked one by one.
            (Err(_), None) => None,
        }
    }

    /// The files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.ca.path).chain(self.crl.as_ref().map(|crl| &crl.path))
    }
}

impl Setting for CrlFile {
    fn shape() -> Shape {
        Shape::Text("path")
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let written = Written::<String>::read(node, place, findings)?;
        let path = Path::new(&written.value);
        let bytes = certificates::bytes(&written, MAX_LISTS, findings)?;
        let blocks = secret_pem::blocks(&bytes).unwrap_or_default();
        let mut lists: Vec<Vec<u8>> =
            blocks.into_iter().filter(|block| block.label == "X509 CRL").map(|block| block.contents.to_vec()).collect();
        if lists.is_empty() {
            lists.push(bytes.to_vec());
        }
        let mut dated = Vec::with_capacity(lists.len());
        for der in lists {
            let Ok((_, list)) = CertificateRevocationList::from_der(&der) else {
                findings.problem(place.problem(format!("{} holds no revocation list", shown_path(path))).remedy(GET_LIST));
                return None;
            };
            if let Some(what) = outdated(&list, SystemTime::now()) {
                let problem = place.problem(format!("{} {what}", shown_path(path)));
                findings.warning(problem.remedy("fetch the CA's present one; without it no certificate of that CA is accepted"));
            }
            dated.push((list.last_update().timestamp(), CertificateRevocationListDer::from(der.clone())));
        }
        dated.sort_by_key(|(date, _)| Reverse(*date));
        Some(Self { path: path.into(), lists: dated.into_iter().map(|(_, list)| list).collect() })
    }

    fn to_yaml(&self) -> serde_yaml::Value {
        self.path.to_yaml()
    }
}

/// Says that a list is out of date, as the end of a sentence that begins with its file's name.
fn outdated(list: &CertificateRevocationList<'_>, now: SystemTime) -> Option<String> {
    let now = i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    match list.next_update() {
        Some(next) if next.timestamp() < now => {
            let date = jiff::Timestamp::from_second(next.timestamp())
                .map_or_else(|_| next.to_string(), |at| at.strftime("%F").to_string());
            Some(format!("is out of date: the next list was due on {date}"))
        }
        _ => None,
    }
}
