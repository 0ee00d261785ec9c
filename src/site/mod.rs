//! One OpenEMR made ready for requests: its nodes, token, keys, documents, base URLs and CORS policy.

/// Shows nothing of values that hold what clients ask for or are answered.
macro_rules! opaque {
    ($($type:ident)+) => { $(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    )+ };
}

pub(crate) mod capability_cache;
pub(crate) mod client;
pub(crate) mod cors;
pub(crate) mod flights;
pub(crate) mod kept_pages;
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
