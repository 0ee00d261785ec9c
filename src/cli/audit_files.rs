//! What the commands on the audit trail share: where its files are, how they are read, and how much is printed at once.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use zeroize::Zeroizing;

use super::outcome::{Failure, Outcome, load, print_while_read, say};
use crate::audit::disk::Folder;
use crate::audit::ids::Ids;
use crate::audit::ids_key;
use crate::audit::names;
use crate::audit::period;
use crate::audit::record::Record;
use crate::audit::sought::Sought;
use crate::config::problem::shown_path;
use crate::config::{CONFIG_FILE, IdForm};

/// The longest line that is read, in bytes. A record with a thousand patients has a tenth of a megabyte.
const MAX_LINE: u64 = 16 * 1024 * 1024;
/// How much is gathered before it is printed, in bytes.
const PRINTED_AT_ONCE: usize = 64 * 1024;

/// The arguments that say where the trail is.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The configuration file, which names the folder and the key
    #[arg(long, value_name = "FILE", default_value = CONFIG_FILE)]
    config: PathBuf,
    /// A file of KEY=VALUE lines; the process environment wins over it
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The folder with the trail's files, where there is no configuration
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["config", "env_file"])]
    folder: Option<PathBuf>,
    /// The file with the key of hashed ids; without it ids are looked for as they are
    #[arg(long, value_name = "FILE", requires = "folder")]
    key: Option<PathBuf>,
}

/// A trail on the disk.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its folder.
    pub(super) folder: PathBuf,
    ids: Written,
}

/// How ids are written.
#[derive(Debug)]
enum Written {
    Plain,
    /// As hashes with the key in this file.
    Hashed(PathBuf),
    Not,
}

impl Place {
    /// Finds the trail.
    ///
    /// # Errors
    /// An invalid configuration, or one without a folder.
    pub(super) fn open(&self) -> Result<Opened, Vec<Failure>> {
        if let Some(folder) = &self.folder {
            let ids = self.key.clone().map_or(Written::Plain, Written::Hashed);
            return Ok(Opened { folder: folder.clone(), ids });
        }
        let config = load(&self.config, self.env_file.as_deref())?;
        let Some(folder) = config.audit.folder.clone() else {
            let message = format!("{}: audit.folder is not set: no trail is kept", self.config.display());
            return Err(vec![Failure::new(message, "set it, or name the folder of another trail with --folder")]);
        };
        let ids = match config.audit.ids {
            IdForm::Plain => Written::Plain,
            IdForm::Hashed => Written::Hashed(config.audit.ids_key.clone()),
            IdForm::None => Written::Not,
        };
        Ok(Opened { folder, ids })
    }
}

impl Opened {
    /// How a patient is written in the trail.
    ///
    /// # Errors
    /// Ids are not written, or the key of their hashes cannot be read.
    pub(super) fn sought(&self, patient: &str) -> Result<Sought, Vec<Failure>> {
        match &self.ids {
            Written::Plain => Ok(Sought::new(patient, None)),
            Written::Hashed(path) => Ok(Sought::new(patient, Some(&Ids::hashed(&*key(path)?)))),
            Written::Not => Err(vec![Failure::new(
                "the trail does not say whom records are about: audit.ids is none",
                "set it to hashed or plain; what is recorded from then on can be found",
            )]),
        }
    }
}

/// Reads the key of hashed ids. None is made: a new one would find nobody.
fn key(path: &Path) -> Result<Zeroizing<[u8; 32]>, Vec<Failure>> {
    ids_key::read(path).map_err(|error| {
        vec![Failure::new(format!("the key of hashed ids: {error}"), "without the key nobody can tell whom a record is about")]
    })
}

/// Reads a date from which on records are meant.
///
/// # Errors
/// It is none.
pub(super) fn since(text: &str) -> Result<Timestamp, period::NoTime> {
    period::since(text, &TimeZone::system())
}

/// Reads a date until which records are meant.
///
/// # Errors
/// It is none.
pub(super) fn until(text: &str) -> Result<Timestamp, period::NoTime> {
    period::until(text, &TimeZone::system())
}

/// Why a command ends before it is done.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nobody reads what it prints.
    Closed,
    /// Something failed.
    Failed(Vec<Failure>),
}

/// Prints to standard output, much at once.
#[derive(Debug, Default)]
pub(super) struct Printer {
    text: String,
}

impl Printer {
    /// Prints a text, sooner or later.
    ///
    /// # Errors
    /// It cannot be printed, or nobody reads it.
    pub(super) fn add(&mut self, text: &str) -> Result<(), Stop> {
        self.text.push_str(text);
        if self.text.len() < PRINTED_AT_ONCE { Ok(()) } else { self.flush() }
    }

    /// Prints what was gathered.
    ///
    /// # Errors
    /// It cannot be printed, or nobody reads it.
    pub(super) fn flush(&mut self) -> Result<(), Stop> {
        let is_read = print_while_read(&self.text).map_err(Stop::Failed)?;
        self.text.clear();
        if is_read { Ok(()) } else { Err(Stop::Closed) }
    }
}

/// The names of the trail's files in a folder, the oldest first.
///
/// # Errors
/// It cannot be read.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, Vec<Failure>> {
    let failed = |error: io::Error| {
        let message = format!("the folder of the audit trail, {}, cannot be read: {error}", shown_path(folder));
        vec![Failure::new(message, "name it with --folder")]
    };
    names::all(&Folder::at(folder)).map_err(failed)
}

/// The same, if there are any.
///
/// # Errors
/// It cannot be read, or there is none.
pub(super) fn some_names(folder: &Path) -> Result<Vec<String>, Vec<Failure>> {
    let names = names(folder)?;
    if names.is_empty() {
        let message = format!("there is no file audit-*.jsonl in {}", shown_path(folder));
        return Err(vec![Failure::new(message, "name the folder of the audit trail with --folder")]);
    }
    Ok(names)
}

/// Reads the records of all files. Lines that are no records are reported and passed over.
#[derive(Debug)]
pub(super) struct Reader {
    folder: PathBuf,
    names: Vec<String>,
    has_bad_lines: bool,
}

impl Reader {
    /// Finds the files.
    ///
    /// # Errors
    /// The folder cannot be read, or has none.
    pub(super) fn open(folder: &Path) -> Result<Self, Vec<Failure>> {
        Ok(Self { folder: folder.to_owned(), names: some_names(folder)?, has_bad_lines: false })
    }

    /// Reads all records in order, each with its line.
    ///
    /// # Errors
    /// A file cannot be read; whatever stops `take`.
    pub(super) fn read(&mut self, mut take: impl FnMut(&str, Record) -> Result<(), Stop>) -> Result<(), Stop> {
        let last = self.names.last().cloned();
        for name in std::mem::take(&mut self.names) {
            let path = self.folder.join(&name);
            let is_last = Some(&name) == last.as_ref();
            let failed = |error: io::Error| {
                let message = format!("{} cannot be read: {error}", shown_path(&path));
                Stop::Failed(vec![Failure::new(message, "see who may read it")])
            };
            let mut file = BufReader::with_capacity(PRINTED_AT_ONCE, File::open(&path).map_err(failed)?);
            let mut line = Vec::new();
            let mut number = 0_u64;
            while let Some(is_whole) = next_line(&mut file, &mut line).map_err(failed)? {
                number += 1;
                match std::str::from_utf8(&line).ok().and_then(|text| Some((text, serde_json::from_str(text).ok()?))) {
                    Some((text, record)) => take(text, record)?,
                    // The last one of the newest file may be on its way to the disk.
                    None if !is_whole && is_last => {}
                    None => self.report(&path, number),
                }
            }
        }
        Ok(())
    }

    fn report(&mut self, path: &Path, number: u64) {
        self.has_bad_lines = true;
        say(format!("error: {}:{number}: this line is no record, and was passed over", path.display()));
    }

    /// How the command ends: without success if lines were passed over.
    ///
    /// # Errors
    /// Some were. They have been reported.
    pub(super) fn outcome(self) -> Outcome {
        if self.has_bad_lines { Err(Vec::new()) } else { Ok(()) }
    }
}

/// Reads a line without its line feed, and of one that is too long the beginning. Whether it has a line feed; `None` at the end.
fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    file.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(true));
    }
    if line.len() as u64 == MAX_LINE {
        file.skip_until(b'\n')?;
        return Ok(Some(true));
    }
    Ok(Some(false))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one_and_long_ones_in_bounded_memory() {
        let long = "x".repeat(usize::try_from(MAX_LINE).unwrap() + 5);
        let text = format!("a\n\n{long}\nb");
        let mut file = BufReader::new(text.as_bytes());
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while let Some(is_whole) = next_line(&mut file, &mut line).unwrap() {
            lines.push((line.len() as u64, is_whole));
        }
        assert_eq!(lines, [(1, true), (0, true), (MAX_LINE, true), (1, false)]);
    }
}
