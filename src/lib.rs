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
//! | 8 | `exports` | bulk exports: their plans on the disk, the worker, OpenEMR's side |
//! | 7 | `site` | one OpenEMR made ready for requests |
//! | 6 | `smart` | client assertions, the token exchange and the life of an access token |
//! | 5 | `nodes` | OpenEMR's servers: addresses, health, requests in flight |
//! | 4 | `config` | the YAML file and the environment, checked into a `Config` that cannot be wrong |
//! | 2 | `openemr` | OpenEMR's dialect: Bundles, searches, errors, exports |
//! | 2 | `scopes` | SMART scopes |
//! | 1 | `fhir` | FHIR's own words: interactions, OperationOutcomes, media types |
//! | 1 | `http` | request targets, field values, content codings, `Forwarded`, an answer as a value |
//! | 1 | `keys` | private keys, JWK Sets, key ids and key files |
//! | 1 | `observe` | what the operator sees: the log and its access lines |
//! | – | `sandbox` | a fake OpenEMR (Cargo feature `sandbox`), used by `cli` alone |

#![forbid(unsafe_code)]

mod cli;
mod config;
mod exports;
mod fhir;
mod gateway;
mod http;
mod keys;
mod nodes;
mod observe;
mod openemr;
#[cfg(feature = "sandbox")]
pub mod sandbox;
mod scopes;
mod server;
mod site;
mod smart;

pub use cli::run;

/// Key files as the end-to-end tests read them.
#[doc(hidden)]
pub mod key_files {
    pub use crate::keys::{Algorithm, JwkSet, SigningKey};
}

/// The steps of a body, for the benchmarks alone.
#[doc(hidden)]
pub mod bench {
    pub use crate::fhir::body_step::BodyStep;
    pub use crate::fhir::json::pretty::Pretty;
    pub use crate::fhir::link_rewriter::{LinkRewriter, Links, Replacement};
    pub use crate::fhir::projection::projector::Projector;
    pub use crate::fhir::projection::rule::Projection;
    pub use crate::openemr::bundle::stream::BundleStream;
    pub use crate::openemr::search::terms::{Page, SearchTerms, Window};
}
