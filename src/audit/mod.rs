//! The audit trail: what was asked and answered, about whom, and who got it.
//!
//! A record is made once, from what is known of a request at its end, and goes to every sink: files whose records are bound to each
//! other by hashes and signed checkpoints, and a spool for a FHIR repository. Times and disks are passed in, so that properties test
//! the whole on a simulated clock and a disk that fails.
//!
//! | module | what it is |
//! |---|---|
//! | `record` | what is recorded of a request, and of an event of the gateway's own |
//! | `ids`, `ids_key` | how ids are written: as a keyed hash, plain, or not at all |
//! | `patients` | the patients that an answer is about, found while it passes |
//! | `trail`, `doorbell`, `gate` | the way of a record to its writer; what wakes that; what holds the end of an answer back until then |
//! | `audit_event` | FHIR AuditEvents of a record |
//! | `spool`, `posting` | records that a FHIR repository has not taken yet, on the disk; what is known of posting them |
//! | `disclosures`, `selection` | what was disclosed of a patient, and what an operator looks for; `period` and `sought` help |
//! | `tree` | the Merkle tree over the lines of a file |
//! | `checkpoint`, `checkpoint_key` | its signed root, and the key that signs |
//! | `line`, `lines`, `names` | a record as a line that is bound to the one before, and the files and lines of a folder |
//! | `files`, `open_file`, `seal` | the files as they are written, one of them, and what becomes of those that a process left without an end |
//! | `verify`, `check`, `finding` | whether files were changed, and where |
//! | `disk` | a folder, as far as the trail needs one; `simulated_disk` is one that fails |

pub(crate) mod audit_event;
mod check;
pub(crate) mod checkpoint;
pub(crate) mod checkpoint_key;
pub(crate) mod disclosures;
pub(crate) mod disk;
mod doorbell;
pub(crate) mod files;
pub(crate) mod finding;
pub(crate) mod gate;
pub(crate) mod ids;
pub(crate) mod ids_key;
pub(crate) mod line;
mod lines;
pub(crate) mod names;
mod open_file;
pub(crate) mod patients;
pub(crate) mod period;
pub(crate) mod posting;
pub(crate) mod record;
mod seal;
pub(crate) mod selection;
#[cfg(test)]
pub(crate) mod simulated_disk;
pub(crate) mod sought;
pub(crate) mod spool;
pub(crate) mod trail;
mod tree;
pub(crate) mod verify;
