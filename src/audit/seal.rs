//! Files that a process left without an end: the next one ends and signs them, if nobody has changed them.

use std::io;

use jiff::Timestamp;

use super::check;
use super::checkpoint::Checkpoint;
use super::disk::Disk;
use super::finding::Finding;
use super::line;
use super::lines;
use super::names;
use super::open_file::{OpenFile, Signer};
use super::record::Kind;

const WHY: &str = "the process ended without an end to this file; the next one found it so";

/// Ends all that are left; gives what the log should say. A file that another process writes is left alone, and so is one that was
/// changed.
pub(super) fn all<D: Disk>(disk: &D, signer: &Signer, now: Timestamp) -> Vec<String> {
    let names = match names::all(disk) {
        Ok(names) => names,
        Err(error) => return vec![format!("the folder cannot be read: {error}")],
    };
    let seal = |name: String| match one(disk, signer, &name, now) {
        Ok(note) => note,
        Err(error) => Some(format!("{name} has no end and gets none: {error}")),
    };
    names.into_iter().filter_map(seal).collect()
}

fn one<D: Disk>(disk: &D, signer: &Signer, name: &str, now: Timestamp) -> io::Result<Option<String>> {
    let keys = std::slice::from_ref(signer.key.verifier());
    if is_whole(disk, name, signer)? {
        return Ok(None);
    }
    let Some(file) = disk.open(name)? else { return Ok(None) };
    let mut fault = None;
    let found = check::check(disk, name, keys, &[], &mut |line, what| {
        if what.is_fault() && fault.is_none() {
            fault = Some(Finding { file: name.to_owned(), line, what });
        }
    })?;
    if let Some(fault) = fault {
        return Ok(Some(format!("{fault}; it is left as it is")));
    }
    // Nothing was signed of it: its process ended before the first line was on the disk.
    if found.tree.size() == 0 {
        drop(file);
        disk.remove(name)?;
        return Ok(None);
    }
    let records = found.tree.size();
    let mut left = OpenFile::left(name.to_owned(), file, found.tree, found.last, found.length, found.is_ended, now);
    left.end(disk, signer, Some(WHY), now)?;
    Ok(Some(format!("{name} had {records} records and no end: its process was killed; it is ended and signed")))
}

/// Whether a file has an end, and all of it is signed, as far as its last line and its checkpoint say.
fn is_whole<D: Disk>(disk: &D, name: &str, signer: &Signer) -> io::Result<bool> {
    let Some(last) = lines::last(disk, name)?.and_then(|line| line::head(&line)) else { return Ok(false) };
    let note = check::checkpoint(disk, name)?;
    let signed = note.and_then(|note| Checkpoint::open(&note, std::slice::from_ref(signer.key.verifier())).ok());
    Ok(last.kind == Kind::FileEnded && signed.is_some_and(|signed| signed.size == last.n + 1))
}
