//! How far the segments are acknowledged, as `position.json` says it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};

use crate::audit::disk::Disk;

const NAME: &str = "position.json";
/// The longest file that is read, in bytes.
const MOST: usize = 1024 * 1024;

/// How far the segments are acknowledged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Positions {
    /// Segments up to this number may have been removed, and no new one has such a number.
    pub(crate) after: u64,
    /// Segments with acknowledged records, by number.
    pub(crate) segments: BTreeMap<u64, Position>,
}

/// How far one segment is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Where the first record begins that is not acknowledged, in bytes.
    pub(crate) offset: u64,
    /// How many events of that record are posted.
    pub(crate) posted: u64,
}

impl Positions {
    /// Reads the positions. A file that is none gives the beginning: everything is handed out again.
    ///
    /// # Errors
    /// There is a file, and it cannot be read.
    pub(crate) fn read<D: Disk>(disk: &D) -> io::Result<Self> {
        match disk.read(NAME, 0, MOST) {
            Ok(content) => Ok(serde_json::from_slice(&content).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the positions.
    ///
    /// # Errors
    /// The file has its old content, or all of the new.
    pub(crate) fn write<D: Disk>(&self, disk: &D) -> io::Result<()> {
        disk.replace(NAME, &serde_json::to_vec(self)?)
    }

    /// The highest number that a segment has or had, as far as these positions know.
    #[must_use]
    pub(crate) fn highest(&self) -> u64 {
        self.segments.keys().next_back().copied().unwrap_or_default().max(self.after)
    }

    /// The acknowledged bytes of all segments together.
    #[must_use]
    pub(crate) fn acknowledged(&self) -> u64 {
        self.segments.values().map(|position| position.offset).sum()
    }
}
