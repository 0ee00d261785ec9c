//! The admin listener: metrics for Prometheus, the state of the gateway with a page that shows it, and a few commands for its
//! operator.
//!
//! It has an address of its own, so that nothing of it is reached where clients call. It answers one request a connection, and few
//! at once: it must neither be slowed by clients nor slow them.
//!
//! Decisions: `docs/decisions/49-admin-listener.md`, `docs/decisions/50-status-page.md`.

mod certificates;
mod events;
mod gauges;
mod health;
mod page;
mod permission;
mod problems;
mod process_figures;
mod route;
mod serve;
mod snapshot;
mod state;
pub(crate) mod status;
mod watch;

pub(crate) use serve::Server;
pub(crate) use state::{ClientConnections, Process, State};
