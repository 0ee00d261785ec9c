//! Bulk exports: which parts of a kick-off OpenEMR supports, the plan with one job a type, and the manifest for the client.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

pub(crate) mod files;
pub(crate) mod kick_off;
pub(crate) mod left_out;
pub(crate) mod level;
pub(crate) mod manifest;
pub(crate) mod ndjson;
pub(crate) mod owner;
pub(crate) mod plan;
pub(crate) mod refusal;
pub(crate) mod since;
pub(crate) mod state;
pub(crate) mod type_filter;
