//! Identity providers as they are written.

use serde_yaml::{Mapping, Value as Yaml};

use super::access_credentials::JwksUri;
use super::certificates::CaFile;
use super::declaration::{Members as _, section, section_shape, words};
use super::node::Node;
use super::problem::{Findings, Place};
use super::section::{Section, entries};
use super::setting::Setting;
use super::shape::Shape;
use crate::access::issuer::{Issuer, JwtAlgorithm};

/// The most identity providers.
const MOST: usize = 100;

section! {
    /// An identity provider as it is written.
    struct IssuerFile {
        /// The `iss` of its JWTs, to the letter.
        issuer: Option<String> = None, required("<https://id.example.org/realms/emr>");
        /// What `aud` of a JWT must name: this gateway, as the identity provider knows it.
        audience: Option<String> = None, required("<openemr-gateway>");
        /// The URL of its JWK Set; https, unless it is on this machine.
        jwks_uri: Option<JwksUri> = None, required("<https://id.example.org/realms/emr/protocol/openid-connect/certs>");
        /// A PEM file with a private CA that signed the certificate of the server at `jwks_uri`; it is trusted besides the
        /// system's.
        ca_file: Option<CaFile> = None;
        /// The algorithms of signatures that are taken.
        algorithms: Vec<Algorithm> = vec![Algorithm::Rs256, Algorithm::Es256];
        /// The claim that names the client: `azp`, `client_id` or `sub` at most identity providers.
        client_claim: String = "sub".to_owned();
        /// The claim with SMART scopes, which narrow the policy of the client. With none the policy alone counts.
        scope_claim: Option<String> = None, example("scope");
    }
    check IssuerFile::check
}

words! {
    /// An algorithm of signatures.
    enum Algorithm {
        /// RSA, SHA-256.
        Rs256 = "RS256",
        /// RSA, SHA-384.
        Rs384 = "RS384",
        /// RSA, SHA-512.
        Rs512 = "RS512",
        /// P-256, SHA-256.
        Es256 = "ES256",
        /// P-384, SHA-384.
        Es384 = "ES384",
        /// RSA-PSS, SHA-256.
        Ps256 = "PS256",
        /// RSA-PSS, SHA-384.
        Ps384 = "PS384",
    }
}

/// The algorithms, as they are written and as they are used.
const ALGORITHMS: [(Algorithm, JwtAlgorithm); 7] = [
    (Algorithm::Rs256, JwtAlgorithm::Rs256),
    (Algorithm::Rs384, JwtAlgorithm::Rs384),
    (Algorithm::Rs512, JwtAlgorithm::Rs512),
    (Algorithm::Es256, JwtAlgorithm::Es256),
    (Algorithm::Es384, JwtAlgorithm::Es384),
    (Algorithm::Ps256, JwtAlgorithm::Ps256),
    (Algorithm::Ps384, JwtAlgorithm::Ps384),
];

impl IssuerFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        let mut blank = |key: &str, is_blank: bool| {
            if is_blank {
                findings.problem(section.place_of(key).problem("is empty").remedy("write a value, or leave the key out"));
            }
        };
        blank("issuer", self.issuer.as_ref().is_some_and(String::is_empty));
        blank("audience", self.audience.as_ref().is_some_and(String::is_empty));
        blank("algorithms", self.algorithms.is_empty());
        blank("client_claim", self.client_claim.is_empty());
        blank("scope_claim", self.scope_claim.as_ref().is_some_and(String::is_empty));
        Some(self)
    }

    fn issuer(self, name: &str) -> Option<Issuer> {
        let used = |written: Algorithm| ALGORITHMS.iter().find(|(other, _)| *other == written).map(|(_, used)| *used);
        Some(Issuer {
            name: name.to_owned(),
            issuer: self.issuer?,
            audience: self.audience?,
            keys: self.jwks_uri?.remote(self.ca_file),
            algorithms: self.algorithms.into_iter().filter_map(used).collect(),
            client_claim: self.client_claim,
            scope_claim: self.scope_claim,
        })
    }

    fn of(issuer: &Issuer) -> Self {
        let written = |used: &JwtAlgorithm| ALGORITHMS.iter().find(|(_, other)| other == used).map(|(written, _)| *written);
        Self {
            issuer: Some(issuer.issuer.clone()),
            audience: Some(issuer.audience.clone()),
            jwks_uri: Some(JwksUri(issuer.keys.url.clone())),
            ca_file: issuer.keys.authorities.as_deref().map(CaFile::from),
            algorithms: issuer.algorithms.iter().filter_map(written).collect(),
            client_claim: issuer.client_claim.clone(),
            scope_claim: issuer.scope_claim.clone(),
        }
    }
}

/// The identity providers by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Issuers {
    /// Those that could be read.
    pub(super) read: Vec<Issuer>,
    /// Every name that is written.
    pub(super) names: Vec<String>,
}

impl Setting for Issuers {
    fn shape() -> Shape {
        Shape::Named(Box::new(section_shape::<IssuerFile>()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let entries = entries(node, place, findings)?;
        if entries.len() > MOST {
            findings.problem(place.problem(format!("names {} identity providers; at most {MOST} are taken", entries.len())));
            return None;
        }
        let mut issuers = Self::default();
        let keys = IssuerFile::keys();
        for entry in entries {
            let place = place.member(&entry.key).at(entry.mark);
            issuers.names.push(entry.key.clone());
            let section = Section::open(&entry.node, &place, &keys, findings);
            let read = section.and_then(|section| IssuerFile::read_members(&section, findings));
            let Some(issuer) = read.and_then(|file| file.issuer(&entry.key)) else { continue };
            // Two entries for one `iss` would make it a matter of chance which of them a JWT is checked by.
            if let Some(earlier) = issuers.read.iter().find(|earlier| earlier.issuer == issuer.issuer) {
                let problem = place.member("issuer").problem(format!("is that of `{}` too", earlier.name));
                findings.problem(problem.remedy("keep one of the two"));
            }
            issuers.read.push(issuer);
        }
        Some(issuers)
    }

    fn to_yaml(&self) -> Yaml {
        let entries = self.read.iter().map(|issuer| (issuer.name.as_str().into(), IssuerFile::of(issuer).to_yaml()));
        Yaml::Mapping(Mapping::from_iter(entries))
    }
}
