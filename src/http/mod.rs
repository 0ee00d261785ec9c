//! HTTP's own words, without a socket: request targets, field values, content codings, and an answer as a value.

pub(crate) mod answer;
pub(crate) mod answer_protection;
pub(crate) mod coding;
pub(crate) mod compressor;
pub(crate) mod decoder;
pub(crate) mod entity_tag;
pub(crate) mod fetch_metadata;
pub(crate) mod field_filter;
pub(crate) mod fields;
pub(crate) mod forwarded;
pub(crate) mod framing;
pub(crate) mod host;
pub(crate) mod parts;
pub(crate) mod query;
pub(crate) mod request_target;
pub(crate) mod retry_after;
pub(crate) mod set_field;
pub(crate) mod token_text;
pub(crate) mod vary;
