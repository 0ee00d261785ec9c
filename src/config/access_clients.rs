//! Policies and clients by name, as they are written.

use ipnet::IpNet;
use serde_yaml::{Mapping, Value as Yaml};

use super::access_credentials::{WrittenSmartKeys, WrittenSubject};
use super::access_policies::{self, PolicyFile};
use super::declaration::{Members as _, section, section_shape};
use super::node::{Entry, Node, Value};
use super::problem::{Findings, Place, Written, shown};
use super::section::{Section, entries, text};
use super::setting::Setting;
use super::shape::Shape;
use crate::access::clients::{CertificateRule, KeyDigest};

/// The most clients.
const MOST: usize = 100_000;
/// The word that stands for no policy.
pub(super) const NONE: &str = "none";

section! {
    /// A client as it is written.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct ClientFile {
        /// What it may do: the name of a policy, or the keys of one. They may stand in the client itself, too.
        policy: Option<PolicyOf> = None, derived("required, unless its keys stand in the client");
        /// The networks or single addresses from which it may call, within `access.allow_from`.
        allow_from: Option<Vec<IpNet>> = None, derived("those of `access.allow_from`");
        /// Its API keys, each as its SHA-256. `openemr-gateway access new-key <name>` makes one. Two at once let it change from one to
        /// the other.
        api_keys: Vec<KeyDigest> = Vec::new();
        /// Its TLS client certificates: each entry alone is enough.
        certificates: Vec<CertificateRule> = Vec::new();
        /// Its JWTs of an identity provider.
        jwt: Option<WrittenSubject> = None, derived("none");
        /// Its public keys, with which it gets access tokens at the gateway (SMART Backend Services). Its `client_id` is its name.
        smart: Option<WrittenSmartKeys> = None, derived("none");
        /// Who receives its data: name and address, for an accounting of disclosures (docs/audit.md).
        recipient: Option<String> = None, derived("the name of the client");
        /// What the data are for, in a few words or as a code of PurposeOfUse such as `TREAT`, for an accounting of disclosures.
        purpose: Option<String> = None;
        flat own: PolicyFile;
    }
    check ClientFile::check
}

impl ClientFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        let has_own = PolicyFile::KEYS.iter().any(|key| section.has(key));
        access_policies::check_single(section, findings);
        if section.is_unset("policy") && !has_own {
            let what = if section.has("policy") { "`policy` is left blank" } else { "`policy` is missing" };
            let problem = section.place.problem(what);
            findings.problem(problem.remedy("write the name of a policy, or its keys:  scopes: [system/Patient.rs]"));
        }
        if ["api_keys", "certificates", "jwt", "smart"].iter().all(|key| section.is_unset(key) || is_empty_list(section, key)) {
            let problem = section.place.problem("has no credential, so that nobody can be this client");
            findings.problem(
                problem.remedy("write api_keys, certificates, jwt or smart; openemr-gateway access new-key makes a key"),
            );
        }
        for (key, text) in [("recipient", &self.recipient), ("purpose", &self.purpose)] {
            if text.as_ref().is_some_and(|text| !is_short_text(text)) {
                let problem = section.place_of(key).problem("is no text of one line with 1 to 256 letters");
                findings.problem(problem.remedy("write a name, or a few words"));
            }
        }
        if self.allow_from.as_ref().is_some_and(Vec::is_empty) {
            let problem = section.place_of("allow_from").problem("names no network, so that it could not call");
            findings.problem(problem.remedy("name the client's networks, or leave the key out"));
        }
        Some(self)
    }
}

fn is_empty_list(section: &Section<'_>, key: &str) -> bool {
    section.node(key).is_some_and(|(node, _)| node.value == Value::List(Vec::new()))
}

/// A policy by its name, or written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PolicyOf {
    Named(Written<String>),
    Own(Box<PolicyFile>),
}

impl Setting for PolicyOf {
    fn shape() -> Shape {
        Shape::Either(Box::new(Shape::Text("name of a policy")), Box::new(section_shape::<PolicyFile>()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        match &node.value {
            Value::Map(_) => PolicyFile::read(node, place, findings).map(|own| Self::Own(Box::new(own))),
            _ => text(node, place.clone(), findings).map(Self::Named),
        }
    }

    fn to_yaml(&self) -> Yaml {
        match self {
            Self::Named(name) => name.to_yaml(),
            Self::Own(own) => own.to_yaml(),
        }
    }
}

/// An entry of a mapping of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named<T> {
    pub(super) name: String,
    pub(super) place: Place,
    /// What was written; `None` when it could not be read.
    pub(super) written: Option<T>,
}

/// The policies by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Policies(pub(super) Vec<Named<PolicyFile>>);

/// The clients by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct WrittenClients(pub(super) Vec<Named<ClientFile>>);

impl Setting for Policies {
    fn shape() -> Shape {
        Shape::Named(Box::new(section_shape::<PolicyFile>()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        let read = named(node, place, "policy", findings, PolicyFile::keys(), PolicyFile::read_members)?;
        for policy in read.iter().filter(|policy| policy.name == NONE) {
            let problem = policy.place.problem("is no name for a policy: `anonymous: none` lets nobody in");
            findings.problem(problem.remedy("give the policy another name"));
        }
        Some(Self(read))
    }

    fn to_yaml(&self) -> Yaml {
        let entry = |policy: &Named<PolicyFile>| Some((policy.name.as_str().into(), policy.written.as_ref()?.to_yaml()));
        Yaml::Mapping(Mapping::from_iter(self.0.iter().filter_map(entry)))
    }
}

impl Setting for WrittenClients {
    fn shape() -> Shape {
        Shape::Named(Box::new(section_shape::<ClientFile>()))
    }

    fn read(node: &Node, place: &Place, findings: &mut Findings) -> Option<Self> {
        if let Value::Map(entries) = &node.value
            && entries.len() > MOST
        {
            findings.problem(place.problem(format!("names {} clients; at most {MOST} are taken", entries.len())));
            return None;
        }
        named(node, place, "client", findings, ClientFile::keys(), ClientFile::read_members).map(Self)
    }

    fn to_yaml(&self) -> Yaml {
        let entries = self.0.iter().filter_map(|client| {
            let written = client.written.as_ref()?;
            let Yaml::Mapping(mut keys) = written.to_yaml() else { return None };
            // Of the name of a policy and its keys, one counts.
            keys.retain(|key, _| {
                let is_own = key.as_str().is_some_and(|key| PolicyFile::KEYS.contains(&key));
                if written.policy.is_some() { !is_own } else { *key != "policy" }
            });
            Some((client.name.as_str().into(), Yaml::Mapping(keys)))
        });
        Yaml::Mapping(Mapping::from_iter(entries))
    }
}

/// Reads a mapping of names of the operator's choice, which stand in logs and in answers.
fn named<T>(
    node: &Node,
    place: &Place,
    kind: &str,
    findings: &mut Findings,
    keys: Vec<super::shape::KeyDescription>,
    read: impl Fn(&Section<'_>, &mut Findings) -> Option<T>,
) -> Option<Vec<Named<T>>> {
    let mut seen = std::collections::HashSet::new();
    let mut all = Vec::new();
    for Entry { key, mark, node } in entries(node, place, findings)? {
        let place = place.member(key).at(*mark);
        if !is_name(key) {
            let problem = place.problem(format!("`{}` is no name of a {kind}", shown(key)));
            findings.problem(problem.remedy("write 1 to 64 letters, digits, dots, underscores and hyphens"));
        }
        let before = findings.problems.len();
        let section = Section::open(node, &place, &keys, findings);
        let written = section.and_then(|section| read(&section, findings)).filter(|_| findings.problems.len() == before);
        if seen.insert(key) {
            all.push(Named { name: key.clone(), place, written });
        }
    }
    Some(all)
}

fn is_short_text(text: &str) -> bool {
    (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Whether a client or a policy can have this name.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}
