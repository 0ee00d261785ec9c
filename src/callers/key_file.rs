//! The file with the keys of the gateway's own access tokens: made where there is none, read again when it changes, and given a
//! new key from time to time.
//!
//! Several processes may have the file, and gateways on several machines: its name appears with its whole contents, and exactly
//! one of those that make it at the same time wins.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use log::{info, warn};
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::callers::signing_key::{BadTokenKeys, MAX_FILE, TokenKeys, with_new_key};
use crate::keys::key_files::replace;
use crate::keys::secret_file::{self, SecretFileError};

/// How long a key that the gateway made signs.
const SIGNS_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The file, and the keys that were last read from it.
#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    read: ArcSwapOption<Read>,
    /// The version that could not be read, so that this is logged once.
    bad: Mutex<Option<Version>>,
}

#[derive(Debug)]
struct Read {
    keys: Arc<TokenKeys>,
    version: Version,
}

/// Modification time, size and inode.
type Version = (i64, i64, u64, u64);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoTokenKeys {
    /// The file cannot be read or made, or is open to others.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// It holds something else.
    #[error("{path} {source}", path = path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BadTokenKeys,
    },
    /// No key could be generated.
    #[error("the cryptographic library made no key")]
    Crypto,
}

impl KeyFile {
    /// The file at this path. Nothing is read yet.
    #[must_use]
    pub(crate) fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, read: ArcSwapOption::empty(), bad: Mutex::default() }
    }

    /// Whether it is the file at this path.
    #[must_use]
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        std::path::absolute(path).is_ok_and(|path| path == self.path)
    }

    /// The keys that were last read: one atomic load. `None` before [`KeyFile::open`].
    #[must_use]
    pub(super) fn keys(&self) -> Option<Arc<TokenKeys>> {
        self.read.load().as_ref().map(|read| Arc::clone(&read.keys))
    }

    /// Whether these are the keys that were last read.
    #[must_use]
    pub(super) fn are(&self, keys: &Arc<TokenKeys>) -> bool {
        self.read.load().as_ref().is_some_and(|read| Arc::ptr_eq(&read.keys, keys))
    }

    /// The keys of the file as it is now, which is read again only if it has changed. A changed file that cannot be read leaves
    /// the keys as they are.
    #[must_use]
    pub(super) fn current(&self) -> Option<Arc<TokenKeys>> {
        let known = self.read.load_full();
        let version = fs::metadata(&self.path).ok().map(|found| version(&found));
        if version.is_some() && version != known.as_ref().map(|known| known.version) && version != *self.bad.lock() {
            match self.read_file() {
                Ok(()) if known.is_some() => info!("the keys of access tokens were read again from {}", self.path.display()),
                Ok(()) => {}
                Err(error) => {
                    *self.bad.lock() = version;
                    warn!("the keys of access tokens stay as they are: {error}");
                }
            }
        }
        self.keys()
    }

    /// Reads the keys; makes the file where there is none; puts a new key in front of one that has signed for a month.
    ///
    /// # Errors
    /// There are no keys then, unless some were read before.
    pub(crate) fn open(&self, now: Timestamp) -> Result<(), NoTokenKeys> {
        let mut known = self.current();
        if known.is_none() {
            if !self.path.exists() {
                self.make(now)?;
            }
            self.read_file()?;
            known = self.keys();
        }
        if known.is_some_and(|keys| is_due(&keys, now))
            && let Err(error) = self.rotate(now)
        {
            warn!("the key of access tokens is a month old, and there is no new one: {error}");
        }
        Ok(())
    }

    /// Reads the keys, if the file is there. Nothing is made.
    ///
    /// # Errors
    /// The file is there, and cannot be used.
    pub(crate) fn check(&self) -> Result<(), NoTokenKeys> {
        if self.path.exists() { self.read_file() } else { Ok(()) }
    }

    fn read_file(&self) -> Result<(), NoTokenKeys> {
        let (text, version) = self.text()?;
        let keys = TokenKeys::parse(text.as_bytes()).map_err(|source| NoTokenKeys::Bad { path: self.path.clone(), source })?;
        self.read.store(Some(Arc::new(Read { keys: Arc::new(keys), version })));
        Ok(())
    }

    fn text(&self) -> Result<(Zeroizing<String>, Version), NoTokenKeys> {
        let (text, found) = secret_file::read(&self.path, MAX_FILE)?;
        Ok((text, version(&found)))
    }

    /// Makes the file with a new key, unless another process is first.
    fn make(&self, now: Timestamp) -> Result<(), NoTokenKeys> {
        let text = with_new_key("", now).map_err(|_| NoTokenKeys::Crypto)?;
        if secret_file::make(&self.path, &text)? {
            info!("the gateway's access tokens are signed with a new key, in {}", self.path.display());
        }
        Ok(())
    }

    /// Puts a new key in front, unless another process has just done so.
    fn rotate(&self, now: Timestamp) -> Result<(), NoTokenKeys> {
        let failed = |source| SecretFileError::Make { path: self.path.clone(), source };
        // Unlocked when it is closed. On a file system without locks two processes may each make a key; the later one's counts.
        let folder = self.folder().map_err(failed)?;
        let _ = folder.lock();
        let (text, _) = self.text()?;
        let keys = TokenKeys::parse(text.as_bytes()).map_err(|source| NoTokenKeys::Bad { path: self.path.clone(), source })?;
        let found = fs::metadata(&self.path).map_err(failed)?;
        // A file that its owner may not write was brought here, perhaps to other gateways, too: it is not changed.
        if is_due(&keys, now) && found.mode() & 0o200 != 0 {
            let text = with_new_key(&text, now).map_err(|_| NoTokenKeys::Crypto)?;
            let mode = found.mode() & 0o640;
            replace(&self.path, text.as_bytes(), mode, Some((found.uid(), found.gid()))).map_err(failed)?;
            info!("the gateway's access tokens are signed with a new key, in {}", self.path.display());
        }
        self.read_file()
    }

    fn folder(&self) -> io::Result<File> {
        File::open(self.path.parent().unwrap_or(Path::new(".")))
    }
}

/// Whether the first key was made by the gateway, and has signed for its time.
fn is_due(keys: &TokenKeys, now: Timestamp) -> bool {
    let made = keys.signing().and_then(|key| key.made);
    made.is_some_and(|made| now.duration_since(made) >= SIGNS_FOR.try_into().unwrap_or_default())
}

fn version(found: &fs::Metadata) -> Version {
    (found.mtime(), found.mtime_nsec(), found.size(), found.ino())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn kid(file: &KeyFile) -> String {
        file.current().unwrap().signing().unwrap().kid.clone()
    }

    #[test]
    fn of_several_that_make_the_file_at_once_one_wins_and_all_have_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state").join("token-key.pem");
        let kids: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let file = KeyFile::new(&path);
                        file.open(Timestamp::now()).unwrap();
                        kid(&file)
                    })
                })
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(kids.iter().all(|one| *one == kids[0]), "{kids:?}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_signs_for_a_month_and_other_processes_follow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let (one, other) = (KeyFile::new(&path), KeyFile::new(&path));
        one.open(at("2026-01-01T00:00:00Z")).unwrap();
        other.open(at("2026-01-30T00:00:00Z")).unwrap();
        let first = kid(&one);
        assert_eq!(kid(&other), first);
        one.open(at("2026-01-31T00:00:00Z")).unwrap();
        let second = kid(&one);
        assert_ne!(second, first);
        other.open(at("2026-01-31T00:00:01Z")).unwrap();
        assert_eq!(kid(&other), second);
        assert!(other.current().unwrap().find(&first).is_some());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_key_that_was_brought_is_never_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let made = with_new_key("", at("2020-01-01T00:00:00Z")).unwrap();
        let without_time =
            made.lines().filter(|line| !line.starts_with("made")).fold(String::new(), |text, line| text + line + "\n");
        for (text, mode) in [(made.as_str(), 0o400), (&without_time, 0o600)] {
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let file = KeyFile::new(&path);
            file.open(Timestamp::now()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(
                file.keys().unwrap().signing().unwrap().kid,
                TokenKeys::parse(made.as_bytes()).unwrap().signing().unwrap().kid
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        fs::write(&path, "hello").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = KeyFile::new(&path);
        assert!(matches!(file.open(Timestamp::now()), Err(NoTokenKeys::Bad { source: BadTokenKeys::None, .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello");
        fs::write(&path, &*with_new_key("", Timestamp::now()).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(file.open(Timestamp::now()), Err(NoTokenKeys::File(SecretFileError::Open { mode: 0o644, .. }))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        file.open(Timestamp::now()).unwrap();
        let good = kid(&file);
        fs::write(&path, "damaged").unwrap();
        assert_eq!(kid(&file), good);
    }
}
