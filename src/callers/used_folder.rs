//! The folder in which the processes that share a key file tell each other which client assertions were used: the old and the new
//! process of an upgrade, a process and the one after a restart, gateways with the same folder.
//!
//! An assertion is an empty file, whose name is a digest, in a folder for the ten minutes in which the assertion expires.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::callers::used_assertion;

/// For how many seconds of expiry there is one folder.
const SPAN: i64 = 10 * 60;
const OWN_FOLDER: u32 = 0o700;
const OWN: u32 = 0o600;

/// The folder.
#[derive(Debug)]
pub(super) struct UsedFolder(PathBuf);

impl UsedFolder {
    /// The folder beside a key file: `token-key.pem` has `token-key.used`.
    #[must_use]
    pub(super) fn beside(key_file: &Path) -> Self {
        Self(key_file.with_extension("used"))
    }

    /// The folder's path.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Uses an assertion of a client, which is good to the end of the second `until`. Says whether this is the first time.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub(super) fn first(&self, client: &str, jti: &str, until: i64, now: i64) -> io::Result<bool> {
        let span = self.0.join(until.div_euclid(SPAN).to_string());
        if !span.is_dir() {
            DirBuilder::new().recursive(true).mode(OWN_FOLDER).create(&span)?;
            self.forget_before(now);
        }
        match OpenOptions::new().write(true).create_new(true).mode(OWN).open(span.join(used_assertion::name(client, jti))) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the folders whose assertions have all expired. What cannot be removed now is tried again with the next folder.
    fn forget_before(&self, now: i64) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        for entry in entries.flatten() {
            let span = entry.file_name().to_str().and_then(|name| name.parse::<i64>().ok());
            if span.is_some_and(|span| span.saturating_add(1).saturating_mul(SPAN) <= now) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_used_once_by_all_that_have_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [(); 2].map(|()| UsedFolder::beside(&folder.path().join("state/token-key.pem")));
        let [one, other] = &folders;
        assert!(one.first("lab", "1", 300, 0).unwrap());
        assert!(!other.first("lab", "1", 300, 1).unwrap());
        assert!(other.first("lab", "2", 300, 1).unwrap());
        assert!(one.first("la", "b1", 300, 1).unwrap());
        assert!(folder.path().join("state/token-key.used/0").is_dir());
        // Nothing is forgotten while it counts, and all of it some time later.
        assert!(one.first("lab", "3", 899, 599).unwrap());
        assert!(!one.first("lab", "1", 300, 599).unwrap());
        assert!(one.first("lab", "4", 1200, 900).unwrap());
        assert!(!folder.path().join("state/token-key.used/0").exists());
        assert!(!one.first("lab", "3", 899, 899).unwrap());
    }

    #[test]
    fn of_many_at_once_one_is_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let used = UsedFolder::beside(&folder.path().join("key.pem"));
        let firsts = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| used.first("lab", "1", 300, 0).unwrap())).collect();
            tries.into_iter().map(|one| one.join().unwrap()).filter(|first| *first).count()
        });
        assert_eq!(firsts, 1);
    }
}
