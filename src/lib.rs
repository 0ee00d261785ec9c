//! openemr-gateway: an edge gateway in front of OpenEMR's FHIR API.
//!
//! Callers send plain FHIR requests; the gateway holds the private key, keeps a
//! SMART Backend Services access token per site and stamps it on what goes to OpenEMR.
//!
//! A room uses only rooms on floors below its own (`tests/it/rooms` holds the code to that).
//!
//! | floor | room | what it is |
//! |---|---|---|
//! | 11 | `cli` | the command line: one file a command |
//! | 10 | `server` | the process: services, listeners, signals, upgrade, reload |
//! | 9 | `gateway` | the Pingora proxy: the life of one request |
//! | 9 | `admin` | the admin listener: metrics, state and commands for the operator |
//! | 8 | `exports` | bulk exports: their plans on the disk, the worker, OpenEMR's side |
//! | 7 | `diagnosis` | the check of a set-up, from the configuration to a patient |
//! | 7 | `site` | one OpenEMR made ready for requests |
//! | 6 | `callers` | the check of credentials, and the token server for clients |
//! | 6 | `sinks` | the audit trail's sinks: the thread that writes it, and what is posted to a repository |
//! | 6 | `smart` | client assertions, the token exchange and the life of an access token |
//! | 5 | `nodes` | OpenEMR's servers: addresses, health, requests in flight |
//! | 5 | `store` | the store that several gateways share |
//! | 4 | `config` | the YAML file and the environment, checked into a `Config` that cannot be wrong |
//! | 3 | `access` | clients, policies and the decision on a request |
//! | 3 | `audit` | the audit trail: records, files with a hash chain, events for a repository |
//! | 2 | `limits` | how often callers may ask, whose request is next, how many requests OpenEMR can take |
//! | 2 | `openemr` | OpenEMR's dialect: Bundles, searches, errors, exports |
//! | 2 | `scopes` | SMART scopes |
//! | 1 | `fhir` | FHIR's own words: interactions, OperationOutcomes, media types |
//! | 1 | `http` | request targets, field values, content codings, `Forwarded`, an answer as a value |
//! | 1 | `keys` | private keys, JWK Sets, key ids and key files |
//! | 1 | `observe` | what the operator sees: the log, its access lines, and the metrics |
//! | – | `sandbox` | a fake OpenEMR (Cargo feature `sandbox`), used by `cli` alone |

#![forbid(unsafe_code)]

mod access;
mod admin;
mod audit;
mod callers;
mod cli;
mod config;
mod diagnosis;
mod exports;
mod fhir;
mod gateway;
mod http;
mod keys;
mod limits;
mod nodes;
mod observe;
mod openemr;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod scopes;
mod server;
mod sinks;
mod site;
mod smart;
mod store;

pub use cli::run;

/// Key files as the end-to-end tests read them.
#[doc(hidden)]
pub mod key_files {
    pub use crate::keys::{Algorithm, JwkSet, SigningKey};
}

/// The steps of a body, for the benchmarks alone.
#[doc(hidden)]
pub mod bench {
    pub use crate::access::bench::{ClientQuestion, LimitedClient, ManyClients};
    pub use crate::audit::patients::{Form, PatientsFound};
    pub use crate::fhir::bench::{interaction, operation_outcome, resource_in};
    pub use crate::fhir::body_step::{BodyStep, Verdict};
    pub use crate::fhir::criteria::{Criteria, Illegible};
    pub use crate::fhir::json::pretty::Pretty;
    pub use crate::fhir::link_rewriter::{LinkRewriter, Links, Replacement};
    pub use crate::fhir::projection::projector::Projector;
    pub use crate::fhir::projection::rule::Projection;
    pub use crate::fhir::resource_test::{Permitted, ResourceTest};
    pub use crate::gateway::bench::{AnswerHead, RequestHead};
    pub use crate::observe::metrics::bench::CountedRequests;
    pub use crate::openemr::bundle::stream::BundleStream;
    pub use crate::openemr::mend::mender::Mender;
    pub use crate::openemr::mend::repairs::{Mended, Repairs};
    pub use crate::openemr::search::terms::{Page, SearchTerms, Window};
    pub use crate::smart::bench::SiteToken;

    /// Returns the criteria of a search: its parameters' names with their modifiers, and their values. `None` where one of them
    /// cannot be tested.
    #[must_use]
    pub fn criteria(resource_type: &str, parameters: &[(&str, &str)]) -> Option<Criteria> {
        let mut criteria = Criteria::default();
        for (name, value) in parameters {
            criteria.and(crate::fhir::criteria::Criterion::read(resource_type, name, value).ok()?);
        }
        Some(criteria)
    }
}

/// The private parts that the fuzz targets drive (`fuzz/README.md`).
#[doc(hidden)]
pub mod fuzzing {
    use std::net::IpAddr;

    use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

    use crate::fhir::capabilities::Capabilities;
    use crate::fhir::interaction::Interaction;
    use crate::fhir::json::completeness::Completeness;
    use crate::fhir::prefer::Handling;
    use crate::fhir::resource_identity::IdentityCheck;
    use crate::http::forwarded::hops::Hops;
    use crate::http::forwarded::trusted_proxy::{Family, TrustedProxy};
    use crate::http::framing::{Framer, HeadLimits};
    use crate::http::request_target::{Target, onto};
    use crate::openemr::php::variables::{MAX_INPUT_VARS, variables};
    use crate::openemr::request_parameters;
    use crate::openemr::search::paging::Pager;
    use crate::openemr::search::plan::{SearchContext, SearchPlan, Unusable};
    use crate::smart::token_response::{self, Answer};

    /// Whether a JSON document, in pieces, is complete.
    #[must_use]
    pub fn is_complete<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut completeness = Completeness::default();
        pieces.into_iter().for_each(|piece| completeness.feed(piece));
        completeness.is_complete()
    }

    /// Reads a token response: the token, its life in seconds and its scope.
    ///
    /// # Errors
    /// The text for the log, and the one for clients.
    pub fn token_response(status: u16, body: &[u8]) -> Result<(String, u64, String), (String, &'static str)> {
        let answer = Answer { status, content_type: Some("application/json"), skew: None, body };
        match token_response::parse(answer, &"system/Patient.read") {
            Ok(grant) => Ok((grant.access_token.as_str().to_owned(), grant.expires_in.as_secs(), grant.scope)),
            Err(error) => Err((error.to_string(), error.public_summary())),
        }
    }

    /// A request in the bytes of a connection.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Framed {
        /// Where its head begins.
        pub begin: usize,
        /// Where its body begins.
        pub body: usize,
        /// Where it ends, if it is whole.
        pub end: Option<usize>,
    }

    /// Finds the requests in the bytes of a connection, and whether what follows them is refused.
    #[must_use]
    pub fn framing(pieces: &[&[u8]]) -> (Vec<Framed>, bool) {
        let mut framer = Framer::new(HeadLimits { size: 4096, fields: 64 });
        let (mut requests, mut held, mut at) = (Vec::<Framed>::new(), Vec::new(), 0);
        for piece in pieces {
            held.extend_from_slice(piece);
            while !held.is_empty() {
                let taken = if framer.expects_head() {
                    let head = framer.head(&held);
                    if let Ok(Some(length)) = head {
                        requests.push(Framed { begin: at, body: at + length, end: None });
                    }
                    head
                } else {
                    framer.body(&held).map(Some)
                };
                let Ok(taken) = taken else { return (requests, true) };
                let Some(taken) = taken.filter(|taken| *taken > 0) else { break };
                held.drain(..taken);
                at += taken;
                if let Some(last) = requests.last_mut().filter(|_| framer.expects_head()) {
                    last.end = Some(at);
                }
            }
        }
        (requests, false)
    }

    /// Returns the target for OpenEMR, whose FHIR base is `/apis/default/fhir`, of a client's below `/fhir`; `None` where that is
    /// rejected or no FHIR request.
    #[must_use]
    pub fn upstream_target(raw: &[u8]) -> Option<Vec<u8>> {
        let target = Target::parse(raw).ok()?;
        target.check().ok()?;
        let below = target.path.strip_prefix(b"/fhir").filter(|below| below.is_empty() || below.starts_with(b"/"))?;
        Some(onto("/apis/default/fhir", below, target.query))
    }

    /// Who sent a request with these fields, and whether from this machine, where proxies in 10.0.0.0/8 and at 127.0.0.2 write
    /// `Forwarded` or `X-Forwarded-*`. `None` where the fields are not valid.
    #[must_use]
    pub fn client(lines: &[(&str, &[u8])], peer: IpAddr, forwarded: bool) -> Option<(Option<IpAddr>, bool)> {
        let family = if forwarded { Family::Forwarded } else { Family::XForwarded };
        let proxy = |from: &str| Some(TrustedProxy { from: from.parse().ok()?, family, host: false });
        let trusted = [proxy("10.0.0.0/8")?, proxy("127.0.0.2/32")?];
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::try_from(*name).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        let hops = Hops::of(&fields, Version::HTTP_11, peer, &trusted);
        Some((hops.client().address(), hops.are_local()))
    }

    /// The parameters of a query as the gateway's model of PHP reads them: the key, and the value, which an array does not have.
    #[must_use]
    pub fn php_parameters(query: &[u8]) -> Vec<(Vec<u8>, Option<String>)> {
        let read = variables(query).take(MAX_INPUT_VARS).map(|variable| {
            let name = variable.read_name()?;
            Some((name.key.into_owned(), (!name.is_array).then(|| variable.value.clone().into_owned())))
        });
        read.flatten().collect()
    }

    /// Whether a query may reach OpenEMR with a read of a Patient, or with an operation that the gateway does not know.
    #[must_use]
    pub fn may_pass(query: &[u8], with_a_read: bool) -> bool {
        let path: &[u8] = if with_a_read { b"/Patient/1" } else { b"/Patient/$unknown" };
        request_parameters::check(query, request_parameters::known(Interaction::of(&Method::GET, path))).is_ok()
    }

    /// Whether a body in pieces may be sent to the URL of a resource with this type and id.
    #[must_use]
    pub fn is_resource<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, resource_type: &str, id: &str) -> bool {
        let mut check = IdentityCheck::new(resource_type, Some(id));
        pieces.into_iter().all(|piece| check.feed(piece).is_ok())
    }

    /// A search as it goes to OpenEMR, and its address for clients.
    #[derive(Debug)]
    pub struct Search {
        /// The query or form for OpenEMR.
        pub sent: Vec<u8>,
        /// The address of the page, below the FHIR base.
        pub self_target: String,
    }

    /// Plans a search of Patient with all repairs, at a server with this CapabilityStatement. `None` where it is rejected.
    #[must_use]
    pub fn search(query: &[u8], form: &[u8], capabilities: &str, strict: bool) -> Option<Search> {
        let capabilities = Capabilities::parse(capabilities.as_bytes()).ok();
        let context = SearchContext {
            resource_type: "Patient",
            capabilities: capabilities.as_ref(),
            repairs: true,
            pager: Pager::Slice,
            keeps_pages: false,
            handling: Some(if strict { Handling::Strict } else { Handling::Lenient }),
            unusable: Unusable::Refuse,
            bases: &[],
            permitted: None,
        };
        let plan = SearchPlan::new(query, form, &context).ok().flatten()?;
        Some(Search { sent: plan.sent, self_target: plan.terms.self_target })
    }

    /// What the sandbox, which shares no code with the gateway, makes of requests.
    #[cfg(feature = "sandbox")]
    pub mod sandbox {
        use crate::sandbox::php_variables::{Variable, Variables};
        use crate::sandbox::rewrite;

        /// A variable's name and its value, which an array does not have.
        pub type NamedVariable = (Vec<u8>, Option<Vec<u8>>);

        fn named(variables: &Variables) -> Vec<NamedVariable> {
            let of = |(name, value): (&[u8], &Variable)| match value {
                Variable::Text(text) => (name.to_vec(), Some(text.clone())),
                Variable::Array => (name.to_vec(), None),
            };
            variables.iter().map(of).collect()
        }

        /// The variables of a query.
        #[must_use]
        pub fn query(query: &[u8]) -> Vec<NamedVariable> {
            named(&Variables::from_query(query))
        }

        /// The variables of a form.
        #[must_use]
        pub fn form(form: &[u8]) -> Vec<NamedVariable> {
            named(&Variables::from_form(form))
        }

        /// The decoded path below `/apis/` and the query that PHP gets; `None` where Apache refuses the path.
        #[must_use]
        pub fn rewritten(path: &str, query: &str) -> Option<(Vec<u8>, Vec<u8>)> {
            rewrite::rewrite(path, query).ok().map(|rewritten| (rewritten.path, rewritten.query))
        }

        /// OpenEMR 8.0's CapabilityStatement.
        pub const CAPABILITY_STATEMENT: &str = include_str!("sandbox/answers/8.0-capability-statement.json");
    }
}
