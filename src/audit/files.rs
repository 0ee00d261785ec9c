//! The files of the trail as they are written: one at a time by a process, a new one at each start, each day (UTC), and at a size.
//!
//! Each file shows by itself whether it was changed: every line has the hash of the one before, and a signed checkpoint beside the file
//! the root of the tree over all lines. The first line names the newest other file and what was signed of it, so that a file that is
//! removed is missed.
//!
//! Decision: `docs/decisions/42-audit-files.md`.

use std::fmt;
use std::io;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::checkpoint::{Checkpoint, CheckpointKey, VerifierKey};
use super::disk::{Disk, SyncTask};
use super::line::Follows;
use super::open_file::{OpenFile, Signer};
use super::record::Record;
use super::{check, names, seal};

/// How the files are written.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The name of the trail, with which the name of each file's log begins.
    pub(crate) origin: String,
    /// The bytes from which on another file is begun.
    pub(crate) rotate_at: u64,
    /// The time between two checkpoints.
    pub(crate) checkpoint_every: Duration,
}

/// The files of a process.
pub(crate) struct Files<D: Disk> {
    disk: D,
    settings: Settings,
    signer: Signer,
    file: OpenFile<D::File>,
    /// The day of the file.
    day: Date,
}

impl<D: Disk> Files<D> {
    /// Ends the files that a process left without an end, and begins a new one. Gives what the log should say of the old ones.
    ///
    /// # Errors
    /// No file can be begun.
    pub(crate) fn open(disk: D, settings: Settings, key: CheckpointKey, now: Timestamp) -> io::Result<(Self, Vec<String>)> {
        let signer = Signer { origin: settings.origin.clone(), key };
        let notes = seal::all(&disk, &signer, now);
        let follows = newest(&disk, signer.key.verifier());
        let file = create(&disk, follows, now)?;
        let mut files = Self { disk, settings, signer, file, day: day(now) };
        files.file.begin(&files.disk, &files.signer, now)?;
        Ok((files, notes))
    }

    /// Appends these records, all or none, to a new file where one is due.
    ///
    /// # Errors
    /// None of them is in a file; the call can be repeated.
    pub(crate) fn append(&mut self, records: &[Record], now: Timestamp) -> io::Result<()> {
        self.rotate(now)?;
        self.file.append(records)
    }

    /// Does what is due: another file, a checkpoint, room for what comes.
    ///
    /// # Errors
    /// It could not be done, and is due again.
    pub(crate) fn tend(&mut self, now: Timestamp) -> io::Result<()> {
        self.rotate(now)?;
        if !self.file.has_room() {
            self.file.set_room_aside();
        }
        // A clock that was set back is no reason to wait.
        if self.file.has_unsigned() && (now >= self.checkpoint_due() || now < self.file.signed_at()) {
            self.file.sign(&self.disk, &self.signer, now)?;
        }
        Ok(())
    }

    /// When [`Files::tend`] has something to do next.
    #[must_use]
    pub(crate) fn next_duty(&self) -> Timestamp {
        let checkpoint = self.file.has_unsigned().then(|| self.checkpoint_due());
        let midnight =
            self.day.tomorrow().ok().and_then(|day| day.to_zoned(TimeZone::UTC).ok()).map(|midnight| midnight.timestamp());
        checkpoint.into_iter().chain(midnight).min().unwrap_or(Timestamp::MAX)
    }

    /// Whether the records of requests that have begun have room, whatever else fills the disk.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.file.has_room()
    }

    /// Waits until all that was appended to the present file is on the disk itself.
    ///
    /// # Errors
    /// It may not be.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// What does the same on another thread.
    ///
    /// # Errors
    /// The system has no more files.
    pub(crate) fn syncer(&self) -> io::Result<SyncTask> {
        self.file.syncer()
    }

    /// Ends the file.
    ///
    /// # Errors
    /// It is left without an end, which the next process gives it.
    pub(crate) fn close(mut self, now: Timestamp) -> io::Result<()> {
        self.file.begin(&self.disk, &self.signer, now)?;
        self.file.end(&self.disk, &self.signer, None, now)
    }

    fn checkpoint_due(&self) -> Timestamp {
        let every = SignedDuration::try_from(self.settings.checkpoint_every).unwrap_or(SignedDuration::MAX);
        self.file.signed_at().saturating_add(every).unwrap_or(Timestamp::MAX)
    }

    /// Begins another file where the day or the size says so, and whenever this one has ended.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        let today = day(now);
        self.file.begin(&self.disk, &self.signer, now)?;
        if self.file.length() >= self.settings.rotate_at || today > self.day || self.file.is_ended() {
            self.file.end(&self.disk, &self.signer, None, now)?;
            self.file = create(&self.disk, Some(self.file.as_followed()), now)?;
            self.day = today;
        }
        self.file.begin(&self.disk, &self.signer, now)
    }
}

impl<D: Disk> fmt::Debug for Files<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("file", &self.file.name).finish_non_exhaustive()
    }
}

fn create<D: Disk>(disk: &D, follows: Option<Follows>, now: Timestamp) -> io::Result<OpenFile<D::File>> {
    let name = names::new(disk, now)?;
    let file = disk.create(&name)?;
    Ok(OpenFile::new(name, file, follows, now))
}

fn day(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

/// The newest file with a checkpoint that can be believed, and what was signed of it, be it there or not.
fn newest<D: Disk>(disk: &D, key: &VerifierKey) -> Option<Follows> {
    let names = names::signed(disk).ok()?;
    names.into_iter().rev().find_map(|file| {
        let note = check::checkpoint(disk, &file).ok()??;
        let Checkpoint { size, root, .. } = Checkpoint::open(&note, std::slice::from_ref(key)).ok()?;
        Some(Follows { file, records: size, root })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
