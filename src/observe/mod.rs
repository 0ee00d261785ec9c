//! What the operator sees: the log, with one access line for each request, and the spans of traces. Neither ever contains a query,
//! a resource id, a body, a token or a key.

pub(crate) mod access_log;
pub(crate) mod built;
#[cfg(feature = "otlp")]
pub(crate) mod finished_request;
mod foreign_message;
pub(crate) mod log_format;
mod log_writer;
mod logger;
mod repeated_lines;
pub(crate) mod request_id;
pub(crate) mod request_record;
#[cfg(feature = "otlp")]
pub(crate) mod spans;
pub(crate) mod trace_context;
#[cfg(feature = "otlp")]
pub(crate) mod traces;

pub(crate) use logger::{LogSettings, adjust_log, flush_log, start_log};
