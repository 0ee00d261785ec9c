//! HTTP's own words, without a socket: request targets, field values, content codings, and an answer as a value.

pub mod answer;
pub mod coding;
pub mod compressor;
pub mod decoder;
pub mod fields;
pub mod forwarded;
pub mod query;
pub mod request_target;
pub mod set_field;
pub mod vary;
