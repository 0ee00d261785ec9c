//! The service that reports that the gateway listens: to the log, to systemd, and to the caller of `server::run`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::info;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceWithDependents;
use pingora::services::background::{BackgroundService, background_service};
use sd_notify::NotifyState;

use crate::config::Config;
use crate::server::process::{OnReady, Process};

const RETRY: Duration = Duration::from_millis(10);

/// Reports once that the listeners are open.
#[must_use]
pub fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    let announcement = Announcement { config: Arc::clone(&process.config), on_ready: Arc::clone(&process.on_ready) };
    Box::new(background_service("start", announcement))
}

struct Announcement {
    config: Arc<Config>,
    on_ready: OnReady,
}

#[async_trait]
impl BackgroundService for Announcement {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let listen = &self.config.listen;
        // All listeners open together. A TLS one is not tried, because it would log a failed handshake.
        if let Some(plain) = listen.iter().find(|listener| listener.tls.is_none()) {
            tokio::select! {
                () = accepts_connections(plain.address) => {}
                _ = shutdown.changed() => return,
            }
        }
        for listener in listen {
            let scheme = if listener.tls.is_some() { "https" } else { "http" };
            info!("listening on {scheme}://{}", listener.address);
        }
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
        let on_ready = self.on_ready.lock().take();
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }
}

/// Waits until connections to this address are accepted.
async fn accepts_connections(mut address: SocketAddr) {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        address.set_ip(loopback.parse().expect("both are addresses"));
    }
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(RETRY).await;
    }
}
