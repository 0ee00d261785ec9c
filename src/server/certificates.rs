//! The certificates of the listeners, which a reload can replace while the listeners stay open.
//!
//! Decision: `docs/decisions/23-reload.md`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::ALPN;
use pingora::server::configuration::ServerConf;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::Listener;

/// The certificates of all listeners that speak TLS, by address.
#[derive(Debug, Clone)]
pub(super) struct ListenerCertificates(Vec<(SocketAddr, Arc<ListenerCertificate>)>);

/// The certificate of one listener: each handshake takes the current one.
struct ListenerCertificate(ArcSwap<CertifiedKey>);

impl ListenerCertificates {
    /// The certificates of configured listeners.
    #[must_use]
    pub(super) fn of(listen: &[Listener]) -> Self {
        let with_tls = listen.iter().filter_map(|listener| Some((listener.address, listener.tls.as_ref()?)));
        let certificate = |key| Arc::new(ListenerCertificate(ArcSwap::new(Arc::clone(key))));
        Self(with_tls.map(|(address, tls)| (address, certificate(&tls.certified_key))).collect())
    }

    /// Uses the certificates of these listeners from the next handshake on.
    pub(super) fn replace(&self, listen: &[Listener]) {
        for (address, certificate) in &self.0 {
            let listener = listen.iter().find(|listener| listener.address == *address);
            if let Some(tls) = listener.and_then(|listener| listener.tls.as_ref()) {
                certificate.0.store(Arc::clone(&tls.certified_key));
            }
        }
    }

    /// The TLS settings of a listener; `None` when it speaks no TLS. With `http2`, a client may choose HTTP/2 in the handshake
    /// (ALPN).
    #[must_use]
    pub(super) fn tls_settings(&self, listener: &Listener, server: &ServerConf) -> Option<TlsSettings> {
        let (_, certificate) = self.0.iter().find(|(address, _)| *address == listener.address)?;
        // The files named here are not read, because the resolver takes their place.
        let mut settings = TlsSettings::intermediate("", "").expect("nothing is read or checked before a listener is built");
        settings.set_cert_resolver(Arc::<ListenerCertificate>::clone(certificate));
        settings.set_alpn(if listener.http2 { ALPN::H2H1 } else { ALPN::H1 });
        settings.set_offload_threadpool_from_server_conf(server);
        Some(settings)
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
