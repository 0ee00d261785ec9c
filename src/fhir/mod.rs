//! FHIR R4's own words, without a socket: what a request asks for, what a server can do, how an error is written, and the steps that a body takes.

pub mod body_step;
pub mod capabilities;
pub mod capability_statement;
pub mod completeness;
pub mod elements;
pub mod export_level;
pub mod export_parameters;
pub mod export_request;
pub mod interaction;
pub mod json_walk;
pub mod kept_members;
pub mod link_rewriter;
pub mod link_text;
pub mod media_type;
pub mod operation_outcome;
pub mod prefer;
pub mod pretty;
pub mod projection;
pub mod query_links;
pub mod rejection;
pub mod resource_type;
pub mod search_date;
pub mod spliced;
