//! The service that opens the log's file again on SIGUSR1, which is sent after the file was renamed, by logrotate for one.

use async_trait::async_trait;
use log::{debug, error};
use pingora::server::ShutdownWatch;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::signal::unix::{SignalKind, signal};

use crate::observe::reopen_log;
use crate::server::process::Process;

/// Receives SIGUSR1, which would end the process otherwise, wherever the log goes.
#[must_use]
pub(super) fn service(_process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(background_service("log", LogSignal))
}

struct LogSignal;

#[async_trait]
impl BackgroundService for LogSignal {
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let signals = signal(SignalKind::user_defined1());
        ready.notify_ready();
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(problem) => {
                error!("SIGUSR1 cannot be received: {problem}");
                return;
            }
        };
        // Up to the end of the process: the requests that are under way at a stop are logged, too.
        while signals.recv().await.is_some() {
            if reopen_log() {
                debug!("SIGUSR1: the log's file is opened again");
            } else {
                debug!("SIGUSR1: the log goes to no file, and nothing is opened again");
            }
        }
    }
}
