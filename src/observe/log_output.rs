//! The output of the log: standard error, or a file or the journal with standard error in its place while it takes nothing.
//!
//! Decision: `docs/decisions/51-log-outputs.md`.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::journal::Journal;
use super::log_file::LogFile;
use super::log_format::Format;
use super::log_target::LogTarget;

/// The pause before an output that failed is tried again; it doubles up to `LONGEST_PAUSE` while it goes on failing.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After how long without a failure the pause is the first one again.
const CALM: Duration = Duration::from_secs(120);
/// The pause while standard error takes nothing for the moment.
const MOMENT: Duration = Duration::from_millis(20);

/// What the thread that writes is told between two lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Orders {
    /// Open the file that is at the path now.
    pub(super) reopen: bool,
    /// Write to this one from now on.
    pub(super) target: Option<LogTarget>,
}

/// What log lines are written to.
pub(super) trait LogOutput: Write {
    /// Does what it is told.
    fn follow(&mut self, orders: Orders);
}

/// The output of this process.
pub(super) struct Output {
    format: Format,
    stderr: File,
    sink: Sink,
    /// What standard error has still to take of the lines that go there in place of the sink.
    rest: Vec<u8>,
    failing: Option<Failing>,
    pause: Duration,
    last_failure: Option<Instant>,
}

enum Sink {
    Stderr,
    File(LogFile),
    Journal(Journal),
}

/// The time in which the sink takes nothing.
struct Failing {
    since: Instant,
    next_try: Instant,
    /// How many lines went to standard error.
    lines: u64,
}

impl Output {
    /// Lines of this format go there.
    pub(super) fn new(format: Format, stderr: File, target: LogTarget) -> Self {
        let sink = match target {
            LogTarget::Stderr => Sink::Stderr,
            LogTarget::File(settings) => Sink::File(LogFile::new(settings)),
            LogTarget::Journal(path) => Sink::Journal(Journal::at(&path)),
        };
        Self { format, stderr, sink, rest: Vec::new(), failing: None, pause: FIRST_PAUSE, last_failure: None }
    }

    /// Writes to the sink; `None` if it takes nothing, now or for a while.
    fn write_to_sink(&mut self, lines: &[u8]) -> Option<usize> {
        if self.failing.as_ref().is_some_and(|failing| Instant::now() < failing.next_try) {
            return None;
        }
        let result = match &mut self.sink {
            Sink::Stderr => return None,
            Sink::File(file) => file.write(lines),
            Sink::Journal(journal) => journal.write(lines),
        };
        match result {
            Ok(count) => {
                self.goes_on();
                Some(count)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(0),
            Err(error) => {
                self.fails(&error);
                None
            }
        }
    }

    /// Says what there is to say after a write that succeeded: in the sink that it took nothing for a while, on standard error
    /// that its file cannot be renamed.
    fn goes_on(&mut self) {
        if let Some(Failing { since, lines, .. }) = self.failing.take() {
            let seconds = since.elapsed().as_secs_f64().ceil();
            let plural = if lines == 1 { "" } else { "s" };
            let notice =
                format!("{lines} line{plural} of the last {seconds} s went to standard error: the log could not be written");
            let notice = self.format.warning(&notice);
            // If this one fails, the next one does, too.
            let _ = match &mut self.sink {
                Sink::Stderr => Ok(0),
                Sink::File(file) => file.write(&notice),
                Sink::Journal(journal) => journal.write(&notice),
            };
        }
        if let Sink::File(file) = &mut self.sink
            && let Some(notice) = file.take_notice()
        {
            self.say(&notice);
            let _ = self.flush();
        }
    }

    fn fails(&mut self, error: &io::Error) {
        let now = Instant::now();
        let is_calm = self.last_failure.is_none_or(|last| now.saturating_duration_since(last) > CALM);
        self.pause = if is_calm { FIRST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        self.last_failure = Some(now);
        let next_try = now + self.pause;
        match &mut self.failing {
            Some(failing) => failing.next_try = next_try,
            None => {
                self.failing = Some(Failing { since: now, next_try, lines: 0 });
                let place = match &self.sink {
                    Sink::File(file) => file.path().display().to_string(),
                    Sink::Journal(_) | Sink::Stderr => "the journal".to_owned(),
                };
                self.say(&format!("the log cannot be written to {place}: {error}; its lines go to standard error meanwhile"));
            }
        }
    }

    /// Adds a warning to what standard error has to take.
    fn say(&mut self, message: &str) {
        let line = self.format.warning(message);
        self.rest.extend_from_slice(&self.format.shown(&line));
    }

    /// Writes one line to standard error, in place of the sink.
    fn write_aside(&mut self, lines: &[u8]) -> io::Result<usize> {
        let line = self.format.first_line(lines);
        self.rest.extend_from_slice(&self.format.shown(line));
        match self.drain() {
            Err(error) if !is_momentary(&error) => {
                // The whole line is written again, wherever it can be.
                self.rest.clear();
                return Err(error);
            }
            _ => {}
        }
        if let Some(failing) = &mut self.failing {
            failing.lines += 1;
        }
        Ok(line.len())
    }

    fn drain(&mut self) -> io::Result<()> {
        while !self.rest.is_empty() {
            match self.stderr.write(&self.rest)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => drop(self.rest.drain(..count)),
            }
        }
        Ok(())
    }
}

/// Whether the same write can succeed in a moment.
fn is_momentary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

impl Write for Output {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if matches!(self.sink, Sink::Stderr) {
            return self.stderr.write(lines);
        }
        self.flush()?;
        match self.write_to_sink(lines) {
            Some(0) => Err(ErrorKind::Interrupted.into()),
            Some(count) => Ok(count),
            None => self.write_aside(lines),
        }
    }

    /// Waits until standard error has taken what it has to take in place of the sink. What it refuses is dropped.
    fn flush(&mut self) -> io::Result<()> {
        while let Err(error) = self.drain() {
            if is_momentary(&error) { thread::sleep(MOMENT) } else { self.rest.clear() }
        }
        Ok(())
    }
}

impl LogOutput for Output {
    fn follow(&mut self, Orders { reopen, target }: Orders) {
        let Sink::File(file) = &mut self.sink else { return };
        let is_other = match target {
            Some(LogTarget::File(settings)) => file.set(settings),
            _ => false,
        };
        if reopen || is_other {
            match file.reopen() {
                Ok(()) => self.goes_on(),
                Err(error) => self.fails(&error),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::observe::log_target::LogFileSettings;

    fn output(folder: &Path, format: Format, target: LogTarget) -> Output {
        Output::new(format, File::create(folder.join("stderr")).unwrap(), target)
    }

    fn file(folder: &Path) -> LogTarget {
        LogTarget::File(LogFileSettings { path: folder.join("log"), max_size: None, keep: 1 })
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap_or_default()
    }

    #[test]
    fn lines_go_to_standard_error_while_the_file_cannot_be_had() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir(folder.join("log")).unwrap();
        let mut output = output(folder, Format::Text, file(folder));
        output.write_all(b"one\ntwo\n").unwrap();
        output.flush().unwrap();
        let aside = read(folder, "stderr");
        assert!(aside.lines().next().unwrap().contains(" WARN  the log cannot be written to "), "{aside}");
        assert!(aside.ends_with("meanwhile\none\ntwo\n"), "{aside}");

        fs::remove_dir(folder.join("log")).unwrap();
        output.follow(Orders { reopen: true, target: None });
        output.write_all(b"three\n").unwrap();
        let log = read(folder, "log");
        assert!(log.contains(" WARN  2 lines of the last ") && log.ends_with(" could not be written\nthree\n"), "{log}");
        assert_eq!(read(folder, "stderr"), aside);
    }

    #[test]
    fn a_file_that_fails_again_and_again_is_tried_less_often() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir(folder.join("log")).unwrap();
        let mut output = output(folder, Format::Text, file(folder));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            output.follow(Orders { reopen: true, target: None });
            pauses.push(output.pause.as_secs());
        }
        output.flush().unwrap();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(read(folder, "stderr").lines().count(), 1);
    }

    #[test]
    fn entries_of_the_journal_are_text_on_standard_error() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut output = output(folder, Format::Journal, LogTarget::Journal(folder.join("nowhere")));
        let entry = Format::Journal.warning("a b");
        output.write_all(&[entry.clone(), entry].concat()).unwrap();
        output.flush().unwrap();
        let aside = read(folder, "stderr");
        assert!(aside.starts_with("20") && aside.contains(" WARN  the log cannot be written to the journal: "), "{aside}");
        assert_eq!(aside.matches(" WARN  a b\n").count(), 2, "{aside}");
    }

    #[test]
    fn another_file_takes_the_lines_that_come_then() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut output = output(folder, Format::Text, file(folder));
        output.write_all(b"one\n").unwrap();
        let other = LogFileSettings { path: folder.join("other"), max_size: None, keep: 1 };
        output.follow(Orders { reopen: false, target: Some(LogTarget::File(other)) });
        output.write_all(b"two\n").unwrap();
        assert_eq!((&*read(folder, "log"), &*read(folder, "other")), ("one\n", "two\n"));
    }
}
