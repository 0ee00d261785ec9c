//! Replaces the text of a file of the operator's as a whole: its mode and owner stay, and no moment has half of it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::outcome::{Failure, Outcome};
use crate::config::problem::shown_path;

/// Keeps other processes that go this way from replacing a file meanwhile, as long as it lives.
#[must_use]
pub(super) struct Lock {
    /// `None` where there is no such file.
    _file: Option<File>,
}

impl Lock {
    /// Locks a file. What keeps it from being read is left to whoever reads it.
    ///
    /// # Errors
    /// Another process has it.
    pub(super) fn take(path: &Path) -> Result<Self, Vec<Failure>> {
        loop {
            // Opening a named pipe would wait for its writer.
            let is_file = fs::metadata(path).is_ok_and(|found| found.is_file());
            let Some(file) = is_file.then(|| File::open(path).ok()).flatten() else { return Ok(Self { _file: None }) };
            if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                let message = format!("{} is being replaced by another process", shown_path(path));
                return Err(vec![Failure::new(message, "wait until it has ended, and see what it has written")]);
            }
            // Whoever had the lock before may have put another file in its place.
            let id = |found: &fs::Metadata| (found.dev(), found.ino());
            let is_same = |file: &File| Some(id(&file.metadata().ok()?) == id(&fs::metadata(path).ok()?));
            if is_same(&file) != Some(false) {
                return Ok(Self { _file: Some(file) });
            }
        }
    }
}

/// Where the text that is replaced is kept, if it is.
#[must_use]
pub(super) struct Backup(Option<PathBuf>);

impl Backup {
    /// Looks whether the file can be replaced, with its owner and mode, and the old one kept in `FILE.bak` if that is wanted. Nothing
    /// stays written.
    ///
    /// # Errors
    /// The folder cannot be written to, the owner cannot be kept, or there is a `FILE.bak` already.
    pub(super) fn prepare(file: &Path, is_wanted: bool) -> Result<Self, Vec<Failure>> {
        let real = real_path(file)?;
        let trial = beside(&real, "trial");
        let made = make_like(&real, &trial);
        let _ = fs::remove_file(&trial);
        made.map_err(|error| unwritable(file, &error))?;
        let backup = is_wanted.then(|| {
            let mut name = real.file_name().unwrap_or_default().to_owned();
            name.push(".bak");
            real.with_file_name(name)
        });
        match backup {
            Some(backup) if fs::symlink_metadata(&backup).is_ok() => {
                let message = format!("{} already exists", shown_path(&backup));
                Err(vec![Failure::new(message, "move it away first")])
            }
            backup => Ok(Self(backup)),
        }
    }
}

/// Writes the new text in the place of the old one. A byte-order mark in front of it stays. `instead`: what to do where that fails.
///
/// # Errors
/// The file, or the copy of the old one, cannot be written, or the file is not the old one any more.
pub(super) fn replace(file: &Path, old: &str, text: &str, Backup(backup): Backup, instead: &str) -> Outcome {
    let real = real_path(file)?;
    let failed = |path: &Path, what: String| vec![Failure::new(format!("{} {what}", shown_path(path)), instead)];
    let unwritten = |error: io::Error| failed(file, format!("cannot be replaced: {error}"));
    let found = fs::read_to_string(&real).map_err(unwritten)?;
    let Some(mark) = found.strip_suffix(old).filter(|mark| matches!(*mark, "" | "\u{feff}")) else {
        return Err(failed(file, "has changed meanwhile".to_owned()));
    };
    if let Some(backup) = backup {
        keep(&real, &backup, &found).map_err(|error| failed(&backup, format!("cannot be made: {error}")))?;
    }
    let new = beside(&real, "new");
    let written = write_like(&real, &new, &format!("{mark}{text}")).and_then(|()| fs::rename(&new, &real));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map_err(unwritten)
}

/// Keeps the old file, or its text where the file system has no links, under a name that nobody has.
fn keep(real: &Path, backup: &Path, text: &str) -> io::Result<()> {
    match fs::hard_link(real, backup) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => write_like(real, backup, text),
        linked => linked,
    }
}

/// Writes the text to a new file with the mode and the owner of `like`.
fn write_like(like: &Path, new: &Path, text: &str) -> io::Result<()> {
    let mut file = make_like(like, new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let folder = new.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Makes an empty file with the mode and the owner of `like`.
fn make_like(like: &Path, new: &Path) -> io::Result<File> {
    let found = fs::metadata(like)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (found.uid(), found.gid()) {
        std::os::unix::fs::fchown(&file, Some(found.uid()), Some(found.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(found.mode() & 0o7777))?;
    Ok(file)
}

/// The file itself where the path is a link: the link stays.
fn real_path(file: &Path) -> Result<PathBuf, Vec<Failure>> {
    fs::canonicalize(file).map_err(|error| unwritable(file, &error))
}

fn beside(file: &Path, what: &str) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{what}", std::process::id()));
    file.with_file_name(name)
}

fn unwritable(file: &Path, error: &io::Error) -> Vec<Failure> {
    let message = format!("{} cannot be replaced: {error}", shown_path(file));
    vec![Failure::new(message, "run this as the file's owner, or as root, and where its folder can be written to")]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "a").unwrap();
        let first = Lock::take(&file).unwrap_or_else(|failures| panic!("{failures:?}"));
        let second = Lock::take(&file).err().unwrap();
        assert!(second.first().unwrap().text().contains("is being replaced by another process"), "{second:?}");
        drop(first);
        assert!(Lock::take(&file).is_ok());
        // What is missing, or is no file, is told by whoever reads it.
        assert!(Lock::take(folder.path()).is_ok() && Lock::take(&folder.path().join("b")).is_ok());
    }

    #[test]
    fn a_backup_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [file, backup] = ["a.yaml", "a.yaml.bak"].map(|name| folder.path().join(name));
        fs::write(&file, "old").unwrap();
        let prepared = Backup::prepare(&file, true).unwrap();
        fs::write(&backup, "mine").unwrap();
        let failures = replace(&file, "old", "new", prepared, "write it yourself").err().unwrap();
        assert!(failures.first().unwrap().text().contains("a.yaml.bak cannot be made"), "{failures:?}");
        assert_eq!((fs::read_to_string(&backup).unwrap(), fs::read_to_string(&file).unwrap()), ("mine".into(), "old".into()));
        assert_eq!(write_like(&file, &backup, "copy").err().unwrap().kind(), ErrorKind::AlreadyExists);
        fs::remove_file(&backup).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &backup).unwrap();
        assert_eq!(keep(&file, &backup, "copy").err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert!(!folder.path().join("elsewhere").exists());
    }

    #[test]
    fn a_byte_order_mark_and_the_mode_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "\u{feff}old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&file, "old", "new", Backup::prepare(&file, false).unwrap(), "write it yourself").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "\u{feff}new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        let changed = replace(&file, "old", "newer", Backup::prepare(&file, false).unwrap(), "write it yourself").err().unwrap();
        assert!(changed.first().unwrap().text().contains("has changed meanwhile"), "{changed:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
