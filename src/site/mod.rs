//! One OpenEMR made ready for requests: its nodes, token, keys, documents, base URLs and CORS policy.

pub(crate) mod capability_cache;
pub(crate) mod client;
pub(crate) mod cors;
pub(crate) mod flights;
pub(crate) mod lifecycle;
pub(crate) mod links;
pub(crate) mod mending;
pub(crate) mod metadata;
pub(crate) mod patient_groups;
pub(crate) mod prepared;
pub(crate) mod public_base;
pub(crate) mod readiness;
pub(crate) mod runtime;
mod single_fetch;
pub(crate) mod status;
pub(crate) mod turns;
