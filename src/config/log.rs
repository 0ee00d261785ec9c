//! The log: where it goes, and what is written.

use std::path::PathBuf;
use std::time::Duration;

use super::declaration::{section, words};
use super::problem::Findings;
use super::section::Section;
use crate::observe::{LogFileSettings, LogTarget};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The least `max_size`.
const MIN_FILE: usize = 64 * KIB;

section! {
    /// The log.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Log {
        /// The least important messages that are written. A reload that changes it ends a level that was set by hand.
        level: log::LevelFilter = log::LevelFilter::Info, variable("LOG_LEVEL");
        /// Where the log goes.
        to: LogTo = LogTo::Stderr, restart();
        /// The file, with `to: file`. SIGUSR1 opens it again.
        file: LogFile = LogFile::default();
        /// The socket of systemd's journal, with `to: journald`. A journal with a namespace has another one.
        journal_socket: PathBuf = "/run/systemd/journal/socket".into(), restart();
        /// How a message is written. An entry of the journal has fields in any case.
        format: LogFormat = LogFormat::Text, restart();
        /// What becomes of a line while 4 MiB of lines wait to be written.
        when_full: WhenFull = WhenFull::Drop;
        /// Within how long a warning or error about requests that repeats is written once, and then counted. `null` writes each one.
        repeats: Option<Duration> = Some(Duration::from_secs(10)), at_most(Some(Duration::from_secs(3600)));
        /// Whether answers of `/health` and `/ready` with status 200 have access lines.
        probes: bool = true;
    }
    check Log::check
}

section! {
    /// The log's file.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct LogFile {
        /// Its path. Its folder must exist.
        path: Option<PathBuf> = None, example("/var/log/openemr-gateway/gateway.log");
        /// The size at which it is renamed to `path.1`, what was `path.1` to `path.2`, and so on. `null` leaves that to another program, such
        /// as logrotate.
        max_size: Option<usize> = Some(100 * MIB), at_most(Some(4096 * MIB));
        /// How many renamed files are kept.
        keep: u32 = 5, at_most(100), unit("files");
    }
    check LogFile::check
}

words! {
    /// Where the log goes.
    pub(crate) enum LogTo {
        /// To standard error.
        Stderr = "stderr",
        /// To a file.
        File = "file",
        /// To systemd's journal, with its fields.
        Journald = "journald",
    }
}

words! {
    /// What becomes of a log line that finds no room.
    pub(crate) enum WhenFull {
        /// It is dropped, and counted.
        Drop = "drop",
        /// It waits, and with it the request or task that logs it.
        Wait = "wait",
    }
}

words! {
    /// How a log line is written.
    pub(crate) enum LogFormat {
        /// One readable line.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

impl Log {
    /// Where the log goes.
    #[must_use]
    pub(crate) fn target(&self) -> LogTarget {
        match (self.to, &self.file.path) {
            (LogTo::File, Some(path)) => LogTarget::File(LogFileSettings {
                path: path.clone(),
                max_size: self.file.max_size.map(|size| size as u64),
                keep: self.file.keep,
            }),
            (LogTo::Journald, _) => LogTarget::Journal(self.journal_socket.clone()),
            (LogTo::Stderr, _) | (LogTo::File, None) => LogTarget::Stderr,
        }
    }

    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        match (self.to, &self.file.path) {
            (LogTo::File, None) => {
                let problem = section.place_of("to").problem("is `file`, and `log.file.path` is missing");
                findings.problem(problem.remedy("write  file: { path: /var/log/openemr-gateway/gateway.log }"));
            }
            (LogTo::Stderr | LogTo::Journald, Some(_)) => {
                let warning =
                    section.place_of("file").problem("names a file, and `log.to` is not `file`: nothing is written there");
                findings.warning(warning.remedy("write  to: file"));
            }
            _ => {}
        }
        Some(self)
    }
}

impl LogFile {
    fn check(self, section: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        if self.max_size.is_some_and(|size| size < MIN_FILE) {
            let problem = section.place_of("max_size").problem("is below 64KiB");
            findings.problem(problem.remedy("write it like  100MiB"));
        }
        Some(self)
    }
}
