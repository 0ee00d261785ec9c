//! FHIR R4's own words, with no socket in sight: what a request asks for, and how an error is said.

pub mod clean_words;
pub mod interaction;
pub mod json_end;
pub mod media_type;
pub mod openemr_error;
pub mod operation_outcome;
pub mod resource_type;
