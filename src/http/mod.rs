//! HTTP's own words, without a socket: request targets, queries and forwarding fields.

pub mod answer;
pub mod coding;
pub mod decoder;
pub mod fields;
pub mod forwarded;
pub mod query;
pub mod request_target;
pub mod set_field;
