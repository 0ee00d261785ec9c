//! Writes new files: whole or not at all, and none in the place of another one unless that is wanted.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::outcome::{Failure, Outcome, print};
use crate::config::problem::{shown, shown_path};

/// The mode of private keys, for their owner alone.
pub(super) const SECRET: u32 = 0o600;
/// The mode of new folders.
const OWN_FOLDER: u32 = 0o700;
/// The mode of public files.
pub(super) const PUBLIC: u32 = 0o644;

/// Where new files go, and the option that says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'t> {
    /// The folder.
    pub(super) folder: &'t Path,
    /// The option that names it, or a file in it.
    pub(super) option: &'static str,
}

impl Target<'_> {
    /// Creates the folder, and those above it, for their owner alone.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn create_folder(self) -> Outcome {
        let Self { folder, option } = self;
        DirBuilder::new().recursive(true).mode(OWN_FOLDER).create(folder).map_err(|error| {
            let message = format!("{} cannot be created: {error}", shown_path(folder));
            vec![Failure::new(message, format!("name another folder with {option}"))]
        })
    }

    /// Writes temporary files, then moves all of them into place: a failure leaves no partial file. Prints their names.
    ///
    /// # Errors
    /// The folder cannot be written to, or without `force` there is such a file.
    pub(super) fn write(self, files: &[(&PathBuf, &[u8], u32)], force: bool) -> Outcome {
        let Self { folder, option } = self;
        let mut written = Vec::new();
        let result = files.iter().try_for_each(|(path, bytes, mode)| {
            let beside = beside(path);
            written.push(beside.clone());
            let mut file = OpenOptions::new().write(true).create_new(true).mode(*mode).open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()
        });
        let result =
            result.and_then(|()| files.iter().zip(&written).try_for_each(|((path, ..), beside)| place(beside, path, force)));
        for beside in &written {
            // It does not exist any more if it was renamed.
            let _ = fs::remove_file(beside);
        }
        result.map_err(|error| {
            let message = format!("{} cannot be written to: {error}", shown_path(folder));
            vec![Failure::new(message, format!("name a folder that the current user may write to with {option}"))]
        })?;
        for (path, ..) in files {
            print(&format!("wrote {}\n", shown(&path.display().to_string())))?;
        }
        Ok(())
    }
}

/// The folder of a file.
pub(super) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Moves a temporary file into place; without `force` by a link, which never replaces a file that has appeared meanwhile.
fn place(beside: &Path, path: &Path, force: bool) -> std::io::Result<()> {
    if force {
        return fs::rename(beside, path);
    }
    match fs::hard_link(beside, path) {
        // Some filesystems have no links.
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists && fs::symlink_metadata(path).is_err() => {
            fs::rename(beside, path)
        }
        linked => linked,
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}
