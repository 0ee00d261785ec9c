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
    /// The file that will follow, while its first line or its checkpoint could not be written.
    next: Option<OpenFile<D::File>>,
    /// The file before, while its end could not be written.
    ending: Option<OpenFile<D::File>>,
    /// When what has failed is tried again.
    again_at: Option<Timestamp>,
}

/// What has failed is tried again after this time.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(1);

impl<D: Disk> Files<D> {
    /// Ends the files that a process left without an end, and begins a new one. Gives what the log should say of the old ones.
    ///
    /// # Errors
    /// No file can be begun.
    pub(crate) fn open(disk: D, settings: Settings, key: CheckpointKey, now: Timestamp) -> io::Result<(Self, Vec<String>)> {
        let signer = Signer { origin: settings.origin.clone(), key };
        let notes = seal::all(&disk, &signer, now);
        let follows = newest(&disk, signer.key.verifier());
        let mut file = create(&disk, follows, now)?;
        file.begin(&disk, &signer, now)?;
        let files = Self { disk, settings, signer, file, day: day(now), next: None, ending: None, again_at: None };
        Ok((files, notes))
    }

    /// Appends these records, all or none, to a new file where one is due.
    ///
    /// # Errors
    /// None of them is in a file; the call can be repeated.
    pub(crate) fn append(&mut self, records: &[Record], now: Timestamp) -> io::Result<()> {
        self.file.follow_clock(now);
        // What a failed append has left is gone before another file can get these records.
        self.file.mend()?;
        if self.is_rotation_due(now) {
            // Where no other file can be begun, this one has room; `tend` says why, and tries again.
            let _ = self.rotate(now);
        }
        self.file.append(records)
    }

    /// Does what is due: another file, a checkpoint, room for what comes.
    ///
    /// # Errors
    /// It could not be done, and is due again.
    pub(crate) fn tend(&mut self, now: Timestamp) -> io::Result<()> {
        self.file.follow_clock(now);
        let done = self.do_duties(now);
        self.again_at = done.is_err().then(|| now.saturating_add(AGAIN_AFTER).unwrap_or(Timestamp::MAX));
        done
    }

    fn do_duties(&mut self, now: Timestamp) -> io::Result<()> {
        if !self.file.has_room() {
            self.file.set_room_aside();
        }
        self.file.mend()?;
        self.finish_ending(now)?;
        if self.is_rotation_due(now) {
            self.rotate(now)?;
        }
        if self.file.has_unsigned() && now >= self.checkpoint_due() {
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
        self.again_at.or_else(|| checkpoint.into_iter().chain(midnight).min()).unwrap_or(Timestamp::MAX)
    }

    /// Whether the records of requests that have begun have room, whatever else fills the disk.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.file.has_room()
    }

    /// Waits until all that was appended is on the disk itself.
    ///
    /// # Errors
    /// It may not be.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.ending.as_ref().map_or(Ok(()), OpenFile::sync)?;
        self.file.sync()
    }

    /// What does the same on another thread.
    ///
    /// # Errors
    /// The system has no more files.
    pub(crate) fn syncer(&self) -> io::Result<SyncTask> {
        let ending = self.ending.as_ref().map(OpenFile::syncer).transpose()?;
        let file = self.file.syncer()?;
        Ok(Box::new(move || ending.map_or(Ok(()), |sync| sync()).and_then(|()| file())))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// It is left without an end, which the next process gives it.
    pub(crate) fn close(mut self, now: Timestamp) -> io::Result<()> {
        let before = self.finish_ending(now);
        let next = self.next.as_mut().filter(|next| next.has_begun());
        let next = next.map_or(Ok(()), |next| next.end(&self.disk, &self.signer, None, now));
        before.and(next).and(self.file.end(&self.disk, &self.signer, None, now))
    }

    fn checkpoint_due(&self) -> Timestamp {
        let every = SignedDuration::try_from(self.settings.checkpoint_every).unwrap_or(SignedDuration::MAX);
        self.file.signed_at().saturating_add(every).unwrap_or(Timestamp::MAX)
    }

    fn is_rotation_due(&self, now: Timestamp) -> bool {
        self.file.length() >= self.settings.rotate_at || day(now) > self.day
    }

    /// Begins another file, and ends the one before when that is done: at every moment there is one that takes records, with room.
    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        self.finish_ending(now)?;
        if self.next.is_none() {
            // The next one says of this one what is signed, and signed is only what a power failure leaves.
            self.file.sign(&self.disk, &self.signer, now)?;
            self.next = Some(create(&self.disk, Some(self.file.as_followed()), now)?);
        }
        if let Some(next) = &mut self.next {
            next.begin(&self.disk, &self.signer, now)?;
        }
        if let Some(next) = self.next.take() {
            self.ending = Some(std::mem::replace(&mut self.file, next));
            self.day = day(now);
        }
        self.finish_ending(now)
    }

    fn finish_ending(&mut self, now: Timestamp) -> io::Result<()> {
        if let Some(file) = &mut self.ending {
            file.end(&self.disk, &self.signer, None, now)?;
        }
        self.ending = None;
        Ok(())
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
