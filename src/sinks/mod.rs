//! The sinks of the audit trail: the thread that writes it, and what is posted to a repository.
//!
//! | module | what it is |
//! |---|---|
//! | `opened` | the sinks of a configuration, opened; their end |
//! | `writer` | the thread that writes records |
//! | `syncing` | the thread that forces them to the disk |
//! | `repository` | the service that posts the spool to a FHIR repository |
//! | `delivery`, `batch_answer` | which events go next, and what an answer changes; no sockets, no clock |
//! | `posting_log` | what the log is told of posting |
//! | `watch` | the thread that notices when the writer is stuck, and tells of lost records |

mod batch_answer;
mod delivery;
pub(crate) mod opened;
mod posting_log;
pub(crate) mod repository;
mod syncing;
mod watch;
mod writer;
