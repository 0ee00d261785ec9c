//! OpenEMR's dialect of FHIR, as values: how it writes Bundles and errors, what it can search by, and its side of an export.

pub mod bundle_entry;
pub mod bundle_head;
pub mod bundle_links;
pub mod bundle_page;
pub mod bundle_stream;
pub mod clean_words;
pub mod created;
pub mod dropped_entry;
pub mod error;
pub mod export_manifest;
pub mod export_plan;
pub mod export_state;
pub mod local_time;
pub mod offered;
pub mod read_terms;
pub mod search_page;
pub mod search_plan;
pub mod search_reading;
pub mod search_reference;
pub mod search_remark;
pub mod search_terms;
pub mod token_refusal;
