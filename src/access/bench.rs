//! Clients for the benchmarks (`bench/access.rs`).

use std::sync::Arc;

use http::Method;

use crate::access::caller::{Caller, Credential};
use crate::access::clients::{Client, Clients, KeyDigest};
use crate::access::decision::{Verdict, decide};
use crate::access::line::Line;
use crate::access::patients::Patients;
use crate::access::permitted::permitted_of_search;
use crate::access::policy::Policy;
use crate::access::question::Question;
use crate::access::rule::Rule;
use crate::fhir::interaction::Interaction;
use crate::fhir::resource_test::Permitted;
use crate::fhir::resource_type;

/// A client that may have some resources.
#[derive(Debug)]
pub struct LimitedClient(Caller);

/// A request of a client.
#[derive(Debug)]
pub struct ClientQuestion<'a>(Question<'a>);

/// Many clients, each with a policy and a key of its own.
#[derive(Debug)]
pub struct ManyClients(Clients);

fn policy(scopes: &[&str], patients: &[&str]) -> Option<Policy> {
    let rules: Result<_, _> = scopes.iter().map(|scope| Rule::parse(scope, Line::default())).collect();
    let patients = match patients {
        [] => Patients::All,
        ids => Patients::Listed(Arc::new(ids.iter().copied().collect())),
    };
    let policy = Policy { rules: rules.ok()?, patients, ..Policy::default() };
    let _ = policy.table();
    Some(policy)
}

impl LimitedClient {
    /// A client with these scopes, and these patients if there are any. `None` for a scope that cannot be read.
    #[must_use]
    pub fn new(scopes: &[&str], patients: &[&str]) -> Option<Self> {
        let policy = Arc::new(policy(scopes, patients)?);
        Some(Self(Caller { client: Some("bench".into()), policy, found: None, credential: Credential::ApiKey }))
    }

    /// Its `GET`.
    #[must_use]
    pub fn question<'a>(&self, path: &'a str, query: &str) -> ClientQuestion<'a> {
        ClientQuestion(question(path, query))
    }

    /// Whether the request is permitted, perhaps in part.
    #[must_use]
    pub fn decide(&self, question: &ClientQuestion<'_>) -> bool {
        !matches!(decide(&self.0, &question.0).verdict, Verdict::Refuse(_))
    }

    /// The test of the answer to a search.
    ///
    /// # Panics
    /// There is no such type.
    #[must_use]
    pub fn test(&self, searched: &str) -> Permitted {
        permitted_of_search(&self.0, resource_type::known(searched.as_bytes()).expect("a type"), &[])
    }
}

fn question<'a>(path: &'a str, query: &str) -> Question<'a> {
    Question {
        site: "default",
        interaction: Interaction::of(&Method::GET, path.as_bytes()),
        path: path.as_bytes(),
        parameters: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        if_none_exist: None,
        bases: &[],
    }
}

impl ManyClients {
    /// So many clients.
    #[must_use]
    pub fn new(count: u32) -> Option<Self> {
        let client = |number: u32| {
            let mut sha256 = [0; 32];
            sha256.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
            Some(Client {
                name: format!("client-{number}").into(),
                line: Line::default(),
                policy: Arc::new(policy(&["system/Patient.rs", "system/Observation.rs?status=final"], &[])?),
                allow_from: None,
                api_keys: vec![KeyDigest { sha256, expires: None }],
                certificates: Vec::new(),
                jwt: None,
                smart: None,
                recipient: None,
                purpose: None,
            })
        };
        Some(Self(Clients::new((0..count).map(client).collect::<Option<_>>()?, Vec::new(), None)))
    }

    /// Whether the client of this number, found by the id of its key, may read a Patient.
    #[must_use]
    pub fn decides(&self, number: u32) -> bool {
        let mut id = *b"0000000000000000";
        for (place, digit) in id.iter_mut().zip((0..8).rev()) {
            let nibble = u8::try_from(number >> (4 * digit) & 15).unwrap_or_default();
            *place = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
        let Some((client, _)) = std::str::from_utf8(&id).ok().and_then(|id| self.0.with_key_id(id)) else { return false };
        let policy = Arc::clone(&client.policy);
        let caller = Caller { client: Some(Arc::clone(&client.name)), policy, found: None, credential: Credential::ApiKey };
        !matches!(decide(&caller, &question("/Patient/1", "")).verdict, Verdict::Refuse(_))
    }
}
