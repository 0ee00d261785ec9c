//! Notices that files have changed, from their metadata, without reading them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Inode, length and time of change of a file; `None` when there is none. A rename brings another inode, a write another
/// length or time.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Files that are looked at regularly.
#[derive(Debug, Default)]
pub(super) struct FileWatch {
    /// The state that was last reported.
    settled: Option<Vec<(PathBuf, Stamp)>>,
    /// A different state that was seen at the last look.
    moving: Option<Vec<(PathBuf, Stamp)>>,
}

impl FileWatch {
    /// Whether the files have changed since this was last true, and have not changed again since the last look: several of them
    /// may be written one after the other. The first look returns false.
    pub(super) fn have_changed(&mut self, files: &[PathBuf]) -> bool {
        self.look(files.iter().map(|file| (file.clone(), stamp(file))).collect())
    }

    fn look(&mut self, seen: Vec<(PathBuf, Stamp)>) -> bool {
        let Some(settled) = &self.settled else {
            self.settled = Some(seen);
            return false;
        };
        if *settled == seen {
            self.moving = None;
            return false;
        }
        if self.moving.as_ref() == Some(&seen) {
            (self.settled, self.moving) = (Some(seen), None);
            return true;
        }
        self.moving = Some(seen);
        false
    }
}

fn stamp(file: &PathBuf) -> Stamp {
    let found = fs::metadata(file).ok()?;
    Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(stamps: &[Option<u64>]) -> Vec<(PathBuf, Stamp)> {
        stamps.iter().map(|stamp| (PathBuf::from("f"), stamp.map(|inode| (inode, 0, 0, 0)))).collect()
    }

    #[test]
    fn a_change_counts_once_and_only_when_it_has_settled() {
        let mut watched = FileWatch::default();
        let looks = [
            (&[Some(1), Some(1)], false),
            (&[Some(1), Some(1)], false),
            (&[Some(2), Some(1)], false),
            (&[Some(2), None], false),
            (&[Some(2), Some(2)], false),
            (&[Some(2), Some(2)], true),
            (&[Some(2), Some(2)], false),
            (&[Some(3), Some(2)], false),
            (&[Some(2), Some(2)], false),
            (&[Some(3), Some(2)], false),
        ];
        for (index, (stamps, changed)) in looks.into_iter().enumerate() {
            assert_eq!(watched.look(seen(stamps)), changed, "look {index}");
        }
    }

    #[test]
    fn a_write_a_rename_and_a_removal_are_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        fs::write(&file, "1").expect("written");
        let first = stamp(&file);
        fs::write(&file, "22").expect("written");
        let second = stamp(&file);
        fs::write(folder.path().join("b"), "22").expect("written");
        fs::rename(folder.path().join("b"), &file).expect("renamed");
        let third = stamp(&file);
        fs::remove_file(&file).expect("removed");
        assert!(first != second && second != third && third.is_some());
        assert_eq!(stamp(&file), None);
    }
}
