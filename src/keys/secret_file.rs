//! A file with a secret that the gateway makes for itself where there is none.
//!
//! Several processes may have the file: its name appears with its whole content, and exactly one of those that make it at the same
//! time wins.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use zeroize::Zeroizing;

/// The mode of the file, for its owner alone.
const SECRET: u32 = 0o600;
/// The mode of its folder, where that is made.
const OWN_FOLDER: u32 = 0o700;

/// Why a file with a secret cannot be used. Each text begins with the file's path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file, or its folder, cannot be made.
    #[error("{path} cannot be made: {source}", path = path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Other users can read the file, or change it.
    #[error("{path} is open to other users (mode {mode:04o}): close it with  chmod 600 {path}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Reads a file of at most `most` bytes, of a longer one a byte more; with what is known of it.
///
/// # Errors
/// It cannot be read, or others can.
pub(crate) fn read(path: &Path, most: usize) -> Result<(Zeroizing<String>, fs::Metadata), SecretFileError> {
    let failed = |source| SecretFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    // A file of root's that its group can read is how root gives it to a service, or to a container.
    if found.mode() & 0o037 != 0 || (found.mode() & 0o040 != 0 && found.uid() != 0 && found.uid() != found.gid()) {
        return Err(SecretFileError::Open { path: path.to_owned(), mode: found.mode() & 0o7777 });
    }
    // As large as it can become: a text that grows leaves its contents behind.
    let mut text = Zeroizing::new(String::with_capacity(most.saturating_add(2)));
    file.take(most as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    Ok((text, found))
}

/// Makes the file with this content, and its folder, unless it is there by now. Whether it was made.
///
/// # Errors
/// It cannot be made.
pub(crate) fn make(path: &Path, text: &str) -> Result<bool, SecretFileError> {
    let failed = |source| SecretFileError::Make { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(OWN_FOLDER).create(folder).map_err(failed)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", Uuid::new_v4()));
    let beside = path.with_file_name(name);
    let written = OpenOptions::new().write(true).create_new(true).mode(SECRET).open(&beside).and_then(|mut file| {
        // The umask may have cleared bits.
        file.set_permissions(fs::Permissions::from_mode(SECRET))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    // A name that is there already is not replaced: the first process wins, and its secret is every process's.
    let linked = written.and_then(|()| fs::hard_link(&beside, path));
    let _ = fs::remove_file(&beside);
    let is_made = match linked {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(failed(error)),
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(is_made)
}
