//! Clients and policies: what is written, and the table that is made of it. Names become policies, and no two clients share a
//! credential.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::Arc;

use super::access_clients::{ClientFile, NONE, Named, Policies, PolicyOf, WrittenClients};
use super::access_issuers::Issuers;
use super::access_policies::{self, EVERYTHING, METADATA_ONLY, PolicyFile};
use super::declaration::section;
use super::problem::{Findings, Place, Problem, Source, Written, did_you_mean, shown};
use crate::access::clients::{CertificateRule, Client, Clients, SmartKeys};
use crate::access::patients::Patients;
use crate::access::policy::Policy;

section! {
    /// Clients and policies as they are written.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct AccessTable {
        /// The policy of callers without credentials, or `none`: they get 401. `everything` and `metadata-only` are always there.
        anonymous: Option<Written<String>> = None, example("metadata-only"),
            derived("`none` where there are clients, otherwise `everything`");
        /// Policies by name: what a client may do. `everything` is `{ scopes: [system/*.cruds], export: [system, patient, group] }`
        /// and the operations, `metadata-only` is `{ scopes: [] }`, unless they are written.
        policies: Policies = Policies::default(), derived("`everything` and `metadata-only`");
        /// Clients by name, each with its policy and its credentials.
        clients: WrittenClients = WrittenClients::default(), derived("none");
        /// Identity providers by name, whose JWTs clients can have.
        issuers: Issuers = Issuers::default(), derived("none");
    }
}

impl AccessTable {
    /// The table as it takes effect.
    pub(super) fn effective(&self) -> Self {
        let place = Place::whole(Source::CommandLine);
        let written = |word: &str| Written { value: word.to_owned(), place };
        let default = if self.clients.0.is_empty() { EVERYTHING } else { NONE };
        Self { anonymous: self.anonymous.clone().or_else(|| Some(written(default))), ..self.clone() }
    }

    /// The files that are read with it.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let sets = self.client_files().filter_map(|(_, client)| client.smart.as_ref()?.file.as_ref());
        let of_clients = self.client_files().filter_map(|(_, client)| match &client.smart.as_ref()?.keys {
            SmartKeys::Remote(keys) => keys.authorities.as_ref(),
            SmartKeys::Set(_) => None,
        });
        let of_issuers = self.issuers.read.iter().filter_map(|issuer| issuer.keys.authorities.as_ref());
        let authorities = of_clients.chain(of_issuers).map(|authorities| &authorities.file);
        self.policy_files().filter_map(|policy| policy.file()).chain(sets).chain(authorities)
    }

    /// Whether it is said what callers without credentials may do.
    pub(super) fn says_what(&self) -> bool {
        self.anonymous.is_some() || !self.clients.0.is_empty()
    }

    /// Reports policies for sites that are not there.
    pub(super) fn check_sites(&self, names: &[&str], findings: &mut Findings) {
        for site in self.policy_files().filter_map(|policy| policy.sites.as_ref()).flatten() {
            if !names.contains(&site.value.as_str()) {
                findings.problem(unknown(&site.value, &site.place, "site", "sites", names.iter().copied()));
            }
        }
    }

    fn client_files(&self) -> impl Iterator<Item = (&Named<ClientFile>, &ClientFile)> {
        self.clients.0.iter().filter_map(|client| Some((client, client.written.as_ref()?)))
    }

    /// The policies that are written, those of single clients included.
    fn policy_files(&self) -> impl Iterator<Item = &PolicyFile> {
        let own = self.client_files().map(|(_, client)| match &client.policy {
            Some(PolicyOf::Own(own)) => own,
            Some(PolicyOf::Named(_)) | None => &client.own,
        });
        self.policies.0.iter().filter_map(|policy| policy.written.as_ref()).chain(own)
    }

    /// Makes the table of clients. What cannot be made is reported, and is missing in it.
    pub(super) fn clients(&self, findings: &mut Findings) -> Clients {
        let policies = self.policies();
        let mut seen = Seen::default();
        let mut clients = Vec::with_capacity(self.clients.0.len());
        for (Named { name, place, .. }, written) in self.client_files() {
            seen.check(name, written, place, findings);
            self.check_issuer(written, findings);
            let policy = match &written.policy {
                Some(PolicyOf::Named(policy)) => find(&policies, policy, findings),
                Some(PolicyOf::Own(own)) => Some(Arc::new(own.policy(name, place))),
                None => Some(Arc::new(written.own.policy(name, place))),
            };
            let Some(policy) = policy else { continue };
            let policy = limited(policy, &written.own, place, findings);
            check_claim(name, written, &policy, place, findings);
            clients.push(client(name, written, policy, place));
        }
        let anonymous = self.anonymous_policy(&policies, findings);
        Clients::new(clients, self.issuers.read.clone(), anonymous)
    }

    /// The policies by name, `None` for those that could not be read.
    fn policies(&self) -> HashMap<&str, Option<Arc<Policy>>> {
        let built_in = [EVERYTHING, METADATA_ONLY].into_iter().map(|name| (name, PolicyFile::built_in(name)));
        let written = self.policies.0.iter().map(|policy| {
            let Named { name, place, written } = policy;
            (name.as_str(), written.as_ref().map(|file| file.policy(name, place)))
        });
        built_in.chain(written).map(|(name, policy)| (name, policy.map(Arc::new))).collect()
    }

    /// What callers without credentials may do.
    fn anonymous_policy(&self, policies: &HashMap<&str, Option<Arc<Policy>>>, findings: &mut Findings) -> Option<Arc<Policy>> {
        match &self.anonymous {
            None if self.clients.0.is_empty() => Some(Policy::everything()),
            None => None,
            Some(written) if written.value == NONE => None,
            Some(written) => {
                let policy = find(policies, written, findings)?;
                // As where nothing is written, with what the gateway does itself.
                if policy.is_everything && self.clients.0.is_empty() {
                    return Some(Policy::everything());
                }
                if let Patients::Claim(_) = policy.patients {
                    let problem = written.place.problem("has a policy with `patients: { claim }`, and its callers have no JWT");
                    findings.problem(problem.remedy("name another policy"));
                }
                Some(policy)
            }
        }
    }

    fn check_issuer(&self, client: &ClientFile, findings: &mut Findings) {
        let Some(jwt) = &client.jwt else { return };
        if !self.issuers.names.contains(&jwt.subject.issuer) {
            let names = self.issuers.names.iter().map(String::as_str);
            findings.problem(unknown(&jwt.subject.issuer, &jwt.issuer_place, "identity provider", "access.issuers", names));
        }
    }
}

fn find(
    policies: &HashMap<&str, Option<Arc<Policy>>>,
    written: &Written<String>,
    findings: &mut Findings,
) -> Option<Arc<Policy>> {
    if let Some(policy) = policies.get(written.value.as_str()) {
        return policy.clone();
    }
    let mut names: Vec<&str> = policies.keys().copied().collect();
    names.sort_unstable();
    findings.problem(unknown(&written.value, &written.place, "policy", "access.policies", names));
    None
}

/// A name that stands for nothing.
fn unknown<'n>(name: &str, place: &Place, kind: &str, section: &str, names: impl IntoIterator<Item = &'n str>) -> Problem {
    let names: Vec<&str> = names.into_iter().collect();
    let problem = place.problem(format!("there is no {kind} `{}`", shown(name)));
    match did_you_mean(name, names.iter().copied()) {
        Some(meant) => problem.remedy(format!("did you mean `{meant}`?")),
        None if names.is_empty() => problem.remedy(format!("write it under {section}")),
        None if names.len() <= 20 => problem.remedy(format!("write it under {section}, or name one of {}", names.join(", "))),
        None => problem.remedy(format!("write it under {section}, or name one that is there")),
    }
}

/// The policy with the limits that are written at the client itself.
fn limited(policy: Arc<Policy>, own: &PolicyFile, place: &Place, findings: &mut Findings) -> Arc<Policy> {
    let limits = own.limits().or(policy.limits);
    if limits == policy.limits {
        return policy;
    }
    if limits.burst.is_some() && limits.rate.is_none() {
        findings.problem(access_policies::burst_without_rate(&place.member("burst")));
    }
    Arc::new(Policy { limits, ..Policy::clone(&policy) })
}

fn client(name: &str, written: &ClientFile, policy: Arc<Policy>, place: &Place) -> Client {
    Client {
        name: name.into(),
        line: access_policies::line(place),
        policy,
        allow_from: written.allow_from.clone(),
        api_keys: written.api_keys.clone(),
        certificates: written.certificates.clone(),
        jwt: written.jwt.as_ref().map(|written| written.subject.clone()),
        smart: written.smart.as_ref().map(|written| written.keys.clone()),
        recipient: written.recipient.as_deref().map(Arc::from),
        purpose: written.purpose.as_deref().map(Arc::from),
    }
}

/// Reports a list of patients in a claim of a client that has no JWT of an identity provider, or another credential besides.
fn check_claim(name: &str, written: &ClientFile, policy: &Policy, place: &Place, findings: &mut Findings) {
    let Patients::Claim(claim) = &policy.patients else { return };
    let claim = shown(claim);
    if written.jwt.is_none() {
        let problem = place.problem(format!("has its patients in the claim `{claim}`, and no JWT in which it could stand"));
        findings.problem(problem.remedy("write  jwt: { issuer: …, subject: … }  or list the patients otherwise"));
    } else if !written.api_keys.is_empty() || !written.certificates.is_empty() || written.smart.is_some() {
        let problem =
            place.problem(format!("has its patients in the claim `{claim}`: with another credential than a JWT it has none"));
        findings.warning(problem.remedy(format!("leave the other credentials of {name} out")));
    }
}

/// The credentials met so far, each with its client.
#[derive(Default)]
struct Seen<'w> {
    keys: HashMap<[u8; 8], (&'w str, [u8; 32])>,
    rules: HashMap<String, &'w str>,
    subjects: HashMap<(&'w str, &'w str), &'w str>,
}

impl<'w> Seen<'w> {
    fn check(&mut self, name: &'w str, client: &'w ClientFile, place: &Place, findings: &mut Findings) {
        for (index, key) in client.api_keys.iter().enumerate() {
            let mut id = [0; 8];
            id.copy_from_slice(key.sha256.first_chunk::<8>().unwrap_or(&[0; 8]));
            if let Some((earlier, sha256)) = first(&mut self.keys, id, (name, key.sha256)) {
                let place = place.member("api_keys").element(index);
                let what = if sha256 == key.sha256 { "is a key" } else { "has the id of a key" };
                let problem = place.problem(format!("{what} of `{earlier}` too"));
                findings.problem(problem.remedy(format!("make another one:  openemr-gateway access new-key {name}")));
            }
        }
        for (index, rule) in client.certificates.iter().enumerate() {
            if let Some(earlier) = first(&mut self.rules, rule_text(rule), name) {
                let problem = place.member("certificates").element(index).problem(format!("is a rule of `{earlier}` too"));
                findings.problem(problem.remedy("write what only the certificates of this client have, or keep one of the two"));
            }
        }
        if let Some(jwt) = &client.jwt
            && let Some(earlier) = first(&mut self.subjects, (&jwt.subject.issuer, &jwt.subject.subject), name)
        {
            let problem = place.member("jwt").problem(format!("is the subject of `{earlier}` too"));
            findings.problem(problem.remedy("keep one of the two"));
        }
    }
}

/// The value that a key had before; otherwise it has this one from now on.
fn first<K: Eq + Hash, V: Copy>(map: &mut HashMap<K, V>, key: K, value: V) -> Option<V> {
    match map.entry(key) {
        Entry::Occupied(entry) => Some(*entry.get()),
        Entry::Vacant(entry) => {
            entry.insert(value);
            None
        }
    }
}

fn rule_text(rule: &CertificateRule) -> String {
    format!("{rule:?}")
}
