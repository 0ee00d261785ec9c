//! The lines of a file, read in bounded memory.

use std::io::{self, ErrorKind};

use memchr::{memchr, memrchr};

use super::disk::Disk;
use super::line::MAX_LINE;

/// How many bytes are read at once.
const CHUNK: usize = 256 * 1024;
/// How many bytes of the end of a file are read at first, to find its last line.
const TAIL: usize = 64 * 1024;

/// The lines of a file, from its beginning.
#[derive(Debug)]
pub(crate) struct Lines<'d, D> {
    disk: &'d D,
    name: &'d str,
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer.
    start: usize,
    /// Where the buffer ends in the file.
    end: u64,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'b> {
    /// A line, without its line feed.
    Line(&'b [u8]),
    /// A line that is longer than any that is written. What follows is not read.
    TooLong,
    /// The end, and how many bytes stand behind the last line feed.
    End(u64),
}

impl<'d, D: Disk> Lines<'d, D> {
    /// The lines of this file.
    pub(crate) fn new(disk: &'d D, name: &'d str) -> Self {
        Self { disk, name, buffer: Vec::new(), start: 0, end: 0 }
    }

    /// The next line.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn next(&mut self) -> io::Result<Next<'_>> {
        let mut seen = 0;
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            if let Some(at) = memchr(b'\n', rest.get(seen..).unwrap_or_default()) {
                let from = self.start;
                let to = from + seen + at;
                self.start = to + 1;
                return Ok(match to - from {
                    0..=MAX_LINE => Next::Line(self.buffer.get(from..to).unwrap_or_default()),
                    _ => Next::TooLong,
                });
            }
            seen = rest.len();
            if seen > MAX_LINE {
                return Ok(Next::TooLong);
            }
            let more = self.disk.read(self.name, self.end, CHUNK)?;
            if more.is_empty() {
                return Ok(Next::End(seen as u64));
            }
            self.end += more.len() as u64;
            self.buffer.drain(..self.start);
            self.start = 0;
            self.buffer.extend_from_slice(&more);
        }
    }
}

/// The last whole line of a file without its line feed; `None` where there is none. What stands behind the last line feed is passed
/// over.
///
/// # Errors
/// The file cannot be read, or its end is no lines.
pub(crate) fn last<D: Disk>(disk: &D, name: &str) -> io::Result<Option<Vec<u8>>> {
    let length = disk.length(name)?;
    let mut most = TAIL;
    loop {
        let from = length.saturating_sub(most as u64);
        let mut end = disk.read(name, from, most)?;
        if let Some(to) = memrchr(b'\n', &end) {
            end.truncate(to);
            match memrchr(b'\n', &end) {
                Some(before) => return Ok(Some(end.split_off(before + 1))),
                None if from == 0 => return Ok(Some(end)),
                None => {}
            }
        } else if from == 0 {
            return Ok(None);
        }
        if most > 2 * MAX_LINE {
            return Err(io::Error::new(ErrorKind::InvalidData, "a line is longer than any that is written"));
        }
        most *= 8;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audit::simulated_disk::SimulatedDisk;
    use proptest::prelude::*;

    fn disk(content: &[u8]) -> SimulatedDisk {
        let disk = SimulatedDisk::default();
        disk.tamper("f", |bytes| *bytes = content.to_vec());
        disk
    }

    fn all(content: &[u8]) -> (Vec<Vec<u8>>, u64) {
        let disk = disk(content);
        let (mut lines, mut all) = (Lines::new(&disk, "f"), Vec::new());
        loop {
            match lines.next().unwrap() {
                Next::Line(line) => all.push(line.to_vec()),
                Next::End(torn) => return (all, torn),
                Next::TooLong => panic!("too long"),
            }
        }
    }

    proptest! {
        #[test]
        fn lines_of_any_length_are_read_whole(lengths in proptest::collection::vec(0..200_000_usize, 0..8), torn in 0..70_000_usize) {
            let lines: Vec<Vec<u8>> = lengths.iter().map(|length| vec![b'x'; *length]).collect();
            let mut content: Vec<u8> = lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
            content.resize(content.len() + torn, b'y');
            prop_assert_eq!(last(&disk(&content), "f").unwrap(), lines.last().cloned());
            prop_assert_eq!(all(&content), (lines, torn as u64));
        }
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let disk = disk(&vec![b'x'; 3 * MAX_LINE]);
        assert_eq!(Lines::new(&disk, "f").next().unwrap(), Next::TooLong);
        assert!(last(&disk, "f").is_err() || last(&disk, "f").unwrap().is_none());
        disk.tamper("f", |bytes| bytes[MAX_LINE + 1] = b'\n');
        assert_eq!(Lines::new(&disk, "f").next().unwrap(), Next::TooLong);
    }
}
