//! FHIR R4's own words, with no socket in sight: what a request asks for, what a server can do, how an error is said, and
//! what becomes of a body on its way.

pub mod body_step;
pub mod capabilities;
pub mod clean_words;
pub mod created;
pub mod interaction;
pub mod json_end;
pub mod media_type;
pub mod offered;
pub mod openemr_error;
pub mod operation_outcome;
pub mod prefer;
pub mod resource_type;
pub mod search_terms;
