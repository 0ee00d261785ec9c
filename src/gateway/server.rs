//! From a configuration to a running Pingora server: services, listeners, and who waits for whom.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use log::{info, warn};
use parking_lot::Mutex;
use pingora::apps::HttpServerOptions;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::{HttpProxy, http_proxy_service_with_name};
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server, ShutdownWatch};
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;

use crate::config::{self, Config, Listener, Routes};
use crate::gateway::Gateway;
use crate::gateway::site::Site;
use crate::origin::{Origin, RESOLVE_EVERY};
use crate::smart::exchange::TokenEndpoint;
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
    /// A certificate that was good a moment ago is not any more.
    #[error("listen: the certificate of {0} cannot be used")]
    Certificate(SocketAddr),
    /// A file that was good a moment ago is not any more.
    #[error("sites.{site}.ca_file cannot be read: {source}")]
    CaFile {
        /// The site.
        site: String,
        /// The system's word.
        source: std::io::Error,
    },
    /// A host name that no Host field can hold.
    #[error("sites.{0}.openemr: the host name cannot be used")]
    Host(String),
}

/// Runs the gateway until a signal ends it. `on_ready` is called once, when requests are about to be taken.
///
/// # Errors
/// What keeps it from starting; nothing has been served then.
pub fn run(config: Config, on_ready: impl FnOnce() + Send + Sync + 'static) -> Result<(), StartError> {
    let Config { listen, routes, sites, access, token_exposure, limits, log: _, server } = config;
    for listener in &listen {
        // Pingora panics where this can say what is wrong.
        TcpListener::bind(listener.address).map_err(|source| StartError::Listen { address: listener.address, source })?;
    }
    let mut pingora = Server::new_with_opt_and_conf(None::<Opt>, server);
    let (sites, refresher) = make_sites(sites, &routes, &pingora.configuration)?;
    let origins = sites.iter().map(|site| Arc::clone(&site.origin)).collect();
    let keepalive_requests = limits.keepalive_requests;
    let gateway = Gateway { sites, routes, access, token_exposure, limits };

    let mut proxy = http_proxy_service_with_name(&pingora.configuration, gateway, "gateway");
    if let Some(http) = proxy.app_logic_mut() {
        let mut options = HttpServerOptions::default();
        options.keepalive_request_limit = Some(keepalive_requests);
        http.server_options = Some(options);
    }
    add_listeners(&mut proxy, &listen, &pingora.configuration)?;

    // No request is taken before there is a token, or before five seconds have shown that there is none to be had.
    let tokens = pingora.add_service(background_service("tokens", refresher));
    let names = pingora.add_service(background_service("names", Names(origins)));
    let proxy = pingora.add_service(proxy);
    proxy.add_dependencies([&tokens, &names]);
    let announcement = pingora.add_service(background_service("start", Announcement::new(listen, on_ready)));
    announcement.add_dependency(&tokens);
    pingora.bootstrap();
    pingora.run(RunArgs::default());
    Ok(())
}

type Proxy = Service<HttpProxy<Gateway>>;

fn make_sites(sites: Vec<config::Site>, routes: &Routes, server: &ServerConf) -> Result<(Vec<Site>, Refresher), StartError> {
    let connector = Arc::new(Connector::new(Some(ConnectorOptions::from_server_conf(server))));
    let sites: Vec<Arc<config::Site>> = sites.into_iter().map(Arc::new).collect();
    // Even groups are FHIR bases, odd ones token endpoints: no site shares a connection with another.
    let groups = (0_u64..).step_by(2);
    let origin_of = |site: &config::Site, url: &config::BaseUrl, group| {
        Origin::new(url, site, group).map_err(|source| StartError::CaFile { site: site.name.as_str().to_owned(), source })
    };
    let mut endpoints = Vec::new();
    for (site, group) in sites.iter().zip(groups.clone()) {
        let origin = origin_of(site, &site.token_url, group + 1)?;
        endpoints.push(TokenEndpoint::new(Arc::clone(site), origin, Arc::clone(&connector)));
    }
    let (refresher, cells) = Refresher::new(endpoints);
    let mut made = Vec::new();
    for ((site, group), cell) in sites.into_iter().zip(groups).zip(cells) {
        let origin = Arc::new(origin_of(&site, &site.fhir_base, group)?);
        let name = site.name.as_str().to_owned();
        let is_first = made.is_empty();
        made.push(Site::new(site, origin, cell, routes, is_first).map_err(|_| StartError::Host(name))?);
    }
    Ok((made, refresher))
}

fn add_listeners(proxy: &mut Proxy, listen: &[Listener], server: &ServerConf) -> Result<(), StartError> {
    for listener in listen {
        let address = listener.address.to_string();
        match &listener.tls {
            None => proxy.add_tcp(&address),
            Some(tls) => {
                let (certificate, key) = (tls.certificate.to_string_lossy(), tls.private_key.to_string_lossy());
                let mut settings =
                    TlsSettings::intermediate(&certificate, &key).map_err(|_| StartError::Certificate(listener.address))?;
                settings.set_offload_threadpool_from_server_conf(server);
                proxy.add_tls_with_settings(&address, None, settings);
            }
        }
    }
    Ok(())
}

/// Looks up OpenEMR's names, at start and from time to time.
struct Names(Vec<Arc<Origin>>);

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
        for origin in &self.0 {
            if let Err(error) = origin.resolve().await {
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
