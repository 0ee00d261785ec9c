//! One OpenEMR made ready for requests: its nodes, token, keys, documents, base URLs and CORS policy.

pub mod capability_cache;
pub mod client;
pub mod cors;

pub mod lifecycle;
pub mod links;
pub mod metadata;
pub mod prepared;
pub mod public_base;
pub mod runtime;
