//! The sandbox: a stand-in for OpenEMR that answers over HTTP(S) as OpenEMR 8.0.0 or 7.0.3 does, or as
//! the next one is announced to, for demonstrations and tests. It shares no code with the gateway, so that the two can disagree.
//!
//! | module | what it is |
//! |---|---|
//! | `settings`, `start` | how a sandbox is configured, and how it starts and runs |
//! | `server` | connections: accepting, TLS, keep-alive, sessions |
//! | `workers`, `timings` | how many requests are processed at once, and how long each takes |
//! | `http1`, `request_head`, `response` | HTTP/1.1 by hand, so that it can be broken on purpose |
//! | `rewrite`, `php_variables`, `multipart` | what Apache and PHP make of a request |
//! | `dispatch` | from a request to what happens on its connection, faults included |
//! | `answer`, `error_answers` | OpenEMR's header sets and error answers |
//! | `token_endpoint`, `access_token`, `clients`, `client_keys`, `scopes`, `registration`, `discovery` | the authorization server |
//! | `fhir_api`, `fhir_request`, `bulk_export`, `exports` | the FHIR side |
//! | `write`, `written` | creating and updating |
//! | `search`, `criteria`, `date_criterion` | what a search finds |
//! | `next_answers`, `next_bundle`, `next_write` | what the next OpenEMR does otherwise |
//! | `population`, `resource`, `resources`, `chart`, `operation_definition` | the synthetic patients, and what belongs to them |
//! | `own_shapes` | what is not valid in what OpenEMR writes |
//! | `instance`, `database` | the state of one node, and what the nodes of one OpenEMR share |
//! | `audit_repository` | a FHIR repository for AuditEvents beside OpenEMR |
//! | `faults`, `admin`, `counters` | what can be made to go wrong, how, and what happened |
//! | `personality`, `php_json`, `calendar`, `random` | which OpenEMR; JSON and dates as PHP writes them; random values |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use openemr_gateway::sandbox::{Sandbox, Settings};
//! let sandbox = Sandbox::bind(Settings::default()).await?;
//! println!("{}", sandbox.base_url());
//! sandbox.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```
//!
//! Decision: `docs/decisions/25-sandbox.md`.

mod access_token;
mod admin;
mod answer;
mod audit_repository;
mod bulk_export;
mod calendar;
mod chart;
mod client_keys;
mod clients;
mod counters;
mod criteria;
mod database;
mod date_criterion;
mod discovery;
mod dispatch;
mod error_answers;
mod exports;
mod faults;
mod fhir_api;
mod fhir_request;
mod http1;
mod instance;
mod multipart;
mod next_answers;
mod next_bundle;
mod next_write;
mod operation_definition;
mod own_shapes;
mod personality;
mod php_json;
pub(crate) mod php_variables;
mod population;
mod random;
mod registration;
mod request_head;
mod resource;
mod resources;
mod response;
pub(crate) mod rewrite;
mod scopes;
mod search;
mod server;
mod settings;
mod start;
mod tampering;
mod timings;
mod tls;
mod token_endpoint;
mod workers;
mod write;
mod written;

pub use clients::{Client, Keys};
pub use own_shapes::{Shapes, UnknownShapes};
pub use personality::{Personality, UnknownVersion};
pub use settings::Settings;
pub use start::{Sandbox, SandboxError};
pub use timings::{Timings, UnknownTimings};
pub use tls::{Tls, TlsError};
