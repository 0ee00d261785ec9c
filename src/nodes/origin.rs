//! Where OpenEMR is: a base URL turned into peers that can be dialled.
//!
//! A peer is prepared once and cloned for each request. Names are resolved outside the request path, at
//! start and then every `connections.resolve_every`, because Pingora's own constructor blocks and panics.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use log::{info, warn};
use pingora::connectors::http::Connector;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use pingora::utils::tls::{WrappedX509, parse_x509};
use pingora::{Error, ErrorSource, ErrorType};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::config::BaseUrl;
use crate::nodes::Terms;

const RESOLVE_WITHIN: Duration = Duration::from_secs(5);

/// The group of the next origin; `gateway::upstream` numbers single connections from 2^32 up.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(1);

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver said no.
    #[error("{host} cannot be resolved: {source}")]
    Failed {
        /// The name.
        host: String,
        /// The resolver's word.
        source: std::io::Error,
    },
    /// The resolver did not answer.
    #[error("{0} was not resolved within 5 s")]
    TimedOut(String),
    /// An answer without an address.
    #[error("{0} has no address")]
    NoAddress(String),
}

/// Why no connection stands.
#[derive(Debug)]
pub struct NoConnection {
    /// The address that was tried last.
    pub address: String,
    /// What came of it.
    pub error: Box<Error>,
}

/// One origin server (RFC 9110 section 3.6) of one site: OpenEMR's FHIR API, or its token endpoint.
pub struct Origin {
    url: BaseUrl,
    template: HttpPeer,
    peers: ArcSwap<Vec<HttpPeer>>,
    preferred: AtomicUsize,
    /// The latest lookup failed.
    is_lost: AtomicBool,
}

impl Origin {
    /// Prepares an origin with a site's timeouts, pool and trust. Origins never share connections: Pingora's pool
    /// does not tell peers apart by the authorities that they trust, so that each has a group of its own.
    #[must_use]
    pub(super) fn new(url: &BaseUrl, terms: &Terms) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // The SNI is never empty: without one, Pingora's rustls side would verify nothing at all.
        let mut template = HttpPeer::new(nowhere, url.https, url.host.clone());
        template.group_key = NEXT_GROUP.fetch_add(1, Ordering::Relaxed);
        let options = &mut template.options;
        options.connection_timeout = Some(terms.timeouts.connect);
        options.total_connection_timeout = Some(terms.timeouts.total_connect);
        options.read_timeout = Some(terms.timeouts.read);
        options.write_timeout = Some(terms.timeouts.write);
        options.idle_timeout = Some(terms.connections.idle_timeout);
        options.alpn = ALPN::H1;
        options.verify_cert = true;
        options.verify_hostname = true;
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        if let Some(file) = &terms.ca_file {
            options.ca = Some(system_and(&file.certificates));
        }
        let origin = Self {
            url: url.clone(),
            template,
            peers: ArcSwap::default(),
            preferred: AtomicUsize::new(0),
            is_lost: AtomicBool::new(false),
        };
        if let Ok(address) = url.host.parse::<IpAddr>() {
            origin.set_addresses([SocketAddr::new(address, url.port)]);
        }
        origin
    }

    /// The URL that it was made from.
    #[must_use]
    pub fn url(&self) -> &BaseUrl {
        &self.url
    }

    /// Looks the name up again; an address needs no looking up. On failure the known addresses stay. The log hears of
    /// it when a name moves, cannot be looked up, or can be again.
    ///
    /// # Errors
    /// A resolver that refuses, is silent for five seconds, or knows no address.
    pub async fn resolve(&self) -> Result<(), ResolveError> {
        if self.url.host.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let result = self.look_up().await;
        let was_lost = self.is_lost.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_lost => warn!("{error}"),
            Ok(()) if was_lost => info!("{} is resolved again", self.url.host),
            Ok(()) | Err(_) => {}
        }
        result
    }

    async fn look_up(&self) -> Result<(), ResolveError> {
        let lookup = tokio::net::lookup_host((self.url.host.as_str(), self.url.port));
        let addresses = tokio::time::timeout(RESOLVE_WITHIN, lookup)
            .await
            .map_err(|_| ResolveError::TimedOut(self.url.host.clone()))?
            .map_err(|source| ResolveError::Failed { host: self.url.host.clone(), source })?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress(self.url.host.clone()));
        }
        if !self.has_exactly(&addresses) {
            if self.address_count() > 0 {
                info!("{} has moved to {addresses:?}", self.url.host);
            }
            self.set_addresses(addresses);
        }
        Ok(())
    }

    /// Whether nothing is new: a resolver that shuffles its answers does not move a name.
    fn has_exactly(&self, addresses: &[SocketAddr]) -> bool {
        let known = self.peers.load();
        known.len() == addresses.len()
            && addresses.iter().all(|address| known.iter().any(|peer| peer._address == (*address).into()))
    }

    fn set_addresses(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let peers = addresses.into_iter().map(|address| {
            let mut peer = self.template.clone();
            peer._address = address.into();
            peer
        });
        self.peers.store(Arc::new(peers.collect()));
    }

    /// How many addresses the name has; none before it was resolved.
    #[must_use]
    pub fn address_count(&self) -> usize {
        self.peers.load().len()
    }

    /// The peer to dial: the address that worked last. `None` when the name has never been resolved.
    #[must_use]
    pub fn peer(&self) -> Option<HttpPeer> {
        let peers = self.peers.load();
        let index = self.preferred.load(Ordering::Relaxed).checked_rem(peers.len())?;
        peers.get(index).cloned()
    }

    /// A connection outside the request path, to one of the addresses, each of which is tried once. `prepare` makes a peer what
    /// this connection needs.
    ///
    /// # Errors
    /// What came of the last address; `None` when there is none.
    pub async fn connect(
        &self,
        connector: &Connector,
        prepare: impl Fn(&mut HttpPeer) + Send,
    ) -> Result<HttpSession, Option<NoConnection>> {
        let mut failure = None;
        for _ in 0..self.address_count() {
            let Some(mut peer) = self.peer() else { break };
            prepare(&mut peer);
            match connector.get_http_session(&peer).await {
                Ok((session, _)) => return Ok(session),
                Err(error) => {
                    self.avoid(&peer);
                    failure = Some(NoConnection { address: peer._address.to_string(), error });
                }
            }
        }
        Err(failure)
    }

    /// Says that `failed` took no connection: the next one dials another address, if there is one.
    pub fn avoid(&self, failed: &HttpPeer) {
        let peers = self.peers.load();
        let preferred = self.preferred.load(Ordering::Relaxed);
        let current = preferred.checked_rem(peers.len()).and_then(|index| peers.get(index));
        if current.is_some_and(|peer| peer._address == failed._address) {
            self.preferred.store(preferred.wrapping_add(1), Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Whether the other side is why no connection stands: it refused, was silent, or failed the handshake. Our own
/// trouble, such as having no socket left, is not its fault.
#[must_use]
pub fn is_no_connection(error: &Error) -> bool {
    use ErrorType::*;
    matches!(
        error.etype(),
        ConnectTimedout
            | ConnectRefused
            | ConnectNoRoute
            | ConnectError
            | TLSHandshakeFailure
            | TLSHandshakeTimedout
            | InvalidCert
            | HandshakeError
    )
}

/// What went wrong on the way to OpenEMR, for the operator: one line.
///
/// Of a connection that did not come about, everything that Pingora knows. Of one that broke, only Pingora's name
/// for it and the system's word for the cause: the rest can quote what was on the wire.
#[must_use]
pub fn describe(error: &Error) -> String {
    let (source, kind) = (error.esource().as_str(), error.etype());
    if is_no_connection(error) && *error.esource() != ErrorSource::Downstream {
        return error.to_string().replace(char::is_control, " ").trim().to_owned();
    }
    match error.root_cause().downcast_ref::<std::io::Error>() {
        Some(io) => format!("{source} {} ({io})", kind.as_str()),
        None => format!("{source} {}", kind.as_str()),
    }
}

/// The system's authorities and private ones: Pingora takes a peer's list in place of the system's.
fn system_and(private: &[CertificateDer<'static>]) -> Arc<CaType> {
    let system = pingora::tls::load_native_certs().unwrap_or_default();
    let usable = |certificate: &CertificateDer<'_>| RootCertStore::empty().add(certificate.clone().into_owned()).is_ok();
    system
        .into_iter()
        .chain(private.iter().cloned())
        .filter(usable)
        .map(|certificate| WrappedX509::new(certificate.to_vec(), parse_x509))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_on_the_wire_is_not_quoted() {
        for kind in [ErrorType::ReadError, ErrorType::InvalidHTTPHeader, ErrorType::H1Error, ErrorType::WriteTimedout] {
            let mut error = Error::explain(kind, "buf: GET /fhir/Patient?name=Doe");
            error.esource = ErrorSource::Upstream;
            assert!(!describe(&error).contains("Doe"), "{}", describe(&error));
        }
    }

    #[test]
    fn a_failed_handshake_says_why() {
        let error = Error::because(
            ErrorType::TLSHandshakeFailure,
            "TLS",
            std::io::Error::other("invalid peer certificate: UnknownIssuer"),
        );
        assert!(describe(&error).contains("UnknownIssuer"));
    }
}
