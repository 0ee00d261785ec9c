//! The service that opens the listeners, once the start gate is open: those that were bound at the start, or, in an upgrade, those
//! that the running process hands over.
//!
//! Decisions: `docs/decisions/24-start-and-stop.md` and `docs/decisions/31-upgrade.md`.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};

use crate::config::Config;
use crate::server::ending;
use crate::server::listeners::Listeners;
use crate::server::process::Process;
use crate::server::start_error::StartError;
use crate::server::upgrade::socket::UpgradeSocket;
use crate::server::upgrade::take_over::{self, KeptPredecessor};

/// Is ready when every listener is open; ends the process when one cannot be opened.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    let upgrade = process.options.upgrade.then(|| process.upgrade_socket.clone()).flatten();
    Box::new(Opening {
        config: Arc::clone(&process.config),
        listeners: Arc::clone(&process.listeners),
        upgrade,
        predecessor: Arc::clone(&process.predecessor),
    })
}

struct Opening {
    config: Arc<Config>,
    listeners: Arc<Listeners>,
    /// Where the running process is asked, in an upgrade.
    upgrade: Option<UpgradeSocket>,
    predecessor: Arc<KeptPredecessor>,
}

impl Opening {
    async fn open(&self, table: &ListenFds) -> Result<(), StartError> {
        let Some(socket) = &self.upgrade else { return self.listeners.open(table) };
        let configured: Vec<SocketAddr> = self.config.listen.iter().map(|listener| listener.address).collect();
        let (predecessor, handed_over) = take_over::take(socket, &configured).await?;
        let missing = configured.iter().filter(|address| !handed_over.iter().any(|(known, _)| known == *address));
        // All that can fail comes first: the predecessor serves on if this process ends.
        let bound = missing.map(|address| Listeners::listen(*address)).collect::<Result<Vec<_>, _>>()?;
        for (address, listener) in handed_over.into_iter().chain(bound) {
            self.listeners.add(table, address, listener)?;
        }
        *self.predecessor.lock() = Some(predecessor);
        Ok(())
    }
}

#[async_trait]
impl ServiceWithDependents for Opening {
    async fn start_service(
        &mut self,
        sockets: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let table = sockets.expect("on Unix, Pingora gives its table of sockets to every service");
        if let Err(problem) = self.open(&table).await {
            ending::fail(problem);
        }
        ready.notify_ready();
    }

    fn name(&self) -> &str {
        "listeners"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
