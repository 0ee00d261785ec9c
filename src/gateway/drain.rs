//! The end of the process: connections that were accepted get their answers, then it exits.
//!
//! Pingora closes connections without a request in the moment in which it stops accepting, and then waits for a fixed
//! time. A caller whose request is on its way in that moment would lose it, and a process without requests would stay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::{info, warn};
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};

use crate::gateway::Gateway;
use crate::gateway::lifecycle::Lifecycle;
use crate::observe::log_writer;

/// How long a connection that was accepted last may take to send its request.
const LAST_REQUESTS_WITHIN: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What is written to a socket goes out, before the process and with it the socket is gone.
const LAST_BYTES: Duration = Duration::from_millis(50);

/// The proxy, which goes on reading requests for a moment after the last connection was accepted.
pub struct Draining {
    proxy: Arc<HttpProxy<Gateway>>,
    lifecycle: Arc<Lifecycle>,
}

impl Draining {
    /// Wraps the proxy.
    #[must_use]
    pub fn new(proxy: HttpProxy<Gateway>, lifecycle: Arc<Lifecycle>) -> Self {
        Self { proxy: Arc::new(proxy), lifecycle }
    }
}

#[async_trait]
impl ServerApp for Draining {
    async fn process_new(self: &Arc<Self>, session: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        self.proxy.process_new(session, shutdown).await
    }

    async fn cleanup(&self) {
        tokio::time::sleep(LAST_REQUESTS_WITHIN).await;
        self.proxy.cleanup().await;
        self.lifecycle.close();
    }
}

/// Ends the process once its requests have ended, or when their time is up.
pub struct Ending(pub Arc<Lifecycle>);

#[async_trait]
impl BackgroundService for Ending {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.changed().await.is_err() {
            return;
        }
        let interrupted = async {
            match signal(SignalKind::interrupt()) {
                Ok(mut interrupt) => drop(interrupt.recv().await),
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.requests_have_ended() => {}
            () = interrupted => {}
        }
        match self.0.in_flight() {
            0 => info!("every request has been answered: the end"),
            left => warn!("{left} requests are cut off: their time is up"),
        }
        tokio::time::sleep(LAST_BYTES).await;
        end();
    }
}

/// Ends the process well, and now.
pub fn end() -> ! {
    log_writer::flush();
    std::process::exit(0)
}

impl Ending {
    async fn requests_have_ended(&self) {
        let is_over = || self.0.ends_by().is_some_and(|end| Instant::now() + LAST_BYTES >= end);
        let are_answered = || self.0.is_closed() && self.0.in_flight() == 0;
        while !are_answered() && !is_over() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
