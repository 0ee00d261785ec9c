//! Whether the files of a trail were changed: each by itself, and what they say of each other.

use std::collections::HashMap;
use std::io;

use super::check::{self, Claim};
use super::checkpoint::VerifierKey;
use super::disk::Disk;
use super::finding::{Finding, What};
use super::line::{self, Follows};
use super::lines::{Lines, Next};
use super::names;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The file.
    pub(crate) file: String,
    /// How many records it has.
    pub(crate) records: u64,
    /// How many of them are signed.
    pub(crate) signed: u64,
}

/// Finds the files of a folder that are gone although their checkpoints are there.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn gone<D: Disk>(disk: &D) -> io::Result<Vec<Finding>> {
    let present = names::all(disk)?;
    let gone = names::signed(disk)?.into_iter().filter(|name| !present.contains(name));
    Ok(gone.map(|file| Finding { file, line: None, what: What::Gone }).collect())
}

/// Checks these files of a folder, in their order; `report` gets each finding.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn verify<D: Disk>(
    disk: &D,
    files: &[String],
    keys: &[VerifierKey],
    report: &mut dyn FnMut(Finding),
) -> io::Result<Vec<Verified>> {
    let present = names::all(disk)?;
    let mut claims: HashMap<String, Vec<Claim>> = HashMap::new();
    for file in files {
        let Some(follows) = follows(disk, file)? else { continue };
        if !files.contains(&follows.file) {
            let name = follows.file.clone();
            let has_older = present.iter().any(|present| *present < name);
            let is_gone = !present.contains(&name) && has_older;
            let what = if is_gone { What::FileRemoved(name) } else { What::FileNotGiven(name) };
            report(Finding { file: file.clone(), line: None, what });
        }
        claims.entry(follows.file.clone()).or_default().push(Claim { by: file.clone(), follows });
    }
    let mut verified = Vec::with_capacity(files.len());
    for file in files {
        let claims = claims.get(file).map(Vec::as_slice).unwrap_or_default();
        let mut found = |line, what| report(Finding { file: file.clone(), line, what });
        let checked = check::check(disk, file, keys, claims, &mut found)?;
        verified.push(Verified { file: file.clone(), records: checked.tree.size(), signed: checked.signed });
    }
    Ok(verified)
}

/// What the first line of a file says of another.
fn follows<D: Disk>(disk: &D, file: &str) -> io::Result<Option<Follows>> {
    match Lines::new(disk, file).next()? {
        Next::Line(line) => Ok(line::head(line).and_then(|head| head.follows)),
        Next::TooLong | Next::End(_) => Ok(None),
    }
}
