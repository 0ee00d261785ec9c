//! FHIR R4's own words, without a socket or a clock: what a request asks for, how an error is written, and the steps
//! that rewrite a body on its way.
//!
//! Nothing here knows what OpenEMR does with them; that is the room `openemr`.

pub mod body_step;
pub mod capabilities;
pub mod capability_statement;
pub mod export_level;
pub mod format_parameters;
pub mod id;
pub mod instant;
pub mod interaction;
pub mod json;
pub mod link_rewriter;
pub mod link_text;
pub mod media_type;
pub mod negotiation;
pub mod operation_outcome;
pub mod parameters;
pub mod prefer;
pub mod projection;
pub mod query_links;
pub mod rejection;
pub mod resource_type;
pub mod search_date;
pub mod spliced;
