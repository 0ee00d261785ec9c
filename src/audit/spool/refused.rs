//! Events that the repository refused for good: `refused.jsonl`, a file of bounded size for whoever finds out why.

use std::io::{self, ErrorKind};

use serde_json::json;

use crate::audit::disk::{Disk, DiskFile as _};
use crate::audit::record::Record;

const NAME: &str = "refused.jsonl";

/// Adds an event that the repository refused with this status: its record and which of its events it is.
///
/// # Errors
/// [`ErrorKind::StorageFull`] once the file has `most` bytes, and whatever the disk says. Nothing is added then.
pub(crate) fn add<D: Disk>(disk: &D, most: u64, status: u16, record: &Record, event: u64) -> io::Result<()> {
    let mut line = serde_json::to_vec(&json!({"status": status, "event": event, "record": record}))?;
    line.push(b'\n');
    let opened = match disk.open(NAME) {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(disk.create(NAME)?),
        opened => opened?,
    };
    let Some(mut file) = opened else { return Err(ErrorKind::WouldBlock.into()) };
    let length = file.length();
    if length.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX)) > most {
        return Err(ErrorKind::StorageFull.into());
    }
    file.append(&line).inspect_err(|_| {
        let _ = file.truncate(length);
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::audit::record::Kind;
    use crate::audit::simulated_disk::SimulatedDisk;

    #[test]
    fn the_file_has_whole_lines_and_no_more_bytes_than_it_may() {
        let disk = SimulatedDisk::default();
        let record = Record::new(Kind::Request, jiff::Timestamp::UNIX_EPOCH);
        let mut added = 0;
        while add(&disk, 1000, 422, &record, added).is_ok() {
            added += 1;
        }
        disk.set_room(Some(disk.content(NAME).len() + 10));
        assert!(add(&disk, 100_000, 422, &record, 0).is_err());
        let content = disk.content(NAME);
        assert!(content.len() <= 1000 && added > 1);
        let lines: Vec<serde_json::Value> =
            content.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
        assert_eq!(lines.len() as u64, added);
        assert_eq!((&lines[1]["event"], &lines[1]["record"]["kind"]), (&json!(1), &json!("request")));
    }
}
