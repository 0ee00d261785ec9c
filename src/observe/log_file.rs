//! The log's file: whole lines at its end, and old files `path.1` (the latest), `path.2`, … beside it.
//!
//! Two processes write to the same file during an upgrade. Each looks whether the other one has renamed it before it does so
//! itself, under a lock.
//!
//! Decision: `docs/decisions/51-log-outputs.md`.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::log_target::LogFileSettings;

/// The pause after a file that could not be renamed.
const RENAME_AGAIN: Duration = Duration::from_secs(60);

/// The log's file.
pub(super) struct LogFile {
    settings: LogFileSettings,
    file: Option<File>,
    /// When the next attempt to rename it may be, after one that failed.
    rename_from: Option<Instant>,
    notice: Option<String>,
}

impl LogFile {
    /// The file; it is opened with the first line.
    pub(super) fn new(settings: LogFileSettings) -> Self {
        Self { settings, file: None, rename_from: None, notice: None }
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.settings.path
    }

    /// Takes other settings; returns whether the lines go to another file from now on.
    pub(super) fn set(&mut self, settings: LogFileSettings) -> bool {
        let is_other = settings.path != self.settings.path;
        self.settings = settings;
        is_other
    }

    /// What the operator must know of the latest write besides its result.
    pub(super) fn take_notice(&mut self) -> Option<String> {
        self.notice.take()
    }

    /// Opens the file that is at the path now.
    ///
    /// # Errors
    /// There can be none.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        self.rename_from = None;
        self.file = Some(open(&self.settings.path)?);
        Ok(())
    }

    /// Writes whole lines, one at least; returns how many bytes that are.
    ///
    /// # Errors
    /// None was written. What was written of the first one is taken back.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.settings.path)?,
        };
        let mut size = file.metadata()?.len();
        let first = memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        let most = self.settings.max_size.unwrap_or(u64::MAX);
        let is_full = |size: u64| size > 0 && size.saturating_add(first as u64) > most;
        if is_full(size)
            && let Some(new) = self.renamed(&file)?
        {
            file = new;
            size = file.metadata()?.len();
        }
        // A file that could not be renamed takes the lines all the same.
        let room = if is_full(size) { u64::MAX } else { most.saturating_sub(size) };
        let result = write_whole(&mut file, size, beginning(lines, first, room));
        self.file = Some(file);
        result
    }

    /// Renames the file that is full and returns the new one; `None` if it stays for now.
    fn renamed(&mut self, full: &File) -> io::Result<Option<File>> {
        let now = Instant::now();
        // Another process renames it at this moment.
        if self.rename_from.is_some_and(|from| now < from) || matches!(full.try_lock(), Err(TryLockError::WouldBlock)) {
            return Ok(None);
        }
        let path = &self.settings.path;
        let renamed = if is_at(path, full)? { shift(path, self.settings.keep) } else { Ok(()) };
        match renamed {
            Ok(()) => {
                self.rename_from = None;
                open(path).map(Some)
            }
            Err(error) => {
                let _ = full.unlock();
                self.rename_from = Some(now + RENAME_AGAIN);
                self.notice = Some(format!("the log's file {} is full and cannot be renamed: {error}; it grows", path.display()));
                Ok(None)
            }
        }
    }
}

/// Opens a file at its end, and makes it where there is none. A link is not followed, and a pipe without a reader not waited for.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o640));
    let file = File::from(opened.map_err(|error| match error {
        Errno::LOOP => io::Error::other("it is a symbolic link"),
        error => error.into(),
    })?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// Writes lines to a file of this size; of a line that finds no room nothing stays.
fn write_whole(file: &mut File, size: u64, lines: &[u8]) -> io::Result<usize> {
    let count = file.write(lines)?;
    let written = lines.get(..count).unwrap_or_default();
    let whole = memchr::memrchr(b'\n', written).map_or(0, |end| end + 1);
    if whole < count {
        let is_last = file.metadata()?.len() == size + count as u64;
        if is_last {
            file.set_len(size + whole as u64)?;
        } else {
            // Another process has written behind it. The line is written again.
            file.write_all(b"\n")?;
        }
    }
    if whole == 0 { Err(io::Error::new(ErrorKind::StorageFull, "there is no room for a line")) } else { Ok(whole) }
}

/// Returns the lines that fit into `room`; the first one, of `first` bytes, in any case.
fn beginning(lines: &[u8], first: usize, room: u64) -> &[u8] {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines;
    }
    let fitting = lines.get(..room).and_then(|fitting| memchr::memrchr(b'\n', fitting)).map_or(0, |end| end + 1);
    lines.get(..fitting.max(first)).unwrap_or(lines)
}

/// Whether a file is the one that is at the path.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the file and each old one the next number, and removes those beyond `keep`.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    // There are more if fewer are kept than before.
    let mut beyond = keep + 1;
    while fs::remove_file(numbered(path, beyond)).is_ok() {
        beyond += 1;
    }
    for number in (1..keep).rev() {
        match fs::rename(numbered(path, number), numbered(path, number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn log_file(folder: &Path, max_size: u64, keep: u32) -> LogFile {
        LogFile::new(LogFileSettings { path: folder.join("log"), max_size: Some(max_size), keep })
    }

    fn write(file: &mut LogFile, lines: &str) {
        let mut rest = lines.as_bytes();
        while !rest.is_empty() {
            rest = &rest[file.write(rest).unwrap()..];
        }
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap_or_default()
    }

    #[test]
    fn a_full_file_gets_a_number_and_the_oldest_one_goes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut file = log_file(folder, 12, 2);
        write(&mut file, "one\ntwo\nthree\nfour\nfive\nfourteen bytes\nsix\nseven\n");
        assert_eq!((&*read(folder, "log"), &*read(folder, "log.1")), ("six\nseven\n", "fourteen bytes\n"));
        assert_eq!((&*read(folder, "log.2"), folder.join("log.3").exists()), ("five\n", false));
        // Fewer are kept from now on.
        assert!(!file.set(LogFileSettings { keep: 1, ..file.settings.clone() }));
        write(&mut file, "eight\n");
        assert_eq!((&*read(folder, "log"), &*read(folder, "log.1")), ("eight\n", "six\nseven\n"));
        assert!(!folder.join("log.2").exists());
    }

    #[test]
    fn a_file_that_cannot_be_renamed_grows_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir(folder.join("log.1")).unwrap();
        let mut file = log_file(folder, 8, 1);
        write(&mut file, "one\ntwo\nthree\n");
        let notice = file.take_notice().unwrap();
        assert!(notice.contains("log is full and cannot be renamed"), "{notice}");
        write(&mut file, "four\n");
        assert_eq!((&*read(folder, "log"), file.take_notice()), ("one\ntwo\nthree\nfour\n", None));
    }

    #[test]
    fn two_processes_rename_a_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (mut one, mut other) = (log_file(folder, 12, 3), log_file(folder, 12, 3));
        write(&mut one, "one\n");
        write(&mut other, "two\nxxx\n");
        write(&mut one, "three\n");
        write(&mut other, "four\n");
        assert_eq!((&*read(folder, "log.1"), &*read(folder, "log")), ("one\ntwo\nxxx\n", "three\nfour\n"));
        assert!(!folder.join("log.2").exists());
    }

    #[test]
    fn neither_a_link_nor_a_pipe_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        symlink(folder.join("other"), folder.join("log")).unwrap();
        let error = log_file(folder, 8, 1).write(b"one\n").unwrap_err();
        assert_eq!((&*error.to_string(), folder.join("other").exists()), ("it is a symbolic link", false));
        fs::remove_file(folder.join("log")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("log"), rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(log_file(folder, 8, 1).write(b"one\n").is_err());
    }

    #[test]
    fn lines_are_written_whole_or_not_at_all() {
        assert_eq!(beginning(b"one\ntwo\nthree\n", 4, 9), b"one\ntwo\n");
        assert_eq!(beginning(b"one\ntwo\n", 4, 2), b"one\n");
        assert_eq!(beginning(b"one\ntwo\n", 4, 8), b"one\ntwo\n");
    }
}
