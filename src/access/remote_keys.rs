//! Where the public keys of an identity provider, or of a client, are fetched.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

/// The URL of a JWK Set, and the CAs of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteKeys {
    /// The URL, as written.
    pub(crate) url: String,
    /// The CAs that are trusted for it besides the system's.
    pub(crate) authorities: Option<Arc<Authorities>>,
}

/// CA certificates, and the file that holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorities {
    /// The file, as written.
    pub(crate) file: PathBuf,
    /// What it held.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

/// The URL alone: it is looked up at each token, and certificates are long.
impl Hash for RemoteKeys {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.url.hash(state);
    }
}

#[cfg(test)]
impl RemoteKeys {
    /// With the system's CAs.
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned(), authorities: None }
    }
}
