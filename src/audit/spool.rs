//! The spool: records that a FHIR repository has not taken yet, in a folder of bounded size.
//!
//! # Invariants
//! - **At least once.** Every record of an append that returned `Ok` is handed out until it is acknowledged, across kills and
//!   restarts, and across power failures if [`Writer::sync`](writer::Writer::sync) returned `Ok` since.
//! - **In order.** Records of one process are handed out in the order in which it appended them. Between processes there is no order:
//!   during an upgrade two of them write.
//! - **Nothing invented.** What is handed out was appended: each line has a checksum, and one that is wrong is skipped and counted. Of
//!   an append that failed, or during which the process ended, a first part may be handed out.
//! - **Bounded.** The files take no more bytes than configured; beyond, an append fails with `StorageFull` and changes nothing. While
//!   two processes write, each may exceed the bound by what the other appends to one segment.
//! - **One reader.** Whoever holds the lock of `reader.lock` reads the segments of all processes.
//!
//! # Files
//! | name | what it is |
//! |---|---|
//! | `spool-<number>.log` | a segment: lines of a checksum, a blank, a record as JSON, and a line feed |
//! | `position.json` | how far each segment is acknowledged, and the highest number that a removed segment had |
//! | `reader.lock` | empty; its lock is the reader's |
//! | `refused.jsonl` | events that the repository refused for good ([`refused`]) |
//!
//! All of them are for their owner alone, because records have the ids of patients as they are, and queries.
//!
//! # Why so
//! A process writes segments of its own, whose lock it holds, and begins another once one has its size. It never appends to a segment
//! after a failure, and never to one that it finds: so an offset, once acknowledged, means the same for ever, though the file may be cut
//! below it. A segment is removed once it is acknowledged to its end and its lock is free, under that lock: the process that wrote it has
//! gone on or ended, and what remains without a line feed at its end was never acknowledged to anybody. The number of a removed segment
//! is not used again, because `position.json`, which is written first, remembers it: else an old offset would hide new records.
//!
//! Not supported: folders shared by machines (locks are those of one kernel), and readers of other programs.

pub(crate) mod line;
pub(crate) mod position;
pub(crate) mod reader;
pub(crate) mod refused;
pub(crate) mod segment;
pub(crate) mod shared;
#[cfg(test)]
mod tests;
pub(crate) mod writer;
