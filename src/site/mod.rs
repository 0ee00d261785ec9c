//! One OpenEMR made ready for requests: its nodes, token, keys, documents, base URLs and CORS policy.

pub mod client;
pub mod cors;
pub mod documents;
pub mod lifecycle;
pub mod links;
pub mod metadata;
pub mod prepared;
pub mod public_base;
pub mod runtime;
