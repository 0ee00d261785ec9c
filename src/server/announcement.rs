//! The service that reports that the gateway listens: to the log, to systemd, and to the caller of `server::run`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::info;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use sd_notify::NotifyState;

use crate::config::Config;
use crate::server::process::{OnReady, Process};

const RETRY: Duration = Duration::from_millis(10);

/// Reports once that the listeners are open.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(Announcement { config: Arc::clone(&process.config), on_ready: Arc::clone(&process.on_ready) })
}

struct Announcement {
    config: Arc<Config>,
    on_ready: OnReady,
}

impl Announcement {
    /// Waits until Pingora's table of listening sockets has all of them. An attempt to connect would tell less: a TLS listener
    /// would log a failed handshake.
    async fn listeners_are_open(&self, sockets: &ListenFds) {
        let is_open = |address: String| sockets.lock().get(&address).is_some();
        while !self.config.listen.iter().all(|listener| is_open(listener.address.to_string())) {
            tokio::time::sleep(RETRY).await;
        }
    }
}

#[async_trait]
impl ServiceWithDependents for Announcement {
    async fn start_service(
        &mut self,
        sockets: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        ready.notify_ready();
        if let Some(sockets) = &sockets {
            tokio::select! {
                () = self.listeners_are_open(sockets) => {}
                _ = shutdown.changed() => return,
            }
        }
        for listener in &self.config.listen {
            let scheme = if listener.tls.is_some() { "https" } else { "http" };
            info!("listening on {scheme}://{}", listener.address);
        }
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
        let on_ready = self.on_ready.lock().take();
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }

    fn name(&self) -> &str {
        "start"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
