//! The clients that the configuration names, found by their credentials.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use crate::access::issuer::Issuer;
use crate::access::line::Line;
use crate::access::policy::Policy;
use crate::access::remote_keys::RemoteKeys;

/// A client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// The name.
    pub(crate) name: Arc<str>,
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
    /// Who receives its data: name and address.
    pub(crate) recipient: Option<Arc<str>>,
    /// What the data are for.
    pub(crate) purpose: Option<Arc<str>>,
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

impl KeyDigest {
    /// The SHA-256 in 64 hexadecimal digits.
    #[must_use]
    pub(crate) fn hex(&self) -> String {
        hex::encode(self.sha256)
    }

    /// The id, as a number.
    fn id(&self) -> u64 {
        self.sha256.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
    }
}

/// What a client's certificate must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CertificateRule {
    /// The common name of the subject.
    SubjectCn(String),
    /// A DNS name among the subject's alternative names, in lower case.
    SanDns(String),
    /// A URI among them.
    SanUri(String),
    /// The SHA-256 of the certificate.
    Fingerprint([u8; 32]),
}

/// A fact of a client's certificate, about which there may be a [`CertificateRule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertificateFact<'a> {
    /// The common name of the subject.
    SubjectCn(&'a str),
    /// A DNS name among the subject's alternative names.
    SanDns(&'a str),
    /// A URI among them.
    SanUri(&'a str),
    /// The SHA-256 of the certificate.
    Fingerprint(&'a [u8; 32]),
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
    /// Where one is.
    Remote(RemoteKeys),
}

/// All clients. The configuration has made sure that no two of them share a name or a credential; should two do so all the same,
/// the first has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clients {
    clients: Vec<Arc<Client>>,
    by: Lookups,
    /// The identity providers.
    pub(crate) issuers: Vec<Issuer>,
    /// The policy of callers without credentials; `None`: they are refused.
    pub(crate) anonymous: Option<Arc<Policy>>,
}

/// Positions in the list of clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Lookups {
    name: HashMap<Arc<str>, usize>,
    /// Also the position in the client's list of keys.
    key_id: HashMap<u64, (usize, usize)>,
    /// By issuer, then by subject.
    subject: HashMap<String, HashMap<String, usize>>,
    subject_cn: HashMap<String, usize>,
    san_dns: HashMap<String, usize>,
    san_uri: HashMap<String, usize>,
    fingerprint: HashMap<[u8; 32], usize>,
}

impl Lookups {
    fn add(&mut self, position: usize, client: &Client) {
        self.name.entry(Arc::clone(&client.name)).or_insert(position);
        for (key_position, key) in client.api_keys.iter().enumerate() {
            self.key_id.entry(key.id()).or_insert((position, key_position));
        }
        for rule in &client.certificates {
            match rule {
                CertificateRule::SubjectCn(name) => self.subject_cn.entry(name.clone()).or_insert(position),
                CertificateRule::SanDns(name) => self.san_dns.entry(name.to_ascii_lowercase()).or_insert(position),
                CertificateRule::SanUri(uri) => self.san_uri.entry(uri.clone()).or_insert(position),
                CertificateRule::Fingerprint(sha256) => self.fingerprint.entry(*sha256).or_insert(position),
            };
        }
        if let Some(Subject { issuer, subject }) = &client.jwt {
            self.subject.entry(issuer.clone()).or_default().entry(subject.clone()).or_insert(position);
        }
    }
}

impl Clients {
    /// Makes the table.
    #[must_use]
    pub(crate) fn new(clients: Vec<Client>, issuers: Vec<Issuer>, anonymous: Option<Arc<Policy>>) -> Self {
        let mut by = Lookups::default();
        for (position, client) in clients.iter().enumerate() {
            by.add(position, client);
        }
        Self { clients: clients.into_iter().map(Arc::new).collect(), by, issuers, anonymous }
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

    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|client| &*client.name)
    }

    /// The client of this name. It is also its `client_id` at the token endpoint.
    #[must_use]
    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Client>> {
        self.clients.get(*self.by.name.get(name)?)
    }

    /// The client and its key with this id, 16 hexadecimal digits in lower case. Whether the secret fits is for the caller to find out.
    #[must_use]
    pub(crate) fn with_key_id(&self, id: &str) -> Option<(&Arc<Client>, &KeyDigest)> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if id.len() != 16 || !id.bytes().all(is_digit) {
            return None;
        }
        let (position, key_position) = *self.by.key_id.get(&u64::from_str_radix(id, 16).ok()?)?;
        let client = self.clients.get(position)?;
        Some((client, client.api_keys.get(key_position)?))
    }

    /// The client of a JWT of this issuer (its name in `access.issuers`), in which the claim that names the client says `subject`.
    #[must_use]
    pub(crate) fn with_subject(&self, issuer: &str, subject: &str) -> Option<&Arc<Client>> {
        self.clients.get(*self.by.subject.get(issuer)?.get(subject)?)
    }

    /// The client with a rule that this fact of a certificate meets.
    #[must_use]
    pub(crate) fn with_certificate(&self, fact: CertificateFact<'_>) -> Option<&Arc<Client>> {
        let position = match fact {
            CertificateFact::SubjectCn(name) => self.by.subject_cn.get(name),
            CertificateFact::SanDns(name) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.by.san_dns.get(name.to_ascii_lowercase().as_str())
            }
            CertificateFact::SanDns(name) => self.by.san_dns.get(name),
            CertificateFact::SanUri(uri) => self.by.san_uri.get(uri),
            CertificateFact::Fingerprint(sha256) => self.by.fingerprint.get(sha256),
        };
        self.clients.get(*position?)
    }
}

impl Default for Clients {
    /// None, and every caller may do everything.
    fn default() -> Self {
        Self::new(Vec::new(), Vec::new(), Some(Policy::everything()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client(name: &str, number: u32) -> Client {
        let mut sha256 = [0; 32];
        sha256[..4].copy_from_slice(&number.to_be_bytes());
        Client {
            name: name.into(),
            line: Line::default(),
            policy: Policy::nothing(),
            allow_from: None,
            api_keys: vec![KeyDigest { sha256, expires: None }],
            certificates: vec![
                CertificateRule::SubjectCn(format!("cn {name}")),
                CertificateRule::SanDns(format!("{name}.example.org")),
                CertificateRule::SanUri(format!("urn:{name}")),
                CertificateRule::Fingerprint(sha256),
            ],
            jwt: Some(Subject { issuer: "corp".to_owned(), subject: format!("{name} service") }),
            smart: (number == 7).then(|| SmartKeys::Remote(RemoteKeys::at("https://lab.example.org/jwks"))),
            recipient: None,
            purpose: None,
        }
    }

    #[test]
    fn a_client_is_found_by_each_of_its_credentials() {
        let clients = Clients::new(vec![client("lab", 7), client("app", 0xabc)], Vec::new(), None);
        for (name, id) in [("lab", "0000000700000000"), ("app", "00000abc00000000")] {
            let (found, key) = clients.with_key_id(id).unwrap();
            assert_eq!((&*found.name, &key.hex()[..16]), (name, id));
            let (cn, dns, uri) = (format!("cn {name}"), format!("{name}.Example.org"), format!("urn:{name}"));
            let subject = format!("{name} service");
            for found in [
                clients.named(name),
                clients.with_certificate(CertificateFact::SubjectCn(&cn)),
                clients.with_certificate(CertificateFact::SanDns(&dns)),
                clients.with_certificate(CertificateFact::SanUri(&uri)),
                clients.with_certificate(CertificateFact::Fingerprint(&key.sha256)),
                clients.with_subject("corp", &subject),
            ] {
                assert_eq!(&*found.unwrap().name, name);
            }
        }
    }

    #[test]
    fn nothing_else_finds_a_client() {
        let clients = Clients::new(vec![client("lab", 0xabc)], Vec::new(), None);
        for id in ["", "00000abc", "00000ABC00000000", "+0000abc00000000", "00000abc00000001", "00000abc000000000"] {
            assert!(clients.with_key_id(id).is_none(), "{id}");
        }
        for fact in [
            CertificateFact::SubjectCn("CN lab"),
            CertificateFact::SubjectCn("lab.example.org"),
            CertificateFact::SanDns("cn lab"),
            CertificateFact::SanUri("URN:lab"),
            CertificateFact::Fingerprint(&[0; 32]),
        ] {
            assert!(clients.with_certificate(fact).is_none(), "{fact:?}");
        }
        assert!(clients.named("Lab").is_none());
        assert!(clients.with_subject("other", "lab service").is_none() && clients.with_subject("corp", "lab").is_none());
    }
}
