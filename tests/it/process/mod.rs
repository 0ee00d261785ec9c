//! The process: idle connections, logs, readiness, reload, shutdown, upgrade.

mod log_reader;
mod idle_connections;
mod logs;
mod readiness;
mod reload;
mod shutdown;
mod tracing;
mod upgrade;
