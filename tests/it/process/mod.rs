//! The process: idle connections, logs, readiness, reload, shutdown, upgrade.

mod core_dumps;
mod log_documents;
mod log_files;
mod log_journal;
mod log_lines;
pub mod log_reader;
mod logs;
mod memory;
mod readiness;
mod reload;
mod shutdown;
mod started;
#[cfg(feature = "otlp")]
mod traces;
mod tracing;
mod upgrade;
mod upgrade_neighbours;
mod upgrade_safety;
