//! What the operator sees: the log, with one access line for each request. No line ever contains a query, a resource id, a
//! body, a token or a key.

pub(crate) mod access_log;
pub(crate) mod built;
mod foreign_message;
pub(crate) mod log_format;
mod log_writer;
mod logger;
pub(crate) mod metrics;
mod repeated_lines;
pub(crate) mod request_id;
pub(crate) mod request_record;
pub(crate) mod trace_context;

pub(crate) use log_writer::lost as lost_log_lines;
pub(crate) use logger::{LogSettings, adjust_log, flush_log, start_log};
