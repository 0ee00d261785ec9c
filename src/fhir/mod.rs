//! FHIR R4's own words, with no socket in sight: what a request asks for, what a server can do, how an error is said, and the steps
//! that a body takes.

pub mod body_step;
pub mod bulk_fields;
pub mod bulk_manifest;
pub mod bulk_plan;
pub mod bulk_request;
pub mod capabilities;
pub mod interaction;
pub mod json_end;
pub mod operation_outcome;
pub mod resource_type;
pub mod search_terms;
