//! From a configuration to a running Pingora server: services, listeners, and who waits for whom.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use log::info;
use parking_lot::Mutex;
use pingora::apps::HttpServerOptions;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::proxy::http_proxy;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;
use sd_notify::NotifyState;

use crate::config::{Config, Listener};
use crate::exports::jobs::Exports;
use crate::exports::worker::Worker;
use crate::gateway::Gateway;
use crate::nodes::health::Watch;
use crate::server::certificates::{ListenerCertificate, tls_settings};
use crate::server::drain::{Draining, Ending};
use crate::server::first_tokens::FirstTokens;
use crate::server::reload::{ConfigSource, Reloader, Running};
use crate::server::signals::{Endings, Signals};
use crate::server::upgrade::Takeover;
use crate::site::lifecycle::Lifecycle;
use crate::site::runtime::{Runtime, Settings, Tasks, UnusableHost};
use crate::smart::key_keeper::KeyKeeper;
use crate::smart::key_ring::KeyRings;
use crate::smart::refresher::Refresher;

/// Pingora's own grace period, in seconds, where `server.grace_period_seconds` is null.
const PINGORAS_GRACE: u64 = 300;

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
    #[error(transparent)]
    Host(#[from] UnusableHost),
}

/// How the gateway is run, besides its configuration.
#[derive(Debug, Default)]
pub struct RunOptions {
    /// Where the configuration came from, and is read from again.
    pub source: Option<ConfigSource>,
    /// Take the listeners over from the process that has them.
    pub upgrade: bool,
}

/// Runs the gateway until a signal ends it. `on_ready` is called once, when requests are about to be taken.
///
/// # Errors
/// What keeps it from starting; nothing has been served then.
pub fn run(mut config: Config, options: RunOptions, on_ready: impl FnOnce() + Send + Sync + 'static) -> Result<(), StartError> {
    if !options.upgrade {
        for listener in &config.listen {
            // Pingora panics where this can say what is wrong.
            TcpListener::bind(listener.address).map_err(|source| StartError::Listen { address: listener.address, source })?;
        }
    }
    let reloading = options.source.map(|source| (source, Running::of(&config)));
    let endings = endings(&config);
    // Requests decide when the process ends (`drain`); Pingora's own wait, which is as long with requests as without, is
    // for the case that they never do.
    let longest = endings.grace.max(endings.grace_after_upgrade);
    let mut server =
        ServerConf { grace_period_seconds: Some(longest.as_secs().saturating_add(60)), ..std::mem::take(&mut config.server) };
    // A daemon would go to /, and a reload or a rotation of keys would look for relative paths there.
    server.working_directory = server.working_directory.or_else(|| std::env::current_dir().ok());
    let opt = Opt { upgrade: options.upgrade, ..Opt::default() };
    let mut pingora = Server::new_with_opt_and_conf(Some(opt), server);
    let connector = Arc::new(Connector::new(Some(ConnectorOptions::from_server_conf(&pingora.configuration))));
    let (refresher, tokens) = Refresher::new(Arc::clone(&connector));
    let (watch_nodes, nodes) = Watch::new(connector);
    let tasks = Tasks { tokens, nodes, keys: KeyRings::default() };
    let listen = config.listen.clone();
    let keepalive_requests = config.limits.keepalive_requests;
    let (sites, settings) = Settings::of(config);
    let runtime = Arc::new(ArcSwap::from_pointee(Runtime::build(sites, settings, &tasks, None)?));
    let lifecycle = Arc::<Lifecycle>::default();
    let exports = Arc::<Exports>::default();
    let gateway = Gateway { runtime: Arc::clone(&runtime), lifecycle: Arc::clone(&lifecycle), exports: Arc::clone(&exports) };
    let worker = Worker::new(Arc::clone(&runtime), exports, tasks.tokens.clone(), Arc::clone(&lifecycle));

    let mut http = http_proxy(&pingora.configuration, gateway);
    let mut http_options = HttpServerOptions::default();
    http_options.keepalive_request_limit = Some(keepalive_requests);
    http.server_options = Some(http_options);
    let mut proxy =
        Service::new("gateway".to_owned(), Draining::new(http, &listen, Arc::clone(&runtime), Arc::clone(&lifecycle)));
    let certificates = add_listeners(&mut proxy, &listen, &pingora.configuration)?;

    let tokens = pingora.add_service(background_service("tokens", refresher));
    let keys = pingora.add_service(background_service("keys", KeyKeeper::new(tasks.keys.clone())));
    tokens.add_dependency(&keys);
    let nodes = pingora.add_service(background_service("nodes", watch_nodes));
    // No request is taken, and no listener is taken over, before there are tokens or it is clear that there are none.
    let first_tokens = FirstTokens::new(Arc::clone(&runtime), options.upgrade);
    let first_tokens = pingora.add_service(background_service("first tokens", first_tokens));
    first_tokens.add_dependency(&tokens);
    let takeover = pingora.bootstrap_as_a_service();
    takeover.add_dependencies([&first_tokens, &nodes]);
    let proxy = pingora.add_service(proxy);
    proxy.add_dependency(&takeover);
    let exports = pingora.add_service(background_service("exports", worker));
    exports.add_dependency(&takeover);
    let announcement = pingora.add_service(background_service("start", Announcement::new(listen, on_ready)));
    announcement.add_dependency(&takeover);
    pingora.add_service(background_service("ending", Ending(Arc::clone(&lifecycle))));
    if options.upgrade {
        let takeover = Takeover::new(pingora.watch_execution_phase());
        pingora.add_service(background_service("takeover", takeover));
    }
    if let Some((source, running)) = reloading {
        let reloader = Reloader::new(source, running, runtime, tasks, certificates);
        pingora.add_service(background_service("reload", reloader));
    }
    pingora.run(RunArgs { shutdown_signal: Box::new(Signals::new(lifecycle, endings)) });
    Ok(())
}

/// How long the process may take to end.
fn endings(config: &Config) -> Endings {
    let grace = Duration::from_secs(config.server.grace_period_seconds.unwrap_or(PINGORAS_GRACE));
    let longest_request = config.sites.iter().map(|site| site.timeouts.export.max(site.timeouts.read)).max();
    Endings {
        drain_delay: config.drain_delay,
        grace,
        grace_after_upgrade: grace.max(longest_request.unwrap_or_default() + Duration::from_secs(10)),
        upgrade_sock: config.server.upgrade_sock.clone().into(),
    }
}

type Proxy = Service<Draining>;
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
                let settings = tls_settings(Arc::clone(&certificate), listener.http2, server)
                    .map_err(|_| StartError::Certificate(listener.address))?;
                proxy.add_tls_with_settings(&address, None, settings);
                certificates.push((listener.address, certificate));
            }
        }
    }
    Ok(certificates)
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
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::MainPid(std::process::id())]);
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
