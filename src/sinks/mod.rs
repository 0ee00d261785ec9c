//! What leaves the process besides answers: the audit trail, on the disk and to a repository, and traces.
//!
//! | module | what it is |
//! |---|---|
//! | `opened` | the sinks of a configuration, opened; their end |
//! | `writer` | the thread that writes records |
//! | `syncing` | the thread that forces them to the disk |
//! | `repository` | the service that posts the spool to a FHIR repository |
//! | `delivery`, `batch_answer` | which events go next, and what an answer changes; no sockets, no clock |
//! | `posting_log` | what the log is told of posting |
//! | `trace_export` | the service that sends spans to a collector |
//! | `collector` | one request to it, and what its answer means |
//! | `export_log` | what the log is told of that |
//! | `watch` | the thread that notices when the writer is stuck, and tells of lost records |

mod batch_answer;
#[cfg(feature = "otlp")]
mod collector;
mod delivery;
#[cfg(feature = "otlp")]
mod export_log;
pub(crate) mod opened;
mod posting_log;
pub(crate) mod repository;
mod syncing;
#[cfg(feature = "otlp")]
pub(crate) mod trace_export;
mod watch;
mod writer;
