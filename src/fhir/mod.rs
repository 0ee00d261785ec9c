//! FHIR R4's own words, with no socket in sight: what a request asks for, and how an error is said.

pub mod interaction;
pub mod json_end;
pub mod link_rewriter;
pub mod operation_outcome;
pub mod resource_type;
