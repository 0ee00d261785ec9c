//! Names and numbers of segments.

use std::io;

use crate::audit::disk::Disk;

const BEFORE: &str = "spool-";
const AFTER: &str = ".log";

/// The name of the segment with this number.
#[must_use]
pub(crate) fn name(number: u64) -> String {
    format!("{BEFORE}{number:020}{AFTER}")
}

/// The number of the segment with this name; `None` for other files.
#[must_use]
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The numbers of all segments, the oldest first.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn all<D: Disk>(disk: &D) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = disk.list()?.iter().filter_map(|name| number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The bytes of all segments together.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn bytes<D: Disk>(disk: &D) -> io::Result<u64> {
    let mut sum = 0_u64;
    for number in all(disk)? {
        match disk.length(&name(number)) {
            Ok(length) => sum = sum.saturating_add(length),
            // The reader may have removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}
