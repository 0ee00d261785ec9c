//! The names of the trail's files in a folder.

use std::io;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::disk::Disk;

const BEGINS: &str = "audit-";
const ENDS: &str = ".jsonl";
const CHECKPOINT: &str = ".jsonl.checkpoint";
const FORMAT: &str = "%Y%m%dT%H%M%S%.3fZ";

/// A name for a file that begins now, such as `audit-20261129T080203.123Z-0a1b2c3d.jsonl`. It comes after all that there are, also when
/// the clock was set back, and two processes never choose the same.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn new<D: Disk>(disk: &D, now: Timestamp) -> io::Result<String> {
    let newest = all(disk)?.into_iter().chain(signed(disk)?).filter_map(|name| begun(&name)).max();
    let after = newest.and_then(|newest| newest.checked_add(SignedDuration::from_millis(1)).ok());
    let time = after.map_or(now, |after| after.max(now));
    let (random, ..) = Uuid::new_v4().as_fields();
    Ok(format!("{BEGINS}{}-{random:08x}{ENDS}", time.strftime(FORMAT)))
}

/// When a file began, by its name.
fn begun(name: &str) -> Option<Timestamp> {
    let (time, _) = name.strip_prefix(BEGINS)?.split_once('-')?;
    DateTime::strptime(FORMAT, time).ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The name of the file beside a file that holds its newest signed checkpoint.
#[must_use]
pub(crate) fn checkpoint(file: &str) -> String {
    format!("{file}.checkpoint")
}

/// The names of the trail's files in a folder, the oldest first.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn all<D: Disk>(disk: &D) -> io::Result<Vec<String>> {
    let mut names = disk.list()?;
    names.retain(|name| name.starts_with(BEGINS) && name.ends_with(ENDS));
    names.sort_unstable();
    Ok(names)
}

/// The names of the files that have a checkpoint, the oldest first, be they there or not.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn signed<D: Disk>(disk: &D) -> io::Result<Vec<String>> {
    let mut names = disk.list()?;
    names.retain(|name| name.starts_with(BEGINS) && name.ends_with(CHECKPOINT));
    names.iter_mut().for_each(|name| name.truncate(name.len() - CHECKPOINT.len() + ENDS.len()));
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::audit::simulated_disk::SimulatedDisk;

    #[test]
    fn a_name_has_the_time_in_utc_and_comes_after_all_that_there_are() {
        let disk = SimulatedDisk::default();
        let now: Timestamp = "2026-11-29T09:02:03.1234+01:00".parse().unwrap();
        let mut names = Vec::new();
        for set_back in [0, 0, 3600, 7200] {
            let name = new(&disk, now - SignedDuration::from_secs(set_back)).unwrap();
            disk.create(&name).unwrap();
            names.push(name);
        }
        assert!(names[0].starts_with("audit-20261129T080203.123Z-") && names[0].len() == 41, "{names:?}");
        assert!(names.is_sorted() && begun(&names[3]) == begun("audit-20261129T080203.126Z-0.jsonl"), "{names:?}");
    }
}
