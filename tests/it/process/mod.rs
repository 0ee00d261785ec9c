//! The process: logs, readiness, reload, shutdown, upgrade.

mod log_reader;
mod logs;
mod readiness;
mod reload;
mod shutdown;
mod tracing;
mod upgrade;
