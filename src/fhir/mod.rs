//! FHIR R4's own words, with no socket in sight: what a request asks for, what a server can do, how an error is said, and the steps
//! that a body takes.

pub mod body_step;
pub mod bundle_entry;
pub mod bundle_head;
pub mod bundle_links;
pub mod bundle_page;
pub mod bundle_stream;
pub mod capabilities;
pub mod dropped_entry;
pub mod elements;
pub mod interaction;
pub mod json_end;
pub mod json_walk;
pub mod local_time;
pub mod link_rewriter;
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
