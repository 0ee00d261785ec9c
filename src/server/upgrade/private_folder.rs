//! Folders in which no other user can put anything.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The permission to write, for the group and for all others.
const OTHERS_WRITE: u32 = 0o022;
/// Every permission of the group and of all others.
const OTHERS_ANY: u32 = 0o077;

/// Why a folder is not private.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPrivate {
    /// It is not there, or cannot be looked at.
    #[error("{} cannot be used: {source}", .folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else has its name.
    #[error("{} is not a folder", .0.display())]
    NoFolder(PathBuf),
    /// Its owner can put anything there.
    #[error("the folder {} belongs to another user (uid {uid})", .folder.display())]
    Owner {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others can put anything there. The sticky bit does not help: whoever comes first has the name.
    #[error("other users can write to the folder {} (mode {mode:o})", .folder.display())]
    Mode {
        /// The folder.
        folder: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// Checks that only `user` and root can put anything into a folder.
///
/// # Errors
/// Who else can.
pub(super) fn check(folder: &Path, user: u32) -> Result<(), NotPrivate> {
    let found = fs::metadata(folder).map_err(|source| unusable(folder, source))?;
    judge(folder, &found, &[user, 0], OTHERS_WRITE)
}

/// Checks a folder that was made by [`make`]: it is no symbolic link, and nobody but `user` may even look into it.
///
/// # Errors
/// What is different.
pub(super) fn check_own(folder: &Path, user: u32) -> Result<(), NotPrivate> {
    let found = fs::symlink_metadata(folder).map_err(|source| unusable(folder, source))?;
    judge(folder, &found, &[user], OTHERS_ANY)
}

/// Makes a folder for `user` alone, or checks the one that is there.
///
/// # Errors
/// It cannot be made, or was made by somebody else.
pub(super) fn make(folder: &Path, user: u32) -> Result<(), NotPrivate> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unusable(folder, error)),
        _ => check_own(folder, user),
    }
}

fn judge(folder: &Path, found: &Metadata, owners: &[u32], forbidden: u32) -> Result<(), NotPrivate> {
    let folder = folder.to_owned();
    if !found.is_dir() {
        return Err(NotPrivate::NoFolder(folder));
    }
    if !owners.contains(&found.uid()) {
        return Err(NotPrivate::Owner { folder, uid: found.uid() });
    }
    match found.mode() & 0o7777 {
        mode if mode & forbidden != 0 => Err(NotPrivate::Mode { folder, mode }),
        _ => Ok(()),
    }
}

fn unusable(folder: &Path, source: io::Error) -> NotPrivate {
    NotPrivate::Unusable { folder: folder.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A folder of that mode, and who made it.
    fn folder(mode: u32) -> (tempfile::TempDir, u32) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("permissions");
        (folder, rustix::process::geteuid().as_raw())
    }

    #[test]
    fn nobody_else_may_write() {
        for (mode, is_private) in [(0o700, true), (0o755, true), (0o775, false), (0o777, false), (0o1777, false), (0o702, false)]
        {
            let (folder, me) = folder(mode);
            assert_eq!(check(folder.path(), me).is_ok(), is_private, "{mode:o}");
        }
    }

    #[test]
    fn a_folder_of_our_own_is_for_one_user_alone() {
        for (mode, is_private) in [(0o700, true), (0o750, false), (0o701, false)] {
            let (folder, me) = folder(mode);
            assert_eq!(make(folder.path(), me).is_ok(), is_private, "{mode:o}");
        }
        let (folder, me) = folder(0o700);
        assert!(matches!(make(folder.path(), me + 1), Err(NotPrivate::Owner { .. })), "the owner counts");
        let (new, link) = (folder.path().join("new"), folder.path().join("link"));
        make(&new, me).expect("it is made");
        assert_eq!(fs::metadata(&new).expect("it is there").mode() & 0o777, 0o700);
        symlink(&new, &link).expect("a link");
        assert!(matches!(make(&link, me), Err(NotPrivate::NoFolder(_))), "a link can lead anywhere");
        assert!(check_own(&link, me).is_err());
    }
}
