//! openemr-gateway: an edge gateway in front of OpenEMR's FHIR API.
//!
//! Callers send plain FHIR requests; the gateway holds the private key, keeps a
//! SMART Backend Services access token per site and stamps it on what goes to OpenEMR.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | the command line: one file a command |
//! | [`config`] | the YAML file and the environment, checked into a [`config::Config`] that cannot be wrong |
//! | [`keys`] | private keys, JWK Sets and key ids: bytes in, keys out |
//! | [`smart`] | client assertions, the token exchange and the life of an access token |
//! | [`fhir`] | FHIR's own words: interactions and OperationOutcomes |
//! | [`gateway`] | the Pingora proxy: the life of one request |
//! | [`nodes`] | where OpenEMR is: its nodes, which of them are in, how many requests may be at work there |
//! | [`observe`] | what the operator sees: the log and its access lines |
//! | `sandbox` | the stand-in for OpenEMR (Cargo feature `sandbox`) |

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod fhir;
pub mod gateway;
pub mod keys;
pub mod nodes;
pub mod observe;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod smart;
