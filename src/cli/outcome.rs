//! How a command ends: with success or with every failure, and what it writes to standard output.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stderr, stdout};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::config::{self, Config, Loaded, Problem, Warning};

/// How long a line for standard error may take.
const SAY_WITHIN: Duration = Duration::from_secs(2);

/// How every command ends: with success, or with everything that went wrong.
pub(super) type Outcome = Result<(), Vec<Failure>>;

/// Why a command failed: what happened and the wrong value; on the next line, indented, what to do about it.
#[derive(Debug)]
pub(super) struct Failure(String);

impl Failure {
    /// A failure and what to do about it.
    pub(super) fn new(message: impl Display, remedy: impl Display) -> Self {
        Self(format!("{message}\n  {remedy}"))
    }

    /// A failure whose text tells what to do about it, if anything.
    pub(super) fn of(error: impl Display) -> Self {
        Self(error.to_string())
    }

    /// What is printed behind `error: `.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::of(problem)
    }
}

/// Every problem as a failure.
pub(super) fn failures(problems: Vec<Problem>) -> Vec<Failure> {
    problems.into_iter().map(Failure::from).collect()
}

/// Reads the configuration and prints its warnings to standard error.
///
/// # Errors
/// Every problem of the configuration.
pub(super) fn load(config: &Path, env_file: Option<&Path>) -> Result<Config, Vec<Failure>> {
    load_with_digest(config, env_file).map(|(config, _)| config)
}

/// The same, with the SHA-256 of the file in hexadecimal digits, where there is a file.
///
/// # Errors
/// As [`load()`].
pub(super) fn load_with_digest(config: &Path, env_file: Option<&Path>) -> Result<(Config, Option<String>), Vec<Failure>> {
    let Loaded { config, warnings, sha256 } = config::load(config, env_file).map_err(failures)?;
    warn(warnings);
    Ok((config, sha256))
}

/// Prints warnings to standard error.
pub(super) fn warn(warnings: Vec<Warning>) {
    for Warning(warning) in warnings {
        say(format!("warning: {warning}"));
    }
}

/// Writes a line to standard error. A reader that takes nothing for 2 s misses it, and keeps nobody waiting.
pub(super) fn say(line: String) {
    let (written, wait) = mpsc::sync_channel(1);
    let writing = thread::Builder::new().spawn(move || {
        // The program goes on even if standard error is closed.
        let _ = writeln!(stderr(), "{line}");
        let _ = written.send(());
    });
    if writing.is_ok() {
        let _ = wait.recv_timeout(SAY_WITHIN);
    }
}

/// Writes to standard output. A reader that has closed the pipe is no failure.
///
/// # Errors
/// Standard output that cannot be written to, such as a file on a full disk.
pub(super) fn print(text: &str) -> Outcome {
    print_while_read(text).map(|_| ())
}

/// The same, and whether there is still a reader.
///
/// # Errors
/// As [`print()`].
pub(super) fn print_while_read(text: &str) -> Result<bool, Vec<Failure>> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => {
            Err(vec![Failure::new(format!("standard output cannot be written to: {error}"), "see where it was redirected to")])
        }
    }
}
