//! The certificates of the listeners, which a reload can replace while the listeners stay open.
//!
//! Decision: `docs/decisions/23-reload.md`.

use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::ALPN;
use pingora::protocols::tls::TlsRef;
use pingora::server::configuration::ServerConf;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::callers::client_certificates::{CertificateCheck, PeerCertificate};
use crate::config::{Listener, ListenerTls};

/// The certificates of all listeners that speak TLS, and the check of their clients' certificates.
#[derive(Debug, Clone)]
pub(super) struct ListenerCertificates(Vec<OfListener>);

#[derive(Debug, Clone)]
struct OfListener {
    address: SocketAddr,
    own: Arc<ListenerCertificate>,
    clients: Arc<CertificateCheck>,
}

/// The certificate of one listener: each handshake takes the current one.
struct ListenerCertificate(ArcSwap<CertifiedKey>);

impl ListenerCertificates {
    /// The certificates of configured listeners.
    #[must_use]
    pub(super) fn of(listen: &[Listener]) -> Self {
        let with_tls = listen.iter().filter_map(|listener| Some((listener.address, listener.tls.as_ref()?)));
        let of_listener = |(address, tls): (SocketAddr, &ListenerTls)| OfListener {
            address,
            own: Arc::new(ListenerCertificate(ArcSwap::new(Arc::clone(&tls.certified_key)))),
            clients: Arc::new(CertificateCheck::new(tls.clients.clone())),
        };
        Self(with_tls.map(of_listener).collect())
    }

    /// Uses the certificates of these listeners from the next handshake on, and their rules for clients' certificates from the next
    /// request on.
    pub(super) fn replace(&self, listen: &[Listener]) {
        for OfListener { address, own, clients } in &self.0 {
            let listener = listen.iter().find(|listener| listener.address == *address);
            if let Some(tls) = listener.and_then(|listener| listener.tls.as_ref()) {
                own.0.store(Arc::clone(&tls.certified_key));
                clients.replace(tls.clients.clone());
            }
        }
    }

    /// The TLS settings of a listener; `None` when it speaks no TLS. With `http2`, a client may choose HTTP/2 in the handshake
    /// (ALPN).
    #[must_use]
    pub(super) fn tls_settings(&self, listener: &Listener, server: &ServerConf) -> Option<TlsSettings> {
        let OfListener { own, clients, .. } = self.0.iter().find(|known| known.address == listener.address)?;
        let keeper = Box::new(PeerCertificates(Arc::clone(clients)));
        let mut settings = TlsSettings::with_callbacks(keeper).expect("nothing is read or checked before a listener is built");
        settings.set_cert_resolver(Arc::<ListenerCertificate>::clone(own));
        settings.set_client_cert_verifier(Arc::<CertificateCheck>::clone(clients));
        settings.set_alpn(if listener.http2 { ALPN::H2H1 } else { ALPN::H1 });
        settings.set_offload_threadpool_from_server_conf(server);
        Some(settings)
    }
}

/// Keeps what a client has shown in its handshake with its connection.
struct PeerCertificates(Arc<CertificateCheck>);

#[async_trait]
impl TlsAccept for PeerCertificates {
    async fn handshake_complete_callback(&self, tls: &TlsRef) -> Option<Arc<dyn Any + Send + Sync>> {
        let chain = tls.peer_cert_chain_der().unwrap_or_default();
        Some(Arc::new(PeerCertificate::new(Arc::clone(&self.0), chain)))
    }
}

impl fmt::Debug for ListenerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListenerCertificate")
    }
}

impl ResolvesServerCert for ListenerCertificate {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
