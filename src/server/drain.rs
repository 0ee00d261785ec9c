//! Draining: connections that were accepted get their answers when the process is on its way out.
//!
//! Pingora closes connections without a request at the moment in which it stops accepting, so that a request on its way at
//! that moment is lost. Here they are read for a little longer. HTTP/2 connections get a GOAWAY earlier, as soon as the process
//! is no longer ready, so that their callers open new ones elsewhere.
//!
//! Decisions: `docs/decisions/20-http2.md`, `docs/decisions/24-start-and-stop.md` and `docs/decisions/60-hot-path.md`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::watch;

use crate::config::Listener;
use crate::gateway::Gateway;
use crate::gateway::backlog::AnswerMemory;
use crate::gateway::connections::Connections;
use crate::gateway::guard::Guard;
use crate::gateway::http2;
use crate::gateway::http2_connection::Connection;
use crate::server::before_tls::place;
use crate::server::client_stream::ClientStream;
use crate::site::lifecycle::Lifecycle;
use crate::site::runtime::Runtime;

/// How long the connection that was accepted last may take to send its request.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// For how long a connection is kept where nobody says it, in seconds, as Pingora has it. The guard says it.
const PINGORAS_KEEPALIVE: u64 = 60;

/// The proxy, which goes on reading requests for a moment after the last connection was accepted.
pub(super) struct Draining {
    proxy: Arc<HttpProxy<Gateway>>,
    /// The listeners that accept HTTP/2 without TLS.
    h2c: Vec<SocketAddr>,
    runtime: Arc<ArcSwap<Runtime>>,
    lifecycle: Arc<Lifecycle>,
    memory: Arc<AnswerMemory>,
    connections: Arc<Connections>,
    /// Whether connections without a request end.
    is_over: watch::Sender<bool>,
}

impl Draining {
    /// Wraps the proxy of these listeners.
    #[must_use]
    pub(super) fn new(
        proxy: HttpProxy<Gateway>,
        listen: &[Listener],
        runtime: Arc<ArcSwap<Runtime>>,
        lifecycle: Arc<Lifecycle>,
        memory: Arc<AnswerMemory>,
        connections: Arc<Connections>,
    ) -> Self {
        let h2c = listen.iter().filter(|listener| listener.tls.is_none() && listener.h2c);
        Self {
            proxy: Arc::new(proxy),
            h2c: h2c.map(|listener| listener.address).collect(),
            runtime,
            lifecycle,
            memory,
            connections,
            is_over: watch::Sender::new(false),
        }
    }

    /// Serves an HTTP/1 connection to its end, as Pingora does; but it waits for each request before it lets Pingora make ready for
    /// one, which is most of what an idle connection would keep in memory.
    async fn serve(&self, mut stream: Stream, shutdown: &ShutdownWatch) {
        let mut is_over = self.is_over.subscribe();
        let mut settings = None;
        loop {
            tokio::select! {
                // What has come is answered.
                biased;
                _ = stream.try_peek(&mut []) => {}
                _ = is_over.wait_for(|is_over| *is_over) => return,
            }
            let mut session = ServerSession::new_http1(stream);
            match settings {
                Some(settings) => HttpPersistentSettings::apply_to_session(settings, &mut session),
                None => {
                    session.set_keepalive((!*shutdown.borrow()).then_some(PINGORAS_KEEPALIVE));
                    let limit = self.proxy.server_options().and_then(|options| options.keepalive_request_limit);
                    session.set_keepalive_reuses_remaining(limit);
                }
            }
            let Some(next) = self.proxy.process_new_http(session, shutdown).await else { return };
            (stream, settings) = next.consume();
        }
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
        let mut limits = self.runtime.load().config.limits;
        limits.keepalive_timeout = self.connections.keepalive(limits.keepalive_timeout);
        // A TLS connection has had its place since before the handshake.
        let place = match stream.get_ssl_digest() {
            Some(_) => None,
            None => Some(place(&self.connections, &self.runtime, stream.get_socket_digest().as_deref())?),
        };
        let gate = self.runtime.load().trail.gate();
        let mut stream: Stream = Box::new(ClientStream::new(stream, place, &limits, &self.memory, &self.lifecycle, gate));
        if !http2::is_chosen(&mut stream, h2c, limits.head_timeout).await? {
            let guard = Guard::new(stream, Arc::clone(&self.runtime), Arc::clone(&self.connections));
            self.serve(Box::new(guard), shutdown).await;
            return None;
        }
        let connection = Connection::new(Arc::clone(&self.proxy), limits, h2c);
        // A connection that is opened while draining is served until no more are accepted: its caller found no other process.
        let ending = if self.lifecycle.is_draining() { shutdown.clone() } else { self.lifecycle.draining() };
        let _open = self.lifecycle.connection();
        Arc::new(connection).serve(stream, ending).await;
        None
    }

    async fn cleanup(&self) {
        tokio::time::sleep(LAST_REQUEST).await;
        self.is_over.send_replace(true);
        self.proxy.cleanup().await;
        self.lifecycle.close();
    }
}
