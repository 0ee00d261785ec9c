//! Starts the log.

use env_logger::{Builder, Target};
use log::LevelFilter;

use super::access_log;
use super::log_format::Format;
use super::log_writer::LogWriter;

/// The level of other crates: Pingora's debug lines contain whole heads, tokens included.
const OTHER_CRATES: LevelFilter = LevelFilter::Warn;

/// Starts the log on standard error. Later calls change the level alone.
pub(crate) fn start_log(level: LevelFilter, format: Format) {
    let mut builder = Builder::new();
    builder
        .filter_level(OTHER_CRATES)
        .filter_module("openemr_gateway", LevelFilter::Trace)
        .filter_module(access_log::TARGET, LevelFilter::Trace)
        .target(Target::Pipe(Box::new(LogWriter)))
        .format(move |out, record| format.write(out, record));
    // Tests in one process start it more than once.
    let _ = builder.try_init();
    // The only level that a reload can change.
    log::set_max_level(level);
}
