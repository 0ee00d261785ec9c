//! Replaces the text of a file of the operator's as a whole: its mode and owner stay, and no moment has half of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::outcome::{Failure, Outcome};
use crate::config::problem::shown_path;

/// Where the text that is replaced is kept, if it is.
#[must_use]
pub(super) struct Backup(Option<PathBuf>);

impl Backup {
    /// Looks whether the file can be replaced, and the old one kept in `FILE.bak` if that is wanted. Nothing is written.
    ///
    /// # Errors
    /// The folder cannot be written to, or there is a `FILE.bak` already.
    pub(super) fn prepare(file: &Path, is_wanted: bool) -> Result<Self, Vec<Failure>> {
        let real = real_path(file)?;
        let trial = beside(&real, "trial");
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial);
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

/// Writes the new text in the place of the old one. `instead`: what to do where that fails.
///
/// # Errors
/// The file, or the copy of the old one, cannot be written, or the file is not the old one any more.
pub(super) fn replace(file: &Path, old: &str, text: &str, Backup(backup): Backup, instead: &str) -> Outcome {
    let real = real_path(file)?;
    let failed = |error: io::Error| unwritable(file, &error);
    if fs::read_to_string(&real).map_err(failed)?.trim_start_matches('\u{feff}') != old {
        let message = format!("{} has changed meanwhile", shown_path(file));
        return Err(vec![Failure::new(message, instead)]);
    }
    if let Some(backup) = backup {
        fs::hard_link(&real, &backup).or_else(|_| fs::copy(&real, &backup).map(drop)).map_err(failed)?;
    }
    let new = beside(&real, "new");
    let written = write_beside(&real, &new, text).and_then(|()| fs::rename(&new, &real));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written.map_err(failed)
}

/// Writes the text with the mode and the owner of `like`.
fn write_beside(like: &Path, new: &Path, text: &str) -> io::Result<()> {
    let found = fs::metadata(like)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (found.uid(), found.gid()) {
        std::os::unix::fs::fchown(&file, Some(found.uid()), Some(found.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(found.mode() & 0o7777))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let folder = new.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
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
    vec![Failure::new(message, "run this as a user who may write to its folder")]
}
