//! The clients that the configuration names, found by their credentials.

use std::sync::Arc;

use ipnet::IpNet;

use crate::access::issuer::Issuer;
use crate::access::line::Line;
use crate::access::policy::Policy;

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// The name.
    pub(crate) name: String,
    /// Where it is written.
    pub(crate) line: Line,
    /// What it may do.
    pub(crate) policy: Arc<Policy>,
    /// The networks from which it may call; `None` is every one that `access.allow_from` has.
    pub(crate) allow_from: Option<Vec<IpNet>>,
    /// The API keys.
    pub(crate) api_keys: Vec<KeyDigest>,
    /// The client certificates: each rule alone is enough.
    pub(crate) certificates: Vec<CertificateRule>,
    /// The subject of JWTs of an identity provider.
    pub(crate) jwt: Option<Subject>,
    /// The keys with which it authenticates at the gateway's token endpoint.
    pub(crate) smart: Option<SmartKeys>,
}

/// What the configuration knows of an API key `oegw_{id}_{secret}`: the SHA-256 of the secret. The id is the first 16 hexadecimal
/// digits of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyDigest {
    /// The SHA-256 of the secret.
    pub(crate) sha256: [u8; 32],
    /// The first second at which the key is no longer good, since 1970.
    pub(crate) expires: Option<i64>,
}

/// What a client's certificate must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CertificateRule {
    /// The common name of the subject.
    SubjectCn(String),
    /// A DNS name among the subject's alternative names.
    SanDns(String),
    /// A URI among them.
    SanUri(String),
    /// The SHA-256 of the certificate.
    Fingerprint([u8; 32]),
}

/// The subject of JWTs: what the issuer's `client_claim` must say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    /// The issuer's name in `access.issuers`.
    pub(crate) issuer: String,
    /// The value of the claim.
    pub(crate) subject: String,
}

/// Where the public keys of a SMART Backend Services client come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SmartKeys {
    /// A JWK Set, as text.
    Set(Arc<str>),
    /// The URL of one.
    Url(String),
}

/// All clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clients {
    clients: Vec<Arc<Client>>,
    /// The identity providers.
    pub(crate) issuers: Vec<Issuer>,
    /// The policy of callers without credentials; `None`: they are refused.
    pub(crate) anonymous: Option<Arc<Policy>>,
}

impl Clients {
    /// Makes the table.
    #[must_use]
    pub(crate) fn new(clients: Vec<Client>, issuers: Vec<Issuer>, anonymous: Option<Arc<Policy>>) -> Self {
        Self { clients: clients.into_iter().map(Arc::new).collect(), issuers, anonymous }
    }

    /// Whether none is configured.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// The clients, in the order of the configuration.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.clients.iter()
    }

    /// The client of this name.
    #[must_use]
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Client>> {
        self.clients.iter().find(|client| client.name == name)
    }
}

impl Default for Clients {
    /// None, and every caller may do everything.
    fn default() -> Self {
        Self { clients: Vec::new(), issuers: Vec::new(), anonymous: Some(Policy::everything()) }
    }
}
