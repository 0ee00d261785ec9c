//! FHIR R4's own words, without a socket or a clock: what a request asks for, how an error is written, and the steps
//! that rewrite a body on its way.
//!
//! Nothing here knows what OpenEMR does with them; that is the room `openemr`.

pub(crate) mod bench;
pub(crate) mod body_step;
pub(crate) mod capabilities;
pub(crate) mod capability_statement;
pub(crate) mod criteria;
pub(crate) mod export_level;
pub(crate) mod format_parameters;
pub(crate) mod group;
pub(crate) mod id;
pub(crate) mod if_none_exist;
pub(crate) mod instant;
pub(crate) mod interaction;
pub(crate) mod json;
pub(crate) mod link_rewriter;
mod link_spelling;
pub(crate) mod link_text;
pub(crate) mod media_type;
pub(crate) mod negotiation;
pub(crate) mod operation_outcome;
pub(crate) mod parameters;
pub(crate) mod prefer;
pub(crate) mod projection;
pub(crate) mod query_links;
pub(crate) mod quoted;
pub(crate) mod reason;
pub(crate) mod rejection;
pub(crate) mod resource_identity;
pub(crate) mod resource_test;
pub(crate) mod resource_type;
pub(crate) mod root;
pub(crate) mod search_date;
pub(crate) mod search_parameters;
pub(crate) mod spliced;
pub(crate) mod without_patients;
