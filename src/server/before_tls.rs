//! What is checked of a TLS connection before its handshake: whether there is a place for it.
//!
//! Pingora forgets a connection whose handshake fails, so that its place is tied to the connection itself.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::http::ResponseHeader;
use pingora::listeners::PreTlsProcess;
use pingora::protocols::l4::stream::Stream as Socket;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{GetProxyDigest, GetSocketDigest, SocketDigest};
use pingora::{Error, ErrorType};

use crate::gateway::connections::{Connections, Place};
use crate::http::forwarded::trusted_proxy::proxy;
use crate::site::runtime::Runtime;

/// Takes a place for each connection before its TLS handshake.
#[derive(Debug)]
pub(super) struct BeforeTls {
    runtime: Arc<ArcSwap<Runtime>>,
    connections: Arc<Connections>,
}

impl BeforeTls {
    /// Takes places among these connections.
    #[must_use]
    pub(super) fn new(runtime: Arc<ArcSwap<Runtime>>, connections: Arc<Connections>) -> Self {
        Self { runtime, connections }
    }
}

#[async_trait]
impl PreTlsProcess for BeforeTls {
    async fn process(&self, socket: &mut Socket) -> pingora::Result<()> {
        let place = place(&self.connections, &self.runtime, socket.get_socket_digest().as_deref());
        let Some(place) = place else { return Error::e_explain(ErrorType::ConnectRefused, "too many connections") };
        // The one thing of ours that a socket carries to its end.
        let head = ResponseHeader::build(200, Some(0))?;
        socket.set_proxy_digest(ProxyDigest::new(Box::new(head), Some(Box::new(place))));
        Ok(())
    }
}

/// Takes a place for the connection of this socket; `None` when there is none.
pub(super) fn place(connections: &Arc<Connections>, runtime: &ArcSwap<Runtime>, socket: Option<&SocketDigest>) -> Option<Place> {
    let peer: IpAddr = socket?.peer_addr()?.as_inet()?.ip().to_canonical();
    let is_proxy = proxy(peer, &runtime.load().config.trusted_proxies).is_some();
    connections.take(peer, is_proxy)
}
