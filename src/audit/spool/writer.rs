//! The end of a spool that is written, by one blocking thread.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::line;
use super::position::Positions;
use super::segment;
use super::shared::{Shared, Sizes};
use crate::audit::disk::{Disk, DiskFile as _, SyncTask};
use crate::audit::record::Record;

/// How many numbers are tried for a new segment: another process may take some at the same time.
const TRIES: u64 = 16;

/// The end of a spool that is written.
pub(crate) struct Writer<D: Disk> {
    disk: D,
    sizes: Sizes,
    shared: Arc<Shared>,
    segment: Option<Segment<D::File>>,
    /// The number of this process's latest segment.
    latest: u64,
    /// Segments that were left, and whose records may not be on the disk itself.
    left: Vec<D::File>,
    lines: Vec<u8>,
}

struct Segment<F> {
    number: u64,
    file: F,
}

impl<D: Disk> Writer<D> {
    /// The end of the spool in this folder that is written, and counts what is there.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn open(disk: D, sizes: Sizes, shared: Arc<Shared>) -> io::Result<Self> {
        shared.count(&disk)?;
        Ok(Self { disk, sizes, shared, segment: None, latest: 0, left: Vec::new(), lines: Vec::new() })
    }

    /// What it shares with the other end.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Appends these records: all of them, or none. They are handed to the system, and survive this process.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`] at the bound, and whatever the disk says. Then the records are lost, unless the reader has been quick.
    pub(crate) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        records.iter().for_each(|record| line::write(record, &mut lines));
        let done = if lines.is_empty() { Ok(()) } else { self.append_lines(&lines) };
        // One long batch does not hold its memory for ever.
        lines.shrink_to(1024 * 1024);
        self.lines = lines;
        done
    }

    /// Whether the next append has room, if it is not long: in the spool, and on the disk, where it is set aside.
    pub(crate) fn has_room(&mut self) -> bool {
        self.make_room(self.sizes.headroom).is_ok()
    }

    /// Waits until everything that was appended is on the disk itself.
    ///
    /// # Errors
    /// It may not be.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if let Some(segment) = &self.segment {
            segment.file.sync()?;
        }
        while let Some(file) = self.left.last() {
            file.sync()?;
            self.left.pop();
        }
        Ok(())
    }

    /// What does the same for the present segment on another thread; `None` where there is none. Segments that were left are on the disk.
    ///
    /// # Errors
    /// The system has no more files.
    pub(crate) fn syncer(&mut self) -> io::Result<Option<SyncTask>> {
        self.segment.as_ref().map(|segment| segment.file.syncer()).transpose()
    }

    fn append_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.make_room(bytes)?;
        let Some(segment) = &mut self.segment else { return Err(ErrorKind::NotFound.into()) };
        let done = segment.file.append(lines);
        match done {
            Ok(()) => self.shared.appended(bytes),
            Err(_) => self.abandon(bytes),
        }
        done
    }

    /// Leaves the segment after a failed append of so many bytes. The reader may have read some of them already, so that nothing may
    /// ever be in their place.
    fn abandon(&mut self, failed: u64) {
        let Some(mut segment) = self.segment.take() else { return };
        let length = segment.file.length();
        let is_gone = length == 0 && self.shared.remove(&self.disk, segment.number, 0).is_ok();
        if !is_gone && segment.file.truncate(length).is_err() {
            self.shared.appended(failed);
        }
        if length > 0 && segment.file.sync().is_err() {
            self.left.push(segment.file);
        }
    }

    /// Makes sure that so many bytes fit into the spool, and into a segment whose room is set aside.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let is_full = |used: u64| used.saturating_add(bytes) > self.sizes.segments;
        if is_full(self.shared.used()) && is_full(self.shared.count(&self.disk)?) {
            return Err(ErrorKind::StorageFull.into());
        }
        match &self.segment {
            Some(Segment { file, .. }) if file.length() == 0 || file.length().saturating_add(bytes) <= self.sizes.segment => {
                Ok(())
            }
            Some(Segment { file, .. }) => {
                file.sync()?;
                self.begin(bytes)
            }
            None => self.begin(bytes),
        }
    }

    /// Begins a segment, whose number is higher than any that there is or was.
    fn begin(&mut self, bytes: u64) -> io::Result<()> {
        // The folder first: a number that is missing there because its segment was removed is in the positions since before that.
        let present = segment::all(&self.disk)?.last().copied().unwrap_or_default();
        let highest = present.max(Positions::read(&self.disk)?.highest()).max(self.latest);
        for number in (highest.saturating_add(1)..).take(usize::try_from(TRIES).unwrap_or_default()) {
            let mut file = match self.disk.create(&segment::name(number)) {
                Ok(file) => file,
                // Another process has the number, or its reader took this segment for one that ended.
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound | ErrorKind::WouldBlock) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            self.latest = number;
            if let Err(error) = file.reserve(self.sizes.segment.max(bytes)) {
                let _ = self.shared.remove(&self.disk, number, 0);
                return Err(error);
            }
            self.segment = Some(Segment { number, file });
            // What other processes have appended meanwhile counts, too.
            let used = self.shared.count(&self.disk)?;
            let is_full = used.saturating_add(bytes) > self.sizes.segments;
            return if is_full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) };
        }
        Err(ErrorKind::AlreadyExists.into())
    }
}
