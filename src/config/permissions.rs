//! Who else can change or read a file that the gateway relies on: its owner, its mode, and those of its folder.
//!
//! Decision: `docs/decisions/32-secrets.md`.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::problem::{Findings, Place, shell_word, shown_path};

/// What is known of a file or a folder.
#[derive(Debug, Clone, Copy)]
struct Facts {
    owner: u32,
    group: u32,
    mode: u32,
}

/// Other users who can change or read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// The owner, who is neither the gateway's user nor root.
    Owner(u32),
    /// The members of its group.
    Group,
    /// Every user.
    All,
}

impl Facts {
    fn of(found: &Metadata) -> Self {
        Self { owner: found.uid(), group: found.gid(), mode: found.mode() & 0o7777 }
    }

    /// Who but this user and root can change it. In a folder with the sticky bit nobody can replace the files of others.
    fn writers(self, me: u32, is_folder: bool) -> Option<Others> {
        let is_sticky = is_folder && self.mode & 0o1000 != 0;
        match self.mode {
            _ if self.owner != me && self.owner != 0 => Some(Others::Owner(self.owner)),
            _ if is_sticky => None,
            mode if mode & 0o002 != 0 => Some(Others::All),
            mode if mode & 0o020 != 0 && !self.has_private_group() => Some(Others::Group),
            _ => None,
        }
    }

    /// Who but this user and root can read it. A file of root's that its group can read is how root gives it to the gateway: to a
    /// service, or to a container (`fsGroup`).
    fn readers(self, me: u32) -> Option<Others> {
        let is_given = self.owner == 0 && me != 0;
        match self.mode {
            mode if mode & 0o004 != 0 => Some(Others::All),
            mode if mode & 0o040 != 0 && !is_given && !self.has_private_group() => Some(Others::Group),
            _ => None,
        }
    }

    /// Whether its group has the number of its owner: the group that many systems make for each user.
    fn has_private_group(self) -> bool {
        self.owner == self.group
    }
}

/// Adds a problem when others than the gateway's user and root can change a file, or replace it in its folder. A link counts as
/// the file that it leads to. Of what is no file, or cannot be looked at, nothing is
/// said: reading it fails.
pub(super) fn check_writers(path: &Path, place: &Place, findings: &mut Findings) {
    let me = user();
    let Some(found) = fs::metadata(path).ok().filter(Metadata::is_file) else { return };
    if let Some(others) = Facts::of(&found).writers(me, false) {
        findings.problem(changeable(path, others, me, place, false));
    }
    for folder in folders(path) {
        let others = fs::metadata(&folder).ok().and_then(|found| Facts::of(&found).writers(me, true));
        if let Some(others) = others {
            findings.problem(changeable(&folder, others, me, place, true));
        }
    }
}

/// Reports a private key that others than the gateway's user and root can read; `keys_readable_by_others` decides whether that is
/// a problem.
pub(super) fn check_readers(path: &Path, place: &Place, findings: &mut Findings) {
    let me = user();
    let Some(found) = fs::metadata(path).ok().filter(Metadata::is_file) else { return };
    let facts = Facts::of(&found);
    let who = match facts.readers(me) {
        None => return,
        Some(Others::All) => "every user",
        Some(Others::Group | Others::Owner(_)) => "its group",
    };
    // Of root's file the gateway's user is no owner: what its group may do stays.
    let mode = if facts.owner == 0 && me != 0 { "o=" } else { "600" };
    let message = format!("{} can be read by {who} (mode {:04o})", shown_path(path), facts.mode);
    findings.readable_key(place.problem(message).remedy(format!("close it:  chmod {mode} {}", shell_word(path))));
}

fn changeable(path: &Path, others: Others, me: u32, place: &Place, is_folder: bool) -> super::Problem {
    let (named, word) = (shown_path(path), shell_word(path));
    let named = if is_folder { format!("the folder {named}") } else { named };
    match others {
        Others::Owner(owner) => {
            let message = format!("{named} belongs to another user (id {owner}), who can change it");
            let remedy = format!("make it the gateway's own or root's:  chown {me} {word}");
            place.problem(message).remedy(remedy)
        }
        Others::Group => place.problem(format!("{named} can be changed by its group")).remedy(close(&word)),
        Others::All => place.problem(format!("{named} can be changed by every user")).remedy(close(&word)),
    }
}

fn close(word: &str) -> String {
    format!("close it:  chmod go-w {word}")
}

/// The folder of a path and, where the path is a link, that of the file that it leads to.
fn folders(path: &Path) -> Vec<PathBuf> {
    let folder_of = |path: &Path| match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Some(PathBuf::from(".")),
        folder => folder.map(Path::to_owned),
    };
    let mut folders: Vec<PathBuf> = folder_of(path).into_iter().collect();
    let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    if is_link && let Ok(target) = fs::canonicalize(path) {
        folders.extend(folder_of(&target));
    }
    folders
}

/// The user that the process acts as.
pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 1000;

    fn facts(owner: u32, group: u32, mode: u32) -> Facts {
        Facts { owner, group, mode }
    }

    #[test]
    fn nobody_but_the_gateways_user_and_root_may_change_a_file() {
        for (owner, group, mode, others) in [
            (ME, ME, 0o600, None),
            (ME, 100, 0o644, None),
            (0, 0, 0o644, None),
            (0, 2000, 0o440, None),
            // The user's own group.
            (ME, ME, 0o664, None),
            (ME, 100, 0o664, Some(Others::Group)),
            (ME, ME, 0o666, Some(Others::All)),
            (0, 100, 0o602, Some(Others::All)),
            (1001, ME, 0o400, Some(Others::Owner(1001))),
        ] {
            assert_eq!(facts(owner, group, mode).writers(ME, false), others, "{owner}:{group} {mode:o}");
        }
    }

    #[test]
    fn in_a_sticky_folder_only_its_owner_can_replace_files() {
        assert_eq!(facts(0, 0, 0o1777).writers(ME, true), None);
        assert_eq!(facts(0, 0, 0o777).writers(ME, true), Some(Others::All));
        assert_eq!(facts(1001, 0, 0o1777).writers(ME, true), Some(Others::Owner(1001)));
        assert_eq!(facts(0, 0, 0o1666).writers(ME, false), Some(Others::All), "it means nothing on a file");
    }

    #[test]
    fn a_key_is_read_by_its_owner_or_by_the_group_to_which_root_gave_it() {
        for (owner, group, mode, me, others) in [
            (ME, ME, 0o600, ME, None),
            (ME, ME, 0o640, ME, None),
            (ME, 100, 0o640, ME, Some(Others::Group)),
            (ME, ME, 0o644, ME, Some(Others::All)),
            (0, 2000, 0o440, ME, None),
            (0, 2000, 0o444, ME, Some(Others::All)),
            (0, 2000, 0o440, 0, Some(Others::Group)),
            (0, 0, 0o640, 0, None),
        ] {
            assert_eq!(facts(owner, group, mode).readers(me), others, "{owner}:{group} {mode:o} {me}");
        }
    }
}
