//! The settings of the log that the configuration has.

use crate::config::{Log, WhenFull};
use crate::observe::LogSettings;

/// Returns what of the log's configuration a reload can change.
#[must_use]
pub(crate) fn log_settings(log: &Log) -> LogSettings {
    let waits = match log.when_full {
        WhenFull::Wait => true,
        WhenFull::Drop => false,
    };
    LogSettings { level: log.level, waits, repeats: log.repeats }
}
