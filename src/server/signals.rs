//! What ends the process: SIGINT (Ctrl-C) at once, SIGTERM after its requests, SIGQUIT once another process has taken over.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{error, info};
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::server::drain;
use crate::server::upgrade;
use crate::site::lifecycle::Lifecycle;

/// How long a successor may take from SIGQUIT until it takes the listeners. It first gets its tokens.
const SUCCESSOR_WITHIN: Duration = Duration::from_secs(60);

/// How the process is to end.
#[derive(Debug, Clone)]
pub struct Endings {
    /// How long `GET /ready` says no before connections are refused.
    pub drain_delay: Duration,
    /// From SIGTERM to the end.
    pub grace: Duration,
    /// From the hand-over to the end: there is no hurry, others serve already.
    pub grace_after_upgrade: Duration,
    /// Over which the listeners are handed over.
    pub upgrade_sock: PathBuf,
}

/// Waits for the signal that ends the process.
pub struct Signals {
    lifecycle: Arc<Lifecycle>,
    endings: Endings,
}

impl Signals {
    /// Will drain `lifecycle` before Pingora hears of the end.
    #[must_use]
    pub fn new(lifecycle: Arc<Lifecycle>, endings: Endings) -> Self {
        Self { lifecycle, endings }
    }

    async fn terminate(&self, interrupt: &mut Signal) -> ShutdownSignal {
        self.lifecycle.drain(self.endings.grace);
        // At least half of the time belongs to the requests.
        let delay = self.endings.drain_delay.min(self.endings.grace / 2);
        info!("SIGTERM: not ready any more; connections are refused in {} s", delay.as_secs_f64());
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        tokio::select! {
            () = tokio::time::sleep(delay) => ShutdownSignal::GracefulTerminate,
            _ = interrupt.recv() => drain::end(),
        }
    }

    /// `None` when nobody came to take over: then this process goes on.
    async fn hand_over(&self) -> Option<ShutdownSignal> {
        info!("SIGQUIT: waiting for a process that takes over");
        let path = &self.endings.upgrade_sock;
        match upgrade::successor(path, SUCCESSOR_WITHIN).await {
            Ok(()) => {
                info!("handing over the listeners");
                self.lifecycle.drain(self.endings.grace_after_upgrade);
                Some(ShutdownSignal::GracefulUpgrade)
            }
            Err(problem) => {
                error!("SIGQUIT: {problem}: this process goes on. Start the new one with  serve --upgrade");
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
                error!("signals cannot be heard ({problem}); they end the process at once");
                return std::future::pending().await;
            }
        };
        loop {
            tokio::select! {
                // Not by Pingora's way: its accept loops can outlive their reactors, and then never end.
                _ = interrupt.recv() => drain::end(),
                _ = terminate.recv() => return self.terminate(&mut interrupt).await,
                _ = quit.recv() => {
                    // Whoever waits for a successor can still be stopped.
                    tokio::select! {
                        ending = self.hand_over() => if let Some(ending) = ending {
                            return ending;
                        },
                        _ = interrupt.recv() => drain::end(),
                        _ = terminate.recv() => return self.terminate(&mut interrupt).await,
                    }
                }
            }
        }
    }
}
