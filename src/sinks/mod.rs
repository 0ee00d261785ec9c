//! The sinks of the audit trail: the thread that writes it, and what is posted to a repository.
//!
//! | module | what it is |
//! |---|---|
//! | `opened` | the sinks of a configuration, opened; their end |
//! | `writer` | the thread that writes records |
//! | `syncing` | the thread that forces them to the disk |
//! | `watch` | the thread that notices when the writer is stuck, and tells of lost records |

pub(crate) mod opened;
mod syncing;
mod watch;
mod writer;
