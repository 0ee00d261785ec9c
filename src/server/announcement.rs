//! The service that reports that the gateway listens: to the log, to systemd, and to the caller of `server::run`.

use std::sync::Arc;

use async_trait::async_trait;
use log::info;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use sd_notify::NotifyState;

use crate::config::Config;
use crate::server::listeners::{Listeners, Stage};
use crate::server::options::RunOptions;
use crate::server::process::{OnReady, Process};
use crate::server::upgrade::take_over::KeptPredecessor;
use crate::server::{ending, start_line};

/// Reports once that connections are accepted.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(Announcement {
        config: Arc::clone(&process.config),
        options: process.options.clone(),
        listeners: Arc::clone(&process.listeners),
        predecessor: Arc::clone(&process.predecessor),
        on_ready: Arc::clone(&process.on_ready),
    })
}

struct Announcement {
    config: Arc<Config>,
    options: RunOptions,
    listeners: Arc<Listeners>,
    predecessor: Arc<KeptPredecessor>,
    on_ready: OnReady,
}

impl Announcement {
    /// Waits until this process accepts connections, and tells the one that it replaces, if any.
    async fn takes_over(&self) {
        self.listeners.wait_for(Stage::Accepting).await;
        let predecessor = self.predecessor.lock().take();
        if let Some(predecessor) = predecessor
            && let Err(problem) = predecessor.release().await
        {
            ending::fail(format_args!("the running gateway continues: {problem}"));
        }
        self.listeners.reached(Stage::Alone);
    }
}

#[async_trait]
impl ServiceWithDependents for Announcement {
    async fn start_service(
        &mut self,
        _sockets: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        ready.notify_ready();
        tokio::select! {
            () = self.takes_over() => {}
            _ = shutdown.changed() => return,
        }
        start_line::log(&self.config, &self.options);
        for listener in &self.config.listen {
            info!("listening on {}", start_line::url(listener));
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
