//! The end of the process: connections that were accepted get their answers, then it exits.
//!
//! Pingora closes connections without a request in the moment in which it stops accepting, and then waits for a fixed
//! time. A caller whose request is on its way in that moment would lose it, and a process without requests would stay.
//! HTTP/2 connections are told sooner, when the process is no longer ready: their callers open new ones elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use log::{info, warn};
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Listener;
use crate::gateway::Gateway;
use crate::gateway::http2;
use crate::gateway::http2_connection::Connection;
use crate::observe::log_writer;
use crate::site::lifecycle::Lifecycle;
use crate::site::runtime::Runtime;

/// How long a connection that was accepted last may take to send its request.
const LAST_REQUESTS_WITHIN: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long HTTP/2 connections whose requests have been answered may take to end.
const LAST_FRAMES: Duration = Duration::from_secs(2);
/// What is written to a socket goes out, before the process and with it the socket is gone.
const LAST_BYTES: Duration = Duration::from_millis(50);

/// The proxy, which goes on reading requests for a moment after the last connection was accepted.
pub struct Draining {
    proxy: Arc<HttpProxy<Gateway>>,
    /// Where HTTP/2 is spoken without TLS.
    h2c: Vec<SocketAddr>,
    runtime: Arc<ArcSwap<Runtime>>,
    lifecycle: Arc<Lifecycle>,
}

impl Draining {
    /// Wraps the proxy.
    #[must_use]
    pub fn new(
        proxy: HttpProxy<Gateway>,
        listen: &[Listener],
        runtime: Arc<ArcSwap<Runtime>>,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        let h2c = listen.iter().filter(|listener| listener.tls.is_none() && listener.h2c);
        Self { proxy: Arc::new(proxy), h2c: h2c.map(|listener| listener.address).collect(), runtime, lifecycle }
    }

    fn speaks_h2c(&self, stream: &Stream) -> bool {
        if self.h2c.is_empty() || stream.get_ssl_digest().is_some() {
            return false;
        }
        let digest = stream.get_socket_digest();
        let local = digest.as_ref().and_then(|digest| digest.local_addr()).and_then(|address| address.as_inet());
        local.is_some_and(|local| {
            self.h2c.iter().any(|listens| {
                let is_this = listens.ip().is_unspecified() || listens.ip().to_canonical() == local.ip().to_canonical();
                is_this && listens.port() == local.port()
            })
        })
    }
}

#[async_trait]
impl ServerApp for Draining {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let h2c = self.speaks_h2c(&stream);
        if !http2::may_be(&stream, h2c) {
            return self.proxy.process_new(stream, shutdown).await;
        }
        let connection = Connection::new(Arc::clone(&self.proxy), self.runtime.load().settings.limits, h2c);
        // One that is opened on the way out is served until nothing is accepted any more: its caller has no other yet.
        let ending = if self.lifecycle.is_draining() { shutdown.clone() } else { self.lifecycle.draining() };
        let _open = self.lifecycle.connection();
        Arc::new(connection).serve(stream, ending).await;
        None
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
        // In HTTP/2 an answer that is written is not yet sent: its connection sends it as fast as the caller takes it.
        let until = Instant::now() + LAST_FRAMES;
        while self.0.connections() > 0 && Instant::now() < until && !is_over() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
