//! The files of a key rotation on the disk: their paths, and how they are replaced so that a crash leaves no partial file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::jwk_set::{JwkSetError, MAX_JWK_SET};
use super::rotation::State;
use super::rotation_files::{KeyFile, KeyFolder};
use super::rotation_state::{MAX_STATE_FILE, StateError};

/// The mode of public files.
const PUBLIC: u32 = 0o644;
/// The mode of private keys, for their owner alone.
const SECRET: u32 = 0o600;
/// How long to wait for another process that holds the lock.
const LOCKED_WITHIN: Duration = Duration::from_secs(3);

/// The paths of a private key and its JWK Set, and of the files that a rotation puts beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFiles {
    private_key: PathBuf,
    jwks: PathBuf,
}

/// Why a file of a rotation could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// The file exists and cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file or its folder cannot be written to.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The state file is not valid.
    #[error("{path} {source}", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StateError,
    },
    /// The JWK Set is not valid.
    #[error("the JWK Set {0}")]
    Set(#[from] JwkSetError),
}

/// Keeps other gateways and `keys rotate` from changing these files until it is dropped.
#[derive(Debug)]
pub(crate) struct FolderLock(Option<File>);

impl Drop for FolderLock {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // Closing the file would unlock it as well.
            let _ = folder.unlock();
        }
    }
}

/// Modification time, size and inode of a file.
type FileVersion = Option<(i64, i64, u64, u64)>;

/// The versions of the state file and the JWK Set; when they change, the files have to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersions {
    state: FileVersion,
    set: FileVersion,
}

impl KeyFiles {
    /// Creates the paths for a site with these configured files.
    #[must_use]
    pub(crate) fn new(private_key: &Path, jwks: &Path) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { private_key: absolute(private_key), jwks: absolute(jwks) }
    }

    /// Returns the path of the configured private key.
    #[must_use]
    pub(crate) fn private_key(&self) -> &Path {
        &self.private_key
    }

    /// Returns the path of the configured JWK Set.
    #[must_use]
    pub(crate) fn jwks(&self) -> &Path {
        &self.jwks
    }

    /// Returns the path of a file.
    #[must_use]
    pub(crate) fn path(&self, file: &KeyFile) -> PathBuf {
        match file {
            KeyFile::State => with_middle(&self.jwks, "rotation"),
            KeyFile::Set => self.jwks.clone(),
            KeyFile::NextSet => with_middle(&self.jwks, "next"),
            KeyFile::PrivateKey => self.private_key.clone(),
            KeyFile::NewPrivateKey(kid) => with_middle(&self.private_key, kid),
            KeyFile::PublicKey => self.private_key.with_file_name("public_key.pem"),
            KeyFile::NewPublicKey(kid) => self.private_key.with_file_name(format!("public_key.{kid}.pem")),
        }
    }

    /// Reads the state; without a file, it is the state without a rotation.
    ///
    /// # Errors
    /// A file that cannot be read, or is damaged.
    pub(crate) fn state(&self) -> Result<State, KeyFileError> {
        match self.read(&KeyFile::State)? {
            None => Ok(State::default()),
            Some(bytes) => {
                State::parse(&bytes).map_err(|source| KeyFileError::State { path: self.path(&KeyFile::State), source })
            }
        }
    }

    /// Returns the present versions of the state file and the JWK Set.
    #[must_use]
    pub(crate) fn versions(&self) -> FileVersions {
        let version = |file| {
            let found = fs::metadata(self.path(&file)).ok()?;
            Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
        };
        FileVersions { state: version(KeyFile::State), set: version(KeyFile::Set) }
    }

    /// Locks the files against other processes, which hold the lock for milliseconds.
    ///
    /// # Errors
    /// A folder that cannot be opened, or that another process holds locked for 3 s. On a filesystem without locks there is none.
    pub(crate) fn lock(&self) -> Result<FolderLock, KeyFileError> {
        let path = folder_of(&self.jwks);
        let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
        let folder = File::open(path).map_err(failed)?;
        let deadline = Instant::now() + LOCKED_WITHIN;
        loop {
            match folder.try_lock() {
                Ok(()) => return Ok(FolderLock(Some(folder))),
                Err(TryLockError::Error(_)) => return Ok(FolderLock(None)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::WouldBlock) => {
                    return Err(failed(io::Error::other("another process holds it locked")));
                }
            }
        }
    }

    /// Returns the mode of a file to be written. A new private key is readable by the group if the old one is, and never by others.
    fn mode(&self, file: &KeyFile) -> u32 {
        match file {
            KeyFile::PrivateKey | KeyFile::NewPrivateKey(_) => {
                fs::metadata(&self.private_key).map_or(SECRET, |found| SECRET | found.permissions().mode() & 0o040)
            }
            KeyFile::State | KeyFile::Set | KeyFile::NextSet | KeyFile::PublicKey | KeyFile::NewPublicKey(_) => PUBLIC,
        }
    }
}

impl KeyFolder for KeyFiles {
    type Error = KeyFileError;

    fn read(&self, file: &KeyFile) -> Result<Option<Vec<u8>>, KeyFileError> {
        let path = self.path(file);
        let mut bytes = Vec::new();
        let most = MAX_STATE_FILE.max(MAX_JWK_SET) as u64 + 1;
        match File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(KeyFileError::Read { path, source }),
        }
    }

    fn write(&mut self, file: &KeyFile, bytes: &[u8]) -> Result<(), KeyFileError> {
        let path = self.path(file);
        // Users that could read the file before, or the key that this one replaces, still can.
        let owner = fs::metadata(&path).or_else(|_| fs::metadata(&self.private_key)).map(|found| (found.uid(), found.gid()));
        replace(&path, bytes, self.mode(file), owner.ok()).map_err(|source| KeyFileError::Write { path, source })
    }

    fn rename(&mut self, from: &KeyFile, to: &KeyFile) -> Result<(), KeyFileError> {
        let to = self.path(to);
        match fs::rename(self.path(from), &to) {
            Ok(()) => sync(folder_of(&to)).map_err(|source| KeyFileError::Write { path: to, source }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(source) => Err(KeyFileError::Write { path: to, source }),
        }
    }

    fn remove(&mut self, file: &KeyFile) -> Result<(), KeyFileError> {
        let path = self.path(file);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(KeyFileError::Write { path, source }),
            _ => Ok(()),
        }
    }
}

/// Inserts `middle` before the extension: `keys/jwks.json` and `next` become `keys/jwks.next.json`.
fn with_middle(path: &Path, middle: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{middle}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Replaces a file atomically: writes a temporary file beside it, flushes it to the disk, moves it into place, and flushes the
/// folder.
///
/// # Errors
/// The system's error; the old file is unchanged then.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    // A process with the same id may have left one behind.
    let _ = fs::remove_file(&beside);
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).and_then(|mut file| {
        // The umask may have cleared bits.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if let Some((user, group)) = owner {
            // Only root may change the owner; for others it is right already.
            let _ = std::os::unix::fs::fchown(&file, Some(user), Some(group));
        }
        file.write_all(bytes)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&beside, path));
    if moved.is_err() {
        let _ = fs::remove_file(&beside);
    }
    moved.and_then(|()| sync(folder_of(path)))
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_beside_the_configured_ones() {
        let files = KeyFiles::new(Path::new("/k/private_key.pem"), Path::new("/k/jwks.json"));
        for (file, path) in [
            (KeyFile::State, "/k/jwks.rotation.json"),
            (KeyFile::NextSet, "/k/jwks.next.json"),
            (KeyFile::NewPrivateKey("ab".into()), "/k/private_key.ab.pem"),
            (KeyFile::NewPublicKey("ab".into()), "/k/public_key.ab.pem"),
        ] {
            assert_eq!(files.path(&file), Path::new(path));
        }
        let bare = KeyFiles::new(Path::new("/k/key"), Path::new("/j/set"));
        assert_eq!(bare.path(&KeyFile::NewPrivateKey("ab".into())), Path::new("/k/key.ab"));
        assert_eq!(bare.path(&KeyFile::State), Path::new("/j/set.rotation"));
    }

    #[test]
    fn writing_replaces_whole_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("private_key.pem"), "old").unwrap();
        fs::set_permissions(path("private_key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        let mut files = KeyFiles::new(&path("private_key.pem"), &path("jwks.json"));
        let before = files.versions();
        files.write(&KeyFile::State, b"{}").unwrap();
        assert_ne!(files.versions(), before);
        files.write(&KeyFile::NewPrivateKey("k".into()), b"new").unwrap();
        let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("jwks.rotation.json"), mode("private_key.k.pem")), (0o644, 0o600));
        files.rename(&KeyFile::NewPrivateKey("k".into()), &KeyFile::PrivateKey).unwrap();
        files.rename(&KeyFile::NewPrivateKey("k".into()), &KeyFile::PrivateKey).unwrap();
        files.remove(&KeyFile::NextSet).unwrap();
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["jwks.rotation.json", "private_key.pem"]);
        assert_eq!(fs::read(path("private_key.pem")).unwrap(), b"new");
    }
}
