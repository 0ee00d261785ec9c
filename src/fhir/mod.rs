//! FHIR R4's own words, with no socket in sight: what a request asks for, and how an error is said.

pub mod bulk_fields;
pub mod bulk_manifest;
pub mod bulk_plan;
pub mod bulk_request;
pub mod interaction;
pub mod json_end;
pub mod operation_outcome;
pub mod resource_type;
