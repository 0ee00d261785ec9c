//! Where the log goes, and whether it can go there.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogTarget {
    /// Standard error.
    Stderr,
    /// A file.
    File(LogFileSettings),
    /// The socket of systemd's journal.
    Journal(PathBuf),
}

/// The log's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFileSettings {
    /// Its path.
    pub(crate) path: PathBuf,
    /// The size in bytes at which it is renamed, if that is the gateway's to do.
    pub(crate) max_size: Option<u64>,
    /// How many renamed files are kept.
    pub(crate) keep: u32,
}

/// Why the log cannot go there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableLog {
    /// There is no such folder.
    #[error("log.file.path: the folder {} does not exist", .0.display())]
    NoFolder(PathBuf),
    /// The folder is something else.
    #[error("log.file.path: {} is no folder", .0.display())]
    NotAFolder(PathBuf),
    /// The file is a link.
    #[error("log.file.path: {} is a symbolic link, and none is followed", .0.display())]
    Link(PathBuf),
    /// It is a folder, a pipe, a device.
    #[error("log.file.path: {} is no regular file", .0.display())]
    NotAFile(PathBuf),
    /// The system does not let this user write.
    #[error("log.file.path: user {user} cannot write to {}: {source}", .path.display())]
    Denied {
        /// The file, or its folder.
        path: PathBuf,
        /// The id of the user.
        user: u32,
        /// What the system said.
        source: io::Error,
    },
    /// No socket is there.
    #[error("log.journal_socket: {} is no socket: there is no journal", .0.display())]
    NoJournal(PathBuf),
}

impl UnusableLog {
    /// What to do about it.
    #[must_use]
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::NoFolder(_) | Self::Denied { .. } => {
                "make the folder, and give it to the gateway's user:  install -d -m 750 -o USER FOLDER".to_owned()
            }
            Self::NotAFolder(_) => "name a file in a folder".to_owned(),
            Self::Link(_) => "name the file itself".to_owned(),
            Self::NotAFile(_) => "name a file, or one that is not there yet; for a pipe or a device write  to: stderr".to_owned(),
            Self::NoJournal(_) => "write  to: stderr  or, in a container, make the host's socket known to it".to_owned(),
        }
    }
}

impl LogTarget {
    /// The file or socket, if it is one.
    #[must_use]
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stderr => None,
            Self::File(LogFileSettings { path, .. }) | Self::Journal(path) => Some(path),
        }
    }

    /// Checks that the log can go there. Nothing is made or changed.
    ///
    /// # Errors
    /// It cannot.
    pub(crate) fn check(&self) -> Result<(), UnusableLog> {
        match self {
            Self::Stderr => Ok(()),
            Self::File(file) => check_file(&file.path),
            Self::Journal(path) => {
                let is_socket = fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
                if is_socket { Ok(()) } else { Err(UnusableLog::NoJournal(path.clone())) }
            }
        }
    }
}

fn check_file(path: &Path) -> Result<(), UnusableLog> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(UnusableLog::NotAFolder(folder.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(UnusableLog::NoFolder(folder.to_owned())),
        Err(error) => return Err(denied(folder, error)),
    }
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| denied(folder, error.into()))?;
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => Err(UnusableLog::Link(path.to_owned())),
        Ok(found) if !found.is_file() => Err(UnusableLog::NotAFile(path.to_owned())),
        Ok(_) => access(path, Access::WRITE_OK).map_err(|error| denied(path, error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(denied(path, error)),
    }
}

fn denied(path: &Path, source: io::Error) -> UnusableLog {
    UnusableLog::Denied { path: path.to_owned(), user: rustix::process::geteuid().as_raw(), source }
}
