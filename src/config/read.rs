//! Reads whole files up to a limit.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// Why a file was not read. The text completes a sentence that begins with the file's name.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// There is no file of that name.
    #[error("does not exist")]
    Missing,
    /// The gateway's user may not read it.
    #[error("cannot be read: permission denied")]
    Forbidden,
    /// It is a directory, a socket or a device.
    #[error("is not a regular file")]
    NotAFile,
    /// It is larger than this limit, in bytes.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
    /// Another error of the operating system.
    #[error("cannot be read: {0}")]
    Other(std::io::Error),
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Self::Missing,
            ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Other(error),
        }
    }
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// A [`ReadError`].
pub(super) fn file(path: &Path, limit: usize) -> Result<Vec<u8>, ReadError> {
    // Looked at before it is opened: opening a named pipe would wait for its writer.
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(ReadError::NotAFile);
    }
    // A vector that grows leaves a copy of what it held, which may be a key.
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(limit).min(limit).saturating_add(64));
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(ReadError::TooLarge(limit));
    }
    Ok(bytes)
}
