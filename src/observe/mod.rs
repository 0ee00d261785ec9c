//! What the operator sees: the log, with one access line for each request. No line ever contains a query, a resource id, a
//! body, a token or a key.

pub(crate) mod access_log;
pub(crate) mod built;
mod foreign_message;
pub(crate) mod log_format;
pub(crate) mod log_writer;
mod logger;
pub(crate) mod request_id;
pub(crate) mod trace_context;

pub(crate) use logger::start_log;
