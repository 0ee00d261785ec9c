//! The settings of the log that the configuration has.

use crate::config::{Config, Log, LogFormat, WhenFull};
use crate::observe::{self, LogForm, LogSettings};

/// Starts the log.
pub(crate) fn start_log(config: &Config) {
    let form = match config.log.format {
        LogFormat::Json => LogForm::Json,
        LogFormat::Text if config.server.daemon => LogForm::PlainText,
        LogFormat::Text => LogForm::Text,
    };
    observe::start_log(log_settings(&config.log), form);
}

/// Returns what of the log's configuration a reload can change.
#[must_use]
pub(super) fn log_settings(log: &Log) -> LogSettings {
    let waits = match log.when_full {
        WhenFull::Wait => true,
        WhenFull::Drop => false,
    };
    LogSettings { level: log.level, waits, repeats: log.repeats.unwrap_or_default(), target: log.target() }
}
