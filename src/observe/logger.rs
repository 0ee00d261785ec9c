//! Starts the log.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::thread;

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::foreign_message::is_own;
use super::log_format::Format;
use super::log_writer;

/// The most that is kept of a thread's memory for one line, in bytes.
const KEPT: usize = 4096;

/// Starts the log on standard error. Later calls change the level alone.
pub(crate) fn start_log(level: LevelFilter, format: Format) {
    let logger: &'static Logger = match format {
        Format::Text => &Logger(Format::Text),
        Format::Json => &Logger(Format::Json),
    };
    // Tests in one process start it more than once.
    if log::set_logger(logger).is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
    // The only level that a reload can change.
    log::set_max_level(level);
}

struct Logger(Format);

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Debug lines of other crates contain whole heads, tokens included.
        metadata.level() <= Level::Warn || is_own(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => {
                self.write(record, &mut line);
                line.clear();
                line.shrink_to(KEPT);
            }
            // A value that is being formatted logs something itself, or panics.
            Err(_) => self.write(record, &mut Vec::new()),
        });
    }

    fn flush(&self) {
        log_writer::flush();
    }
}

impl Logger {
    fn write(&self, record: &Record<'_>, line: &mut Vec<u8>) {
        let lost_line = match self.0 {
            Format::Text => |count| Format::Text.lost_line(count),
            Format::Json => |count| Format::Json.lost_line(count),
        };
        if self.0.write(line, record).is_ok() && !line.is_empty() {
            log_writer::write(line, lost_line);
        }
    }
}

/// Logs a panic without waiting for the log. Of its message only one that stands in the program is shown: others are made of
/// values, such as the text that was cut in the wrong place.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    log::error!("a task panicked at {place}: {}", constant_message(panic.payload()));
    // The process may end with its first thread.
    if thread::current().name() == Some("main") {
        log_writer::flush();
    }
}

fn constant_message(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("the message is withheld, as it may hold data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::access_log;

    #[test]
    fn other_crates_log_nothing_below_warn() {
        let is_on = |target: &str, level| Logger(Format::Text).enabled(&Metadata::builder().target(target).level(level).build());
        for target in ["pingora_core", "pingora_proxy::proxy_h1", "rustls::conn", "h2", "openemr_gateway_x", "accessed", ""] {
            assert!(is_on(target, Level::Warn) && !is_on(target, Level::Info) && !is_on(target, Level::Trace), "{target}");
        }
        for target in ["openemr_gateway", "openemr_gateway::smart::exchange", access_log::TARGET] {
            assert!(is_on(target, Level::Trace), "{target}");
        }
    }

    #[test]
    fn only_a_constant_message_of_a_panic_is_shown() {
        assert_eq!(constant_message(&"no site"), "no site");
        assert!(constant_message(&String::from("Doe")).contains("withheld"));
    }
}
