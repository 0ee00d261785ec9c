//! From a configuration to a running Pingora server: services, listeners, and who waits for whom.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use log::{info, warn};
use parking_lot::Mutex;
use pingora::apps::HttpServerOptions;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::proxy::{HttpProxy, http_proxy_service_with_name};
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server, ShutdownWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;

use crate::config::{Config, Listener};
use crate::gateway::Gateway;
use crate::gateway::certificates::{ListenerCertificate, tls_settings};
use crate::gateway::runtime::{Runtime, Settings};
use crate::origin::RESOLVE_EVERY;
use crate::smart::key_keeper::KeyKeeper;
use crate::smart::key_ring::KeyRings;
use crate::smart::refresher::Refresher;

/// Why the gateway cannot start although its configuration is good.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another program has the port, or it is not ours to take.
    #[error("listen: cannot listen on {address}: {source}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// A listener's certificate that Pingora refuses.
    #[error("listen: the certificate of {0} cannot be used")]
    Certificate(SocketAddr),
    /// A host name that no Host field can hold.
    #[error("sites.{0}.openemr: the host name cannot be used")]
    Host(String),
}

/// Runs the gateway until a signal ends it. `on_ready` is called once, when requests are about to be taken.
///
/// # Errors
/// What keeps it from starting; nothing has been served then.
pub fn run(config: Config, on_ready: impl FnOnce() + Send + Sync + 'static) -> Result<(), StartError> {
    let Config { listen, routes, sites, access, token_exposure, ready, watch: _, drain_delay: _, limits, log: _, server } =
        config;
    for listener in &listen {
        // Pingora panics where this can say what is wrong.
        TcpListener::bind(listener.address).map_err(|source| StartError::Listen { address: listener.address, source })?;
    }
    let mut pingora = Server::new_with_opt_and_conf(None::<Opt>, server);
    let connector = Arc::new(Connector::new(Some(ConnectorOptions::from_server_conf(&pingora.configuration))));
    let (refresher, tasks) = Refresher::new(connector);
    let rings = KeyRings::default();
    let settings = Settings { routes, access, token_exposure, limits, ready };
    let runtime = Arc::new(ArcSwap::from_pointee(Runtime::build(sites, settings, &tasks, &rings, None)?));
    let gateway = Gateway { runtime: Arc::clone(&runtime), lifecycle: Arc::default() };

    let mut proxy = http_proxy_service_with_name(&pingora.configuration, gateway, "gateway");
    if let Some(http) = proxy.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.keepalive_request_limit = Some(limits.keepalive_requests);
        http.server_options = Some(options);
    }
    let _certificates = add_listeners(&mut proxy, &listen, &pingora.configuration)?;

    // No request is taken before there is a token, or before five seconds have shown that there is none to be had.
    let tokens = pingora.add_service(background_service("tokens", refresher));
    let keys = pingora.add_service(background_service("keys", KeyKeeper::new(rings)));
    tokens.add_dependency(&keys);
    let names = pingora.add_service(background_service("names", Names(runtime)));
    let proxy = pingora.add_service(proxy);
    proxy.add_dependencies([&tokens, &names]);
    let announcement = pingora.add_service(background_service("start", Announcement::new(listen, on_ready)));
    announcement.add_dependency(&tokens);
    pingora.bootstrap();
    pingora.run(RunArgs::default());
    Ok(())
}

type Proxy = Service<HttpProxy<Gateway>>;
type Certificates = Vec<(SocketAddr, Arc<ListenerCertificate>)>;

/// Adds the listeners; gives the certificates of those that have one, by address, for a reload to replace.
fn add_listeners(proxy: &mut Proxy, listen: &[Listener], server: &ServerConf) -> Result<Certificates, StartError> {
    let mut certificates = Certificates::new();
    for listener in listen {
        let address = listener.address.to_string();
        match &listener.tls {
            None => proxy.add_tcp(&address),
            Some(tls) => {
                let certificate = Arc::new(ListenerCertificate::new(Arc::clone(&tls.certified_key)));
                let settings =
                    tls_settings(Arc::clone(&certificate), server).map_err(|_| StartError::Certificate(listener.address))?;
                proxy.add_tls_with_settings(&address, None, settings);
                certificates.push((listener.address, certificate));
            }
        }
    }
    Ok(certificates)
}

/// Looks up OpenEMR's names, at start and from time to time.
struct Names(Arc<ArcSwap<Runtime>>);

#[async_trait]
impl BackgroundService for Names {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        self.resolve_all().await;
        ready.notify_ready();
        loop {
            tokio::select! {
                () = tokio::time::sleep(RESOLVE_EVERY) => self.resolve_all().await,
                _ = shutdown.changed() => return,
            }
        }
    }
}

impl Names {
    async fn resolve_all(&self) {
        for site in &self.0.load_full().sites {
            if let Err(error) = site.origin.resolve().await {
                warn!("{error}");
            }
        }
    }
}

/// Says that the gateway listens, once it does.
struct Announcement {
    listen: Vec<Listener>,
    on_ready: Mutex<Option<Box<dyn FnOnce() + Send + Sync>>>,
}

impl Announcement {
    fn new(listen: Vec<Listener>, on_ready: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { listen, on_ready: Mutex::new(Some(Box::new(on_ready))) }
    }
}

#[async_trait]
impl BackgroundService for Announcement {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        // They all open together; a connection without a handshake would make a TLS one complain.
        if let Some(plain) = self.listen.iter().find(|listener| listener.tls.is_none()) {
            tokio::select! {
                () = accepting(plain.address) => {}
                _ = shutdown.changed() => return,
            }
        }
        for listener in &self.listen {
            let scheme = if listener.tls.is_some() { "https" } else { "http" };
            info!("listening on {scheme}://{}", listener.address);
        }
        let on_ready = self.on_ready.lock().take();
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }
}

async fn accepting(mut address: SocketAddr) {
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        address.set_ip(loopback.parse().expect("both are addresses"));
    }
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
