//! What the operator sees: the log, with one access line for each request, and the spans of traces. Neither ever contains a query,
//! a resource id, a body, a token or a key.

pub(crate) mod access_log;
pub(crate) mod built;
mod clock;
mod digits;
#[cfg(feature = "otlp")]
pub(crate) mod finished_request;
mod foreign_message;
mod journal;
mod line;
mod log_file;
mod log_format;
mod log_output;
mod log_target;
mod log_writer;
mod logger;
pub(crate) mod metrics;
mod repeated_lines;
pub(crate) mod request_id;
pub(crate) mod request_record;
pub(crate) mod safe_text;
#[cfg(feature = "otlp")]
pub(crate) mod spans;
pub(crate) mod trace_context;
#[cfg(feature = "otlp")]
pub(crate) mod traces;

pub(crate) use log_target::{LogFileSettings, LogTarget, UnusableLog};
pub(crate) use log_writer::lost as lost_log_lines;
pub(crate) use log_writer::{reopen as reopen_log, stop_waiting as stop_waiting_for_log};
pub(crate) use logger::set_level as set_log_level;
pub(crate) use logger::{LogForm, LogSettings, adjust_log, flush_log, start_log};
#[cfg(feature = "otlp")]
pub(crate) use traces::lost as lost_traces;

/// Returns 0: without the feature `otlp` there are no traces that could be lost.
#[cfg(not(feature = "otlp"))]
#[must_use]
pub(crate) fn lost_traces() -> u64 {
    0
}
