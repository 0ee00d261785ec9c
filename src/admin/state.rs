//! What the admin listener shows and moves.

use std::fmt::Debug;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::exports::jobs::Exports;
use crate::site::lifecycle::Lifecycle;
use crate::site::runtime::Runtime;

/// What only the process around the admin listener can do, and knows.
pub(crate) trait Process: Debug + Send + Sync {
    /// Begins to end the process: `/ready` answers 503, and requests are finished. False when the system refuses.
    fn drain(&self) -> bool;

    /// Reads the configuration again; the log says how that went. False when the system refuses, or there is no file to read.
    fn reload(&self) -> bool;

    /// The connections of clients.
    fn connections(&self) -> ClientConnections;
}

/// The connections of clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientConnections {
    /// How many are open.
    pub(crate) open: u32,
    /// How many may be.
    pub(crate) most: u32,
    /// How many were refused since the start.
    pub(crate) refused: u64,
}

/// What the admin listener shows and moves.
#[derive(Debug)]
pub(crate) struct State {
    /// What requests run on.
    pub(crate) runtime: Arc<ArcSwap<Runtime>>,
    /// Whether the process is about to end.
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// The bulk exports of all sites.
    pub(crate) exports: Arc<Exports>,
    /// When the process started, in seconds since 1970.
    pub(crate) started: f64,
    /// The process.
    pub(crate) process: Box<dyn Process>,
}
