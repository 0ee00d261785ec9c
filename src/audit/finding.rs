//! What a check finds in a file.

use std::fmt;

use super::checkpoint::BadCheckpoint;

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file.
    pub(crate) file: String,
    /// The line in it, from 1 on; `None` for what is about the whole.
    pub(crate) line: Option<u64>,
    /// What it is.
    pub(crate) what: What,
}

/// What was found. Numbers of records count from 0, those of lines from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum What {
    /// The line is no record.
    #[error("is no record: it was changed, or added")]
    NotARecord,
    /// The line is longer than any that is written.
    #[error("is longer than any that is written; what follows was not read")]
    TooLong,
    /// The first record is not the one with which a file begins.
    #[error("is not the record with which a file begins: the file was not written by the gateway, or records were removed")]
    NoBeginning,
    /// The record was changed.
    #[error("was changed: its hash is not the one that the next line has")]
    Changed,
    /// The record, or where it says what it follows, was changed.
    #[error("was changed, or the line before it was: the hash of that line is not the one that this line has")]
    PrevChanged,
    /// The record has another number than its place.
    #[error("has number {found} where record {due} is due: it was changed, or put in its place")]
    Number {
        /// Its number.
        found: u64,
        /// The number of its place.
        due: u64,
    },
    /// The record does not belong here.
    #[error("has number {found} where record {due} is due: it was added, or moved here")]
    OutOfPlace {
        /// Its number.
        found: u64,
        /// The number of its place.
        due: u64,
    },
    /// Records before this line are gone.
    #[error("follows a gap: {}", removed(*from, *to))]
    Missing {
        /// The first that is gone.
        from: u64,
        /// The last that is gone.
        to: u64,
    },
    /// The line follows the end of the file.
    #[error("was added: it follows the record that ends the file")]
    AfterEnd,
    /// The records no longer are what was signed, and all that follows was computed anew.
    #[error("is not what was signed: it, or a line before it, was changed, and the hashes in what follows with it")]
    Rewritten,
    /// The records up to here no longer are what another file says.
    #[error("is not what {by} says of this file: it, or a line before it, was changed, and the hashes in what follows with it")]
    NotAsClaimed {
        /// The other file.
        by: String,
    },
    /// Records at the end are gone.
    #[error("ends after {records} records, and {signed} were signed: {}", removed(*records, signed.saturating_sub(1)))]
    Truncated {
        /// How many there are.
        records: u64,
        /// How many were signed.
        signed: u64,
    },
    /// Records at the end are gone, as another file says.
    #[error("ends after {records} records, and {by} says that it had {claimed}: {}", removed(*records, claimed.saturating_sub(1)))]
    TruncatedAsClaimed {
        /// How many there are.
        records: u64,
        /// How many there were.
        claimed: u64,
        /// The other file.
        by: String,
    },
    /// Its checkpoint is not there.
    #[error("has no signed checkpoint: it was removed")]
    NoCheckpoint,
    /// Its checkpoint is not to be believed.
    #[error("has a checkpoint that {0}")]
    BadCheckpoint(BadCheckpoint),
    /// Its checkpoint is one of another file.
    #[error("has the checkpoint of another file: {0}")]
    OtherOrigin(String),
    /// A file is not there, although its checkpoint is.
    #[error("is not there, although its signed checkpoint is: it was removed")]
    Gone,
    /// A file is not there, although older ones are.
    #[error("follows {0}, which is not there: it was removed")]
    FileRemoved(String),

    /// It has no record that ends it.
    #[error("has no end: its process is at work, or was killed")]
    NoEnd,
    /// Its last line is not whole.
    #[error("ends with {0} bytes of an unfinished line: its process is at work, or was killed")]
    Unfinished(u64),
    /// Not all of it is signed yet.
    #[error("is signed up to record {}; for the {} after that, there is only the hash in the next line", signed.saturating_sub(1), records - signed)]
    NotYetSigned {
        /// How many are signed.
        signed: u64,
        /// How many there are.
        records: u64,
    },
    /// The file before is not among those that are checked.
    #[error("follows {0}, which is not among these files")]
    FileNotGiven(String),
}

impl What {
    /// Whether somebody has changed something. What is none is what a process leaves that is at work, or was killed.
    #[must_use]
    pub(crate) fn is_fault(&self) -> bool {
        !matches!(self, Self::NoEnd | Self::Unfinished(_) | Self::NotYetSigned { .. } | Self::FileNotGiven(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}: line {line} {}", self.file, self.what),
            None => write!(f, "{} {}", self.file, self.what),
        }
    }
}

fn removed(from: u64, to: u64) -> String {
    if from == to { format!("record {from} was removed") } else { format!("records {from} to {to} were removed") }
}
