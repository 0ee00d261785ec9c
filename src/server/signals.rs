//! The signals that end the process: SIGINT (Ctrl-C) at once, SIGTERM after its requests, SIGQUIT once another process has taken
//! the listeners over.
//!
//! Decision: `docs/decisions/24-start-and-stop.md`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info};
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::observe::stop_waiting_for_log;
use crate::server::ending;
use crate::server::shutdown_times::ShutdownTimes;
use crate::server::upgrade::order::HandOver;
use crate::site::lifecycle::Lifecycle;

/// How long this process goes on accepting when a new one has taken over: clients that keep a connection are told to close it.
const BOTH_ACCEPT: Duration = Duration::from_secs(5);

/// Waits for the signal that ends the process.
pub(super) struct Signals {
    lifecycle: Arc<Lifecycle>,
    times: ShutdownTimes,
    hand_over: HandOver,
}

impl Signals {
    /// Drains `lifecycle` before Pingora shuts down.
    #[must_use]
    pub(super) fn new(lifecycle: Arc<Lifecycle>, times: ShutdownTimes, hand_over: HandOver) -> Self {
        Self { lifecycle, times, hand_over }
    }

    async fn terminate(&self, interrupt: &mut Signal) -> ShutdownSignal {
        // This task must not wait for whoever reads the log.
        stop_waiting_for_log();
        self.lifecycle.drain(self.times.grace);
        // The requests get at least half of the time.
        let delay = self.times.drain_delay.min(self.times.grace / 2);
        info!("SIGTERM: not ready any more; connections are refused in {} s", delay.as_secs_f64());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tokio::select! {
            () = tokio::time::sleep(delay) => ShutdownSignal::GracefulTerminate,
            _ = interrupt.recv() => ending::exit(),
        }
    }

    /// Hands the listeners over; `None` when no process takes them, and this one goes on.
    async fn hand_over(&self) -> Option<ShutdownSignal> {
        info!("SIGQUIT: waiting for a process that takes over");
        match self.hand_over.order().await {
            Ok(()) => {
                info!("the new process accepts connections: this one ends with its last request");
                self.lifecycle.drain(self.times.grace_after_upgrade);
                tokio::time::sleep(BOTH_ACCEPT).await;
                // Pingora's own way to hand over is not used.
                Some(ShutdownSignal::GracefulTerminate)
            }
            Err(problem) => {
                error!("SIGQUIT: {problem}; this process goes on. Start the new one with  serve --upgrade");
                None
            }
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let signals = || -> io::Result<_> {
            Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::quit())?))
        };
        let (mut interrupt, mut terminate, mut quit) = match signals() {
            Ok(signals) => signals,
            Err(problem) => {
                error!("signals cannot be received ({problem}); they end the process at once");
                return std::future::pending().await;
            }
        };
        loop {
            tokio::select! {
                // Not through Pingora, whose accept loops can outlive their reactors and then never end.
                _ = interrupt.recv() => ending::exit(),
                _ = terminate.recv() => return self.terminate(&mut interrupt).await,
                _ = quit.recv() => {
                    // A process that waits for its successor can still be stopped.
                    tokio::select! {
                        ending = self.hand_over() => if let Some(ending) = ending {
                            return ending;
                        },
                        _ = interrupt.recv() => ending::exit(),
                        _ = terminate.recv() => return self.terminate(&mut interrupt).await,
                    }
                }
            }
        }
    }
}
