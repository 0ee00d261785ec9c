//! Entries of systemd's journal, in its native protocol: one datagram an entry, one field a line, and no field with a line break,
//! which [`safe_text`](super::safe_text) sees to. An empty line ends an entry where several stand together.
//!
//! The protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. Decision: `docs/decisions/51-log-outputs.md`.

use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::Level;

use super::safe_text::begin;

/// The field by which the journal knows the program.
pub(super) const IDENTIFIER: &str = "SYSLOG_IDENTIFIER=openemr-gateway";
/// The end of an entry.
const END: &[u8] = b"\n\n";
/// How long the journal may take for an entry.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// The longest field of an entry that was too large for the journal, in bytes.
const SHORT: usize = 256;
/// What stands behind a field that was cut.
const CUT: &str = " … (cut: the journal takes no entry of this size)";

/// The priority of a level (RFC 5424, 6.2.1).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Returns the first of these entries, with its end.
pub(super) fn first_entry(entries: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(entries, END);
    end.and_then(|end| entries.get(..end + END.len())).unwrap_or(entries)
}

/// Returns an entry as a line of text.
pub(super) fn text(entry: &[u8]) -> Vec<u8> {
    let entry = String::from_utf8_lossy(entry);
    let (mut time, mut level, mut message, mut fields) = ("", "", "", String::new());
    for (key, value) in entry.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "PRIORITY" => level = level_of(value),
            "TIME" => time = value,
            "MESSAGE" => message = value,
            "SYSLOG_IDENTIFIER" => {}
            key => fields.extend([" ", &key.to_ascii_lowercase(), "=", value]),
        }
    }
    format!("{time} {level:5} {message}{fields}\n").into_bytes()
}

fn level_of(priority: &str) -> &'static str {
    match priority {
        "3" => "ERROR",
        "4" => "WARN",
        "6" => "INFO",
        _ => "DEBUG",
    }
}

/// The journal's socket.
pub(super) struct Journal {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Journal {
    /// The journal that listens there. It is not asked for before the first entry.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), socket: None }
    }

    /// Sends entries; returns how many bytes of them were taken, one entry at least.
    ///
    /// # Errors
    /// The journal is away, or does not take the first of them within 5 s.
    pub(super) fn write(&mut self, entries: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while let Some(rest) = entries.get(sent..).filter(|rest| !rest.is_empty()) {
            let entry = first_entry(rest);
            match self.send(entry) {
                Ok(()) => sent += entry.len(),
                Err(error) if sent == 0 => return Err(error),
                // It is met again by the next one.
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        if let Some(socket) = &self.socket {
            match send_to(socket, entry) {
                // The journal was started again, with another socket.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => self.socket = None,
                result => return result,
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.path)?;
        socket.set_write_timeout(Some(SEND_WITHIN))?;
        send_to(&socket, entry)?;
        self.socket = Some(socket);
        Ok(())
    }
}

fn send_to(socket: &UnixDatagram, entry: &[u8]) -> io::Result<()> {
    let entry = entry.strip_suffix(b"\n").unwrap_or(entry);
    let result = match socket.send(entry) {
        Err(error) if is_too_large(&error) => socket.send(&shortened(entry)),
        result => result,
    };
    result.map(drop)
}

fn is_too_large(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(number, Some(rustix::io::Errno::MSGSIZE | rustix::io::Errno::NOBUFS))
}

/// Returns an entry with short fields, each of which says that it was cut.
fn shortened(entry: &[u8]) -> Vec<u8> {
    let mut short = Vec::new();
    for line in String::from_utf8_lossy(entry).lines() {
        let kept = begin(line, SHORT);
        let cut = if kept.len() < line.len() { CUT } else { "" };
        // A vector takes everything.
        let _ = writeln!(short, "{kept}{cut}");
    }
    short
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ENTRY: &[u8] =
        b"PRIORITY=4\nSYSLOG_IDENTIFIER=openemr-gateway\nTIME=2026-11-29T10:00:00.000Z\nMESSAGE=a = b\nREQUEST_ID=7\n\n";

    #[test]
    fn entries_are_told_apart_and_shown_as_text() {
        let two = [ENTRY, b"PRIORITY=6\nMESSAGE=\n\n"].concat();
        assert_eq!(first_entry(&two), ENTRY);
        assert_eq!(text(ENTRY), b"2026-11-29T10:00:00.000Z WARN  a = b request_id=7\n");
    }

    #[test]
    fn a_journal_that_is_away_is_found_again_at_the_same_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let mut journal = Journal::at(&path);
        assert!(journal.write(ENTRY).is_err());
        let mut piece = [0; 1024];
        for _ in 0..2 {
            let listening = UnixDatagram::bind(&path).unwrap();
            assert_eq!(journal.write(&[ENTRY, ENTRY].concat()).unwrap(), 2 * ENTRY.len());
            for _ in 0..2 {
                let count = listening.recv(&mut piece).unwrap();
                assert_eq!(&piece[..count], &ENTRY[..ENTRY.len() - 1]);
            }
            std::fs::remove_file(&path).unwrap();
        }
        assert!(journal.write(ENTRY).is_err());
    }

    #[test]
    fn an_entry_that_is_too_large_is_cut_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listening = UnixDatagram::bind(&path).unwrap();
        let entry = format!("PRIORITY=6\nMESSAGE={}\nROUTE=fhir\n\n", "é".repeat(4 * 1024 * 1024));
        assert_eq!(Journal::at(&path).write(entry.as_bytes()).unwrap(), entry.len());
        let mut piece = [0; 4096];
        let count = listening.recv(&mut piece).unwrap();
        let sent = std::str::from_utf8(&piece[..count]).unwrap();
        assert!(sent.starts_with("PRIORITY=6\nMESSAGE=éé") && sent.ends_with(&format!("é{CUT}\nROUTE=fhir\n")), "{sent}");
    }
}
