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
//! | `trail`, `gate` | the way of a record to its writer; what holds the end of an answer back until then |
//! | `audit_event` | FHIR AuditEvents of a record |
//! | `spool`, `posting` | records that a FHIR repository has not taken yet, on the disk; what is known of posting them |
//! | `disclosures`, `selection` | what was disclosed of a patient, and what an operator looks for; `period` and `sought` help |
//! | `disk` | a folder, as far as the trail needs one; `simulated_disk` is one that fails |

#![allow(dead_code, reason = "the sinks are being built")]

pub(crate) mod audit_event;
pub(crate) mod checkpoint;
pub(crate) mod disclosures;
pub(crate) mod disk;
pub(crate) mod files;
pub(crate) mod gate;
pub(crate) mod ids;
pub(crate) mod ids_key;
pub(crate) mod patients;
pub(crate) mod period;
pub(crate) mod posting;
pub(crate) mod record;
pub(crate) mod selection;
#[cfg(test)]
pub(crate) mod simulated_disk;
pub(crate) mod sought;
pub(crate) mod spool;
pub(crate) mod trail;
