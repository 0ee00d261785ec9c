//! Starts the log.

use std::any::Any;
use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::kv::Key;
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::foreign_message::{self, is_own};
use super::log_format::{self, Format};
use super::log_writer;
use super::metrics::metrics;
use super::repeated_lines::{Count, RepeatedLines, Seen};

/// The most that is kept of a thread's memory for one line, in bytes.
const KEPT: usize = 4096;
/// The field of a line that belongs to a request.
const REQUEST_ID: &str = "request_id";

/// What a reload can change of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSettings {
    /// The least important messages that are written.
    pub(crate) level: LevelFilter,
    /// Whether a line that finds no room waits for it.
    pub(crate) waits: bool,
    /// Within how long a message that repeats is written once.
    pub(crate) repeats: Duration,
}

/// Starts the log on standard error. Later calls change the settings alone.
pub(crate) fn start_log(settings: LogSettings, format: Format) {
    let is_for_a_person = format == Format::Text && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let logger: &'static Logger = match format {
        Format::Text if is_for_a_person => &Logger(Format::Terminal),
        Format::Text => &Logger(Format::Text),
        Format::Terminal => &Logger(Format::Terminal),
        Format::Json => &Logger(Format::Json),
    };
    // Tests in one process start it more than once.
    if log::set_logger(logger).is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
    adjust_log(settings);
}

/// Changes the settings of the log.
pub(crate) fn adjust_log(settings: LogSettings) {
    log::set_max_level(settings.level);
    log_writer::set_waits(settings.waits);
    WINDOW.store(u64::try_from(settings.repeats.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Writes what the log still holds, the counts of repeated messages among it; waits 2 s at most. It is called before the process
/// ends.
pub(crate) fn flush_log() {
    log::logger().flush();
}

struct Logger(Format);

/// The messages that repeat.
static REPEATED: LazyLock<RepeatedLines> = LazyLock::new(RepeatedLines::default);
/// Within how many milliseconds such a message is written once.
static WINDOW: AtomicU64 = AtomicU64::new(0);

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
        let Some(message) = log_format::message(record) else { return };
        let is_failed_handshake = foreign_message::is_failed_handshake(record);
        if let Some(metrics) = metrics().filter(|_| is_failed_handshake) {
            metrics.count_failed_handshake();
        }
        let level = if is_failed_handshake { Level::Warn } else { record.level() };
        if level > log::max_level() || self.is_counted(record, level, &message) {
            return;
        }
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => {
                self.write(&mut line, |line| self.0.write(line, record, level, &message));
                line.clear();
                line.shrink_to(KEPT);
            }
            // A value that is being formatted logs something itself, or panics.
            Err(_) => self.write(&mut Vec::new(), |line| self.0.write(line, record, level, &message)),
        });
    }

    fn flush(&self) {
        self.write_counts(REPEATED.all(Instant::now()));
        log_writer::flush();
    }
}

impl Logger {
    fn write(&self, line: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        let lost_line = match self.0 {
            Format::Text => |count| Format::Text.lost_line(count),
            Format::Terminal => |count| Format::Terminal.lost_line(count),
            Format::Json => |count| Format::Json.lost_line(count),
        };
        if write(line).is_ok() {
            log_writer::write(line, lost_line);
        }
    }

    /// Counts a line that has been written in this window. Only warnings and errors that a client can cause as often as it likes
    /// are counted: those of a request, and those of other crates.
    fn is_counted(&self, record: &Record<'_>, level: Level, message: &str) -> bool {
        let window = Duration::from_millis(WINDOW.load(Ordering::Relaxed));
        let of_request = || record.key_values().get(Key::from_str(REQUEST_ID)).is_some();
        if window.is_zero() || level > Level::Warn || (is_own(record.target()) && !of_request()) {
            return false;
        }
        match REPEATED.see(level, message, window, Instant::now()) {
            Seen::First => false,
            Seen::Counted => true,
            Seen::CountedUnwatched => {
                let logger = Self(self.0);
                let thread = thread::Builder::new().name("log counts".to_owned()).spawn(move || logger.watch(window));
                // Without the thread the count comes with the end of the process.
                drop(thread);
                true
            }
        }
    }

    /// Writes the counts at the ends of their windows, until there is none.
    fn watch(&self, window: Duration) {
        let mut next = Instant::now() + window;
        loop {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let (counts, later) = REPEATED.ended(Instant::now());
            self.write_counts(counts);
            match later {
                Some(later) => next = later,
                None => return,
            }
        }
    }

    fn write_counts(&self, counts: Vec<Count>) {
        for Count { level, text } in counts {
            self.write(&mut Vec::new(), |line| self.0.write_message(line, level, &text));
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
