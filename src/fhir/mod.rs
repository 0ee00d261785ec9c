//! FHIR R4's own words, with no socket in sight: what a request asks for, what a server can do, how an error is said, and
//! what becomes of a body on its way.

pub mod body_step;
pub mod bulk_fields;
pub mod bulk_manifest;
pub mod bulk_plan;
pub mod bulk_request;
pub mod bundle_entry;
pub mod bundle_head;
pub mod bundle_links;
pub mod bundle_page;
pub mod bundle_stream;
pub mod capabilities;
pub mod clean_words;
pub mod dropped_entry;
pub mod elements;
pub mod interaction;
pub mod json_end;
pub mod json_walk;
pub mod link_rewriter;
pub mod local_time;
pub mod media_type;
pub mod offered;
pub mod openemr_error;
pub mod operation_outcome;
pub mod prefer;
pub mod pretty;
pub mod projection;
pub mod query;
pub mod resource_type;
pub mod search_page;
pub mod search_query;
pub mod search_reading;
pub mod search_reference;
pub mod search_remark;
pub mod search_terms;
pub mod spliced;
