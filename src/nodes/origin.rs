//! An origin server of a site: a base URL turned into peers that can be dialled.
//!
//! A peer is prepared once and cloned for each request. Names are resolved outside the request path, at
//! start and then every `connections.resolve_every`, because Pingora's own constructor blocks and panics.
//!
//! Decision: `docs/decisions/01-peers.md`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use http::HeaderValue;
use log::{info, warn};
use pingora::connectors::http::Connector;
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use pingora::utils::tls::{WrappedX509, parse_x509};
use pingora::{Error, ErrorType};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use crate::config::{BaseUrl, Connections, Timeouts, Upstream};
use crate::nodes::cause::Place;
use crate::nodes::resolve::{ResolveError, look_up};

/// The group of the next origin; `gateway::upstream` numbers single connections from 2^32 up.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(1);

/// One origin server (RFC 9110 section 3.6) of one site: OpenEMR's FHIR API, or its token endpoint.
pub(crate) struct Origin {
    place: Place,
    shown: Box<str>,
    host: HeaderValue,
    template: HttpPeer,
    peers: ArcSwap<Vec<HttpPeer>>,
    preferred: AtomicUsize,
    /// The last lookup failed.
    is_lost: AtomicBool,
}

impl Origin {
    /// Prepares an origin with a site's timeouts, pool and trusted authorities. Origins never share connections: Pingora's pool
    /// does not tell peers apart by the authorities that they trust, so that each origin has a group of its own.
    #[must_use]
    pub(super) fn new(place: Place, upstream: &Upstream) -> Self {
        Self::with(
            place,
            &upstream.timeouts,
            &upstream.connections,
            upstream.ca_file.as_ref().map(|file| file.certificates.as_slice()),
        )
    }

    /// Prepares an origin that belongs to no site: one from which public keys come. It has the default timeouts, and must show a
    /// certificate of an authority that the system trusts, or of one of these.
    #[must_use]
    pub(crate) fn elsewhere(url: BaseUrl, key: &'static str, authorities: Option<&[CertificateDer<'static>]>) -> Self {
        Self::with(Place { url, key }, &Timeouts::default(), &Connections::default(), authorities)
    }

    /// Prepares an origin on this machine, whose certificate is for the names by which others call it and is not checked. The chain
    /// of the certificate is named all the same: without any authority, as in a small container, Pingora would not connect.
    #[must_use]
    pub(crate) fn on_this_machine(url: BaseUrl, key: &'static str, chain: Option<&[CertificateDer<'static>]>) -> Self {
        let mut origin = Self::elsewhere(url, key, chain);
        (origin.template.options.verify_cert, origin.template.options.verify_hostname) = (false, false);
        let address = origin.url().host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, origin.url().port));
        origin.set_addresses(address);
        origin
    }

    fn with(
        place: Place,
        timeouts: &Timeouts,
        connections: &Connections,
        authorities: Option<&[CertificateDer<'static>]>,
    ) -> Self {
        let url = &place.url;
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // The SNI is never empty: without one, Pingora's rustls side would verify nothing at all.
        let mut template = HttpPeer::new(nowhere, url.https, url.host.clone());
        template.group_key = NEXT_GROUP.fetch_add(1, Ordering::Relaxed);
        let options = &mut template.options;
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.total_connect);
        options.read_timeout = Some(timeouts.read);
        options.write_timeout = Some(timeouts.write);
        options.idle_timeout = Some(connections.idle_timeout);
        options.alpn = ALPN::H1;
        options.verify_cert = true;
        options.verify_hostname = true;
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        if let Some(certificates) = authorities {
            options.ca = Some(system_and(certificates));
        }
        let host = HeaderValue::from_str(&url.authority()).expect("a BaseUrl has letters, digits and `.-_:[]` in its host");
        let address = url.host.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, url.port));
        let origin = Self {
            shown: place.url.to_string().into(),
            place,
            host,
            template,
            peers: ArcSwap::default(),
            preferred: AtomicUsize::new(0),
            is_lost: AtomicBool::new(false),
        };
        origin.set_addresses(address);
        origin
    }

    /// The base URL.
    #[must_use]
    pub(crate) fn url(&self) -> &BaseUrl {
        &self.place.url
    }

    /// The base URL as text.
    #[must_use]
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The URL and the configuration key that it comes from, to explain what goes wrong there.
    #[must_use]
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The Host field of its requests.
    #[must_use]
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Looks the name up again, unless it is an address. On failure the known addresses stay. It is logged when a name moves,
    /// cannot be resolved, or can be again.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub(crate) async fn resolve(&self) -> Result<(), ResolveError> {
        if self.url().host.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        let result = self.refresh_addresses().await;
        let was_lost = self.is_lost.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !was_lost => warn!("a name is not resolved: {error}"),
            Ok(()) if was_lost => info!("{} is resolved again", self.url().host),
            Ok(()) | Err(_) => {}
        }
        result
    }

    /// Looks the name up and keeps nothing; the address itself where the host is one.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub(crate) async fn addresses(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        match self.url().host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![SocketAddr::new(address, self.url().port)]),
            Err(_) => look_up(&self.url().host, self.url().port).await,
        }
    }

    async fn refresh_addresses(&self) -> Result<(), ResolveError> {
        let addresses = look_up(&self.url().host, self.url().port).await?;
        if !self.has_exactly(&addresses) {
            if self.address_count() > 0 {
                info!("{} has moved to {addresses:?}", self.url().host);
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
    pub(crate) fn address_count(&self) -> usize {
        self.peers.load().len()
    }

    /// The peer to dial: the address that worked last. `None` when the name has never been resolved.
    #[must_use]
    pub(crate) fn peer(&self) -> Option<HttpPeer> {
        let peers = self.peers.load();
        let index = self.preferred.load(Ordering::Relaxed).checked_rem(peers.len())?;
        peers.get(index).cloned()
    }

    /// Connects outside the request path, to one of the addresses, each of which is tried once. `prepare` changes the peer
    /// for this connection.
    ///
    /// # Errors
    /// The error of the last address.
    pub(super) async fn connect(
        &self,
        connector: &Connector,
        prepare: impl Fn(&mut HttpPeer) + Send,
    ) -> Result<HttpSession, Box<Error>> {
        let mut failure = Error::explain(ErrorType::ConnectError, "there is no address");
        for _ in 0..self.address_count() {
            let Some(mut peer) = self.peer() else { break };
            prepare(&mut peer);
            match connector.get_http_session(&peer).await {
                Ok((session, _)) => return Ok(session),
                Err(error) => {
                    self.avoid(&peer);
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    /// Records that `failed` took no connection: the next one goes to another address, if there is one.
    pub(crate) fn avoid(&self, failed: &HttpPeer) {
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
        f.debug_struct("Origin").field("url", self.url()).finish_non_exhaustive()
    }
}

/// The system's authorities and private ones: Pingora uses a peer's list in place of the system's.
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
