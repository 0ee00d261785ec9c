//! A line of a segment: the first 64 bits of SHA-256 over the record's JSON as 16 hexadecimal digits, a blank, the JSON, a line feed.

use aws_lc_rs::digest::{SHA256, digest};

use crate::audit::record::Record;

/// The bytes of the hash that a line has.
const HASHED: usize = 8;
/// The bytes before the JSON.
const BEFORE: usize = 2 * HASHED + 1;

/// Adds the line of a record to `lines`.
pub(crate) fn write(record: &Record, lines: &mut Vec<u8>) {
    let begin = lines.len();
    lines.resize(begin + BEFORE, b' ');
    record.write(lines);
    let before = before(lines.get(begin + BEFORE..).unwrap_or_default());
    lines.splice(begin..begin + BEFORE, before.into_bytes());
    lines.push(b'\n');
}

/// Reads a line without its line feed; `None` for one that was not written so.
#[must_use]
pub(crate) fn read(line: &[u8]) -> Option<Record> {
    let (found, json) = line.split_at_checked(BEFORE)?;
    (found == before(json).as_bytes()).then(|| serde_json::from_slice(json).ok())?
}

/// What stands before the JSON.
fn before(json: &[u8]) -> String {
    hex::encode(digest(&SHA256, json).as_ref().get(..HASHED).unwrap_or_default()) + " "
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::audit::record::Kind;

    #[test]
    fn a_line_reads_back_and_none_of_its_bytes_can_change() {
        let record = Record {
            query: Some("GET /Patient?name=\n\u{e9}".into()),
            ..Record::new(Kind::Request, jiff::Timestamp::UNIX_EPOCH)
        };
        let mut line = Vec::new();
        write(&record, &mut line);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line a record");
        line.pop();
        assert_eq!(read(&line), Some(record));
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone();
                changed[at] ^= 1 << bit;
                assert_eq!(read(&changed), None, "bit {bit} of byte {at}");
            }
            assert_eq!(read(&line[..at]), None);
        }
    }
}
