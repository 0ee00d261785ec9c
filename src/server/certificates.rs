//! The certificates of listeners, which change while the listeners stand.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::ALPN;
use pingora::server::configuration::ServerConf;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The certificate of one listener: a handshake takes the current one.
pub struct ListenerCertificate(ArcSwap<CertifiedKey>);

impl ListenerCertificate {
    /// Begins with this one.
    #[must_use]
    pub fn new(certified_key: Arc<CertifiedKey>) -> Self {
        Self(ArcSwap::new(certified_key))
    }

    /// From the next handshake on.
    pub fn replace(&self, certified_key: Arc<CertifiedKey>) {
        self.0.store(certified_key);
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

/// The TLS settings of a listener with this certificate; with `http2`, a caller may choose HTTP/2 in the handshake (ALPN).
///
/// # Errors
/// None in practice: no file is read.
pub fn tls_settings(certificate: Arc<ListenerCertificate>, http2: bool, server: &ServerConf) -> pingora::Result<TlsSettings> {
    // The files named here are not read: the resolver takes their place.
    let mut settings = TlsSettings::intermediate("", "")?;
    settings.set_cert_resolver(certificate);
    settings.set_alpn(if http2 { ALPN::H2H1 } else { ALPN::H1 });
    settings.set_offload_threadpool_from_server_conf(server);
    Ok(settings)
}
