//! The files of a key rotation on the disk: where they are, and how they change so that no crash leaves a half of one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::keys::JwkSetError;
use crate::keys::jwk_set::MAX_JWK_SET;
use crate::keys::rotation::State;
use crate::keys::rotation_files::{KeyFile, KeyFolder};
use crate::keys::rotation_state::{MAX_STATE_FILE, StateError};

/// The mode of what may be given away.
const PUBLIC: u32 = 0o644;
/// The mode of private keys: the owner's alone.
const SECRET: u32 = 0o600;
/// How long another process may keep the files to itself.
const LOCKED_WITHIN: Duration = Duration::from_secs(3);

/// A private key and its JWK Set, by path, and the files that a rotation puts beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    private_key: PathBuf,
    jwks: PathBuf,
}

/// What went wrong with a file of a rotation.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is there and cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// It, or its folder, cannot be written to.
    #[error("{path} cannot be written: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The state file is none.
    #[error("{path} {source}", path = path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StateError,
    },
    /// The JWK Set is none.
    #[error("the JWK Set {0}")]
    Set(#[from] JwkSetError),
}

/// Holds other gateways and `keys rotate` off these files until it is dropped.
#[derive(Debug)]
pub struct FolderLock(Option<File>);

impl Drop for FolderLock {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // Closing it would do, too.
            let _ = folder.unlock();
        }
    }
}

/// What a file looks like from outside: time, size, inode.
type Look = Option<(i64, i64, u64, u64)>;

/// What the files look like from outside; another value means that they have to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    state: Look,
    set: Look,
}

impl KeyFiles {
    /// The files of a site, whose configuration names these two.
    #[must_use]
    pub fn new(private_key: &Path, jwks: &Path) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { private_key: absolute(private_key), jwks: absolute(jwks) }
    }

    /// The configured private key.
    #[must_use]
    pub fn private_key(&self) -> &Path {
        &self.private_key
    }

    /// The configured JWK Set.
    #[must_use]
    pub fn jwks(&self) -> &Path {
        &self.jwks
    }

    /// Where a file is.
    #[must_use]
    pub fn path(&self, file: &KeyFile) -> PathBuf {
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

    /// The state; the one without a rotation when there is no file.
    ///
    /// # Errors
    /// A file that cannot be read, or is damaged.
    pub fn state(&self) -> Result<State, KeyFileError> {
        match self.read(&KeyFile::State)? {
            None => Ok(State::default()),
            Some(bytes) => {
                State::parse(&bytes).map_err(|source| KeyFileError::State { path: self.path(&KeyFile::State), source })
            }
        }
    }

    /// What the state file and the JWK Set look like now.
    #[must_use]
    pub fn looks(&self) -> Looks {
        let look = |file| {
            let found = fs::metadata(self.path(&file)).ok()?;
            Some((found.mtime(), found.mtime_nsec(), found.size(), found.ino()))
        };
        Looks { state: look(KeyFile::State), set: look(KeyFile::Set) }
    }

    /// Waits until nobody else changes these files, and keeps it so. Others need milliseconds.
    ///
    /// # Errors
    /// A folder that cannot be opened, or that somebody holds for seconds. One whose filesystem knows no locks is used without.
    pub fn lock(&self) -> Result<FolderLock, KeyFileError> {
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

    /// The mode of a file that is to be written. A new private key is as open to the group as the one it follows, and never to others.
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
        // Whoever could read the file before, or the key that this one follows, still can.
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

/// `keys/jwks.json` and `next` make `keys/jwks.next.json`.
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

/// Written beside its place, flushed to the disk, moved there, and the move flushed, too.
///
/// # Errors
/// The system's word. What was there before stays then.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    // One that a process of the same number left behind.
    let _ = fs::remove_file(&beside);
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).and_then(|mut file| {
        // The umask may have taken bits away.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        if let Some((user, group)) = owner {
            // Only root may; for everybody else the owner is right already.
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
        let before = files.looks();
        files.write(&KeyFile::State, b"{}").unwrap();
        assert_ne!(files.looks(), before);
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
