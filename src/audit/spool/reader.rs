//! The end of a spool that is read, by one process at a time.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use super::line;
use super::position::{Position, Positions};
use super::segment;
use super::shared::Shared;
use crate::audit::disk::{Disk, DiskFile as _};
use crate::audit::record::Record;

const LOCK: &str = "reader.lock";
/// How many bytes of a segment are read at once; a longer line takes more.
const PIECE: usize = 256 * 1024;
/// From this many bytes on no more records are handed out at once.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// The end of a spool that is read.
pub(crate) struct Reader<D: Disk> {
    disk: D,
    shared: Arc<Shared>,
    positions: Positions,
    /// Whether `positions` are not written yet. No segment is removed while they are not.
    is_unwritten: bool,
    /// Where the records end that were handed out last.
    ends: Vec<(u64, u64)>,
    _lock: D::File,
}

/// A record that is not acknowledged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pending {
    /// The record.
    pub(crate) record: Record,
    /// How many of its events are posted already.
    pub(crate) posted: u64,
}

/// What a segment has from some offset on.
struct Found {
    /// Records with the offsets at which their lines end.
    records: Vec<(u64, Record)>,
    end: End,
}

/// Why no more records of a segment were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There were enough.
    Enough,
    /// The line that ends at this offset has a wrong checksum.
    Wrong(u64),
    /// There is no whole line after this offset.
    Whole(u64),
}

impl<D: Disk> Reader<D> {
    /// The end of the spool in this folder that is read; `None` while another process reads it.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub(crate) fn open(disk: D, shared: Arc<Shared>) -> io::Result<Option<Self>> {
        let lock = match disk.open(LOCK) {
            Err(error) if error.kind() == ErrorKind::NotFound => match disk.create(LOCK) {
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::WouldBlock) => None,
                made => Some(made?),
            },
            opened => opened?,
        };
        let Some(lock) = lock else { return Ok(None) };
        let positions = Positions::read(&disk)?;
        Ok(Some(Self { disk, shared, positions, is_unwritten: false, ends: Vec::new(), _lock: lock }))
    }

    /// The oldest records that are not acknowledged, `most` at most. Without an acknowledgement the next call returns them again.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(crate) fn next(&mut self, most: usize) -> io::Result<Vec<Pending>> {
        self.ends.clear();
        let mut pending = Vec::new();
        // Listed before any is read: a process begins a segment after it has left the one before, which is therefore read whole.
        let numbers = segment::all(&self.disk)?;
        let (known, present) = (self.positions.segments.len(), numbers.as_slice());
        self.positions.after = self.positions.highest();
        self.positions.segments.retain(|number, _| present.binary_search(number).is_ok());
        self.is_unwritten |= self.positions.segments.len() != known;
        let mut bytes = 0_u64;
        for number in numbers {
            if pending.len() >= most || bytes >= MOST_BYTES {
                break;
            }
            let wanted = most - pending.len();
            let Some((position, found)) = self.find(number, wanted)? else { continue };
            let mut posted = position.posted;
            let mut before = position.offset;
            for (end, record) in found.records {
                bytes = bytes.saturating_add(end.saturating_sub(before));
                before = end;
                self.ends.push((number, end));
                pending.push(Pending { record, posted: std::mem::take(&mut posted) });
            }
            if let End::Wrong(_) = found.end {
                break;
            }
        }
        self.tell();
        Ok(pending)
    }

    /// Acknowledges the first `done` records that [`Reader::next`] returned last, and `posted` events of the one after them.
    ///
    /// # Errors
    /// The positions could not be written. This process goes on from here all the same; another begins further back.
    pub(crate) fn acknowledge(&mut self, done: usize, posted: u64) -> io::Result<()> {
        let mut after: Option<(u64, u64)> = None;
        for (number, end) in self.ends.drain(..done.min(self.ends.len())) {
            self.positions.segments.insert(number, Position { offset: end, posted: 0 });
            after = Some((number, end));
        }
        let next = self.ends.first().map(|(number, _)| *number);
        if let Some(number) = next.filter(|_| posted > 0) {
            self.positions.segments.entry(number).or_default().posted = posted;
        }
        self.is_unwritten |= after.is_some() || posted > 0;
        self.tell();
        self.write()
    }

    /// Reads one segment from its position on, past lines that are wrong. `None` if nothing is left of it for now.
    fn find(&mut self, number: u64, most: usize) -> io::Result<Option<(Position, Found)>> {
        loop {
            let position = self.positions.segments.get(&number).copied().unwrap_or_default();
            let found = match read(&self.disk, number, position.offset, most) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                found => found?,
            };
            match found {
                Found { records, end } if !records.is_empty() => return Ok(Some((position, Found { records, end }))),
                Found { end: End::Wrong(end), .. } => {
                    self.shared.add_skipped();
                    self.positions.segments.insert(number, Position { offset: end, posted: 0 });
                    self.is_unwritten = true;
                }
                Found { end: End::Whole(end), .. } => {
                    if !self.has_grown(number, end)? {
                        return Ok(None);
                    }
                }
                Found { .. } => return Ok(None),
            }
        }
    }

    /// Removes a segment that nobody writes any more and that has no whole line after this offset. True if it has got one meanwhile.
    fn has_grown(&mut self, number: u64, end: u64) -> io::Result<bool> {
        let name = segment::name(number);
        let mut file = match self.disk.open(&name) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // Under the lock: what is there now is all that there will ever be.
        let found = read(&self.disk, number, end, 1)?;
        if found.end != End::Whole(end) || !found.records.is_empty() {
            return Ok(true);
        }
        // The number is remembered before it is free.
        if number > self.positions.after {
            self.positions.after = number;
            self.is_unwritten = true;
        }
        let length = file.length();
        if self.write().is_err() {
            // On a full disk the positions find no room either. What is acknowledged gives its own back, and keeps its number.
            file.truncate(0)?;
            self.shared.cut(length);
            return Ok(false);
        }
        self.shared.remove(&self.disk, number, length)?;
        if length > end {
            self.shared.add_torn();
        }
        self.positions.segments.remove(&number);
        Ok(false)
    }

    fn write(&mut self) -> io::Result<()> {
        if self.is_unwritten {
            self.positions.write(&self.disk)?;
            self.is_unwritten = false;
        }
        Ok(())
    }

    fn tell(&self) {
        self.shared.set_acknowledged(self.positions.acknowledged());
    }
}

/// Reads up to `most` records of a segment from this offset on.
fn read<D: Disk>(disk: &D, number: u64, from: u64, most: usize) -> io::Result<Found> {
    let name = segment::name(number);
    let mut records = Vec::new();
    let (mut offset, mut piece) = (from, PIECE);
    while records.len() < most {
        let bytes = disk.read(&name, offset, piece)?;
        let is_last = bytes.len() < piece;
        let Some(whole) = memchr::memrchr(b'\n', &bytes) else {
            if is_last {
                return Ok(Found { records, end: End::Whole(offset) });
            }
            piece = piece.saturating_mul(2);
            continue;
        };
        for text in bytes.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
            offset = offset.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX)).saturating_add(1);
            let Some(record) = line::read(text) else { return Ok(Found { records, end: End::Wrong(offset) }) };
            records.push((offset, record));
            if records.len() >= most {
                return Ok(Found { records, end: End::Enough });
            }
        }
        if offset.saturating_sub(from) >= MOST_BYTES {
            break;
        }
        piece = PIECE;
    }
    Ok(Found { records, end: End::Enough })
}
