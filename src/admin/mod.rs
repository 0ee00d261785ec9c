//! The admin listener: metrics for Prometheus, and the state of the gateway and a few commands for its operator.
//!
//! It has an address of its own, so that nothing of it is reached where clients call. It answers one request a connection, and few
//! at once: it must neither be slowed by clients nor slow them.
//!
//! Decision: `docs/decisions/49-admin-listener.md`.

mod certificates;
mod gauges;
mod health;
mod permission;
mod process_figures;
mod route;
mod serve;
mod state;

pub(crate) use serve::Server;
pub(crate) use state::{ClientConnections, Process, State};
