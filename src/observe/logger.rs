//! Starts the log.

use std::any::Any;
use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use log::kv::Key;
use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

use super::foreign_message::{self, is_own};
use super::line::Line;
use super::log_format::{self, Format};
use super::log_target::LogTarget;
use super::log_writer;
use super::metrics::metrics;
use super::repeated_lines::{Count, RepeatedLines, Seen};

/// The most that is kept of a thread's memory for one line, in bytes.
const KEPT: usize = 4096;
/// The field of a line that belongs to a request.
const REQUEST_ID: &str = "request_id";

/// What a reload can change of the log.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    /// The least important messages that are written.
    pub(crate) level: LevelFilter,
    /// Whether a line that finds no room waits for it.
    pub(crate) waits: bool,
    /// Within how long a message that repeats is written once.
    pub(crate) repeats: Duration,
    /// Where the lines go. A reload can change a file into another one, and nothing else.
    pub(crate) target: LogTarget,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogForm {
    /// As text: for a person on a terminal, for systemd behind its priority.
    Text,
    /// As text for a file: the process is going to replace its standard error.
    PlainText,
    /// As a JSON object.
    Json,
}

/// Starts the log. Later calls change the settings alone.
pub(crate) fn start_log(settings: LogSettings, form: LogForm) {
    let logger = LOGGER.get_or_init(|| Logger(format(&settings.target, form)));
    // Tests in one process start it more than once.
    if log::set_logger(logger).is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
    adjust_log(settings);
}

fn format(target: &LogTarget, form: LogForm) -> Format {
    match (target, form) {
        (LogTarget::Journal(_), _) => Format::Journal,
        (_, LogForm::Json) => Format::Json,
        (LogTarget::Stderr, LogForm::Text) if is_for_a_person() => Format::Terminal,
        (LogTarget::Stderr, LogForm::Text) if is_the_journals() => Format::Service,
        (LogTarget::Stderr | LogTarget::File(_), LogForm::Text | LogForm::PlainText) => Format::Text,
    }
}

/// Whether standard error is a terminal that may have colours (<https://no-color.org>).
fn is_for_a_person() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard error goes to systemd's journal (`systemd.exec(5)`, `JOURNAL_STREAM`).
fn is_the_journals() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|found| *stream == *format!("{}:{}", found.st_dev, found.st_ino))
}

/// Changes the settings of the log. A level that was set by hand stays as long as the configuration's own one does not change.
pub(crate) fn adjust_log(settings: LogSettings) {
    let before = CONFIGURED.lock().replace(settings.level);
    if before != Some(settings.level) {
        set_level(settings.level);
    }
    log_writer::set_waits(settings.waits);
    log_writer::set_target(settings.target);
    WINDOW.store(u64::try_from(settings.repeats.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    let level = log::max_level();
    if level != settings.level {
        log::info!("the level of the log was set by hand, and stays: {level}, not {} as in log.level", settings.level);
    }
}

/// Sets the level of the log until a reload with another `log.level`, or the end of the process.
pub(crate) fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Writes what the log still holds, the counts of repeated messages among it; waits 2 s at most. It is called before the process
/// ends.
pub(crate) fn flush_log() {
    log::logger().flush();
}

/// Writes a line of the gateway's own whose level is on: its fields by hand, not as a record of `log`.
pub(super) fn write_line(level: Level, message: &str, fields: impl FnOnce(&mut Line<'_>)) {
    if let Some(logger) = LOGGER.get() {
        logger.write_here(|out| {
            logger.0.begin(out, level, message)?;
            fields(&mut Line::new(logger.0, out));
            logger.0.end(out)
        });
    }
}

struct Logger(Format);

/// The logger of this process.
static LOGGER: OnceLock<Logger> = OnceLock::new();
/// The level that the configuration in force has.
static CONFIGURED: Mutex<Option<LevelFilter>> = Mutex::new(None);

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
        self.write_here(|line| self.0.write(line, record, level, &message));
    }

    fn flush(&self) {
        self.write_counts(REPEATED.all(Instant::now()));
        log_writer::flush();
    }
}

impl Logger {
    /// Writes a line in the memory that this thread keeps for one.
    fn write_here(&self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => {
                self.write(&mut line, write);
                line.clear();
                line.shrink_to(KEPT);
            }
            // A value that is being formatted logs something itself, or panics.
            Err(_) => self.write(&mut Vec::new(), write),
        });
    }

    fn write(&self, line: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) {
        if write(line).is_ok() {
            log_writer::write(line, self.0);
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
    fn a_level_set_by_hand_stays_until_the_configured_one_changes() {
        let configured = |level| LogSettings { level, waits: false, repeats: Duration::ZERO, target: LogTarget::Stderr };
        adjust_log(configured(LevelFilter::Error));
        set_level(LevelFilter::Off);
        adjust_log(configured(LevelFilter::Error));
        assert_eq!(log::max_level(), LevelFilter::Off);
        adjust_log(configured(LevelFilter::Warn));
        assert_eq!(log::max_level(), LevelFilter::Warn);
        set_level(LevelFilter::Off);
    }

    #[test]
    fn text_is_for_a_person_only_on_standard_error() {
        let file = LogTarget::File(crate::observe::LogFileSettings { path: "log".into(), max_size: None, keep: 1 });
        assert_eq!(format(&file, LogForm::Text), Format::Text);
        assert_eq!(format(&file, LogForm::Json), Format::Json);
        assert_eq!(format(&LogTarget::Stderr, LogForm::PlainText), Format::Text);
        assert_eq!(format(&LogTarget::Journal("socket".into()), LogForm::Json), Format::Journal);
    }

    #[test]
    fn only_a_constant_message_of_a_panic_is_shown() {
        assert_eq!(constant_message(&"no site"), "no site");
        assert!(constant_message(&String::from("Doe")).contains("withheld"));
    }
}
