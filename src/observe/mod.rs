//! What the operator sees: the log, and one access line a request. Neither ever holds a query, a resource id,
//! a body, a token or a key.

pub mod access_log;
pub mod log_format;
pub mod log_writer;
pub mod request_id;
pub mod trace_context;

use log::LevelFilter;

use self::log_format::Format;

/// What other crates may say: Pingora's debug lines hold whole heads, tokens included.
const OTHER_CRATES: LevelFilter = LevelFilter::Warn;

/// Starts the log on standard error. Only the first call has an effect.
pub fn start_log(level: LevelFilter, format: Format) {
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(OTHER_CRATES)
        .filter_module("openemr_gateway", LevelFilter::Trace)
        .filter_module(access_log::TARGET, LevelFilter::Trace)
        .target(env_logger::Target::Pipe(Box::new(log_writer::LogWriter)))
        .format(move |out, record| format.write(out, record));
    // Tests in one process start it more than once.
    let _ = builder.try_init();
    // The one level that a reload can change.
    log::set_max_level(level);
}
