//! HTTP's own words, without a socket: request targets, queries and forwarding fields.

pub mod coding;
pub mod forwarded;
pub mod query;
pub mod request_target;
pub mod set_field;
pub mod vary;
