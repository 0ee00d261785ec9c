//! Who may call, and for what.

mod access_tokens;
mod anonymous;
pub mod api_keys;
#[path = "../../../src/access/cases/rows.rs"]
pub mod case_rows;
mod cases;
mod certificate_clients;
mod certificates;
mod claims;
mod credentials;
mod explain;
mod export_policies;
pub mod exporting;
mod exports;
mod foreign;
mod jwts;
pub mod limited;
mod limited_versions;
mod new_key;
mod patient_groups;
mod private_ca;
mod provider;
mod secure;
mod smart;
pub mod smart_client;
mod told_answers;
