//! What the services of one process share.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

use crate::audit::trail::Trail;
use crate::config::Config;
use crate::exports::jobs::Exports;
use crate::gateway::connections::Connections;
use crate::limits::usage::Usage;
use crate::nodes::client::Client;
use crate::nodes::health::HealthChecks;
use crate::server::ceilings;
use crate::server::certificates::ListenerCertificates;
use crate::server::listeners::Listeners;
use crate::server::options::RunOptions;
use crate::server::upgrade::order::Orders;
use crate::server::upgrade::socket::UpgradeSocket;
use crate::server::upgrade::take_over::KeptPredecessor;
use crate::site::lifecycle::Lifecycle;
use crate::site::runtime::{Runtime, Tasks};
use crate::smart::key_rings::KeyRings;
use crate::smart::refresher::Refresher;

/// Called once, when the listeners are open.
pub(super) type OnReady = Arc<Mutex<Option<Box<dyn FnOnce() + Send + Sync>>>>;

/// What the services of one process share; the functions that build them take their parts of it.
pub(super) struct Process {
    /// The configuration with which the process was started.
    pub config: Arc<Config>,
    /// How it was started.
    pub options: RunOptions,
    /// Called when the listeners are open.
    pub on_ready: OnReady,
    /// Pingora's settings.
    pub pingora: Arc<ServerConf>,
    /// The listening sockets.
    pub listeners: Arc<Listeners>,
    /// Where the process hands its listeners over, or takes them from another one.
    pub upgrade_socket: Option<UpgradeSocket>,
    /// The process whose listeners were taken, until it was told that this one accepts connections.
    pub predecessor: Arc<KeptPredecessor>,
    /// The orders to hand the listeners over.
    pub orders: Orders,
    /// What requests run on; a reload replaces it.
    pub runtime: Arc<ArcSwap<Runtime>>,
    /// Where the process stands between its start and its end.
    pub lifecycle: Arc<Lifecycle>,
    /// The bulk exports of all sites.
    pub exports: Arc<Exports>,
    /// The connections of clients.
    pub connections: Arc<Connections>,
    /// The certificates of the listeners; a reload replaces them.
    pub certificates: ListenerCertificates,
    /// Starts background tasks for sites.
    pub tasks: Tasks,
    /// Runs the token tasks.
    pub refresher: Arc<Refresher>,
    /// Runs the health checks and the name lookups of nodes.
    pub health_checks: Arc<HealthChecks>,
}

impl Process {
    /// Makes a configuration ready for its services.
    #[must_use]
    pub(super) fn new(
        config: Config,
        options: RunOptions,
        listeners: Listeners,
        orders: Orders,
        on_ready: impl FnOnce() + Send + Sync + 'static,
        server: &Server,
        trail: Arc<Trail>,
    ) -> Self {
        let config = Arc::new(config);
        let pingora = Arc::clone(&server.configuration);
        let client = Client::new(Arc::new(Connector::new(Some(ConnectorOptions::from_server_conf(&pingora)))));
        let (refresher, tokens) = Refresher::new(client.clone(), Arc::clone(&trail));
        let (health_checks, nodes) = HealthChecks::new(client);
        let tasks = Tasks { tokens, nodes, keys: KeyRings::default(), trail, usage: Arc::new(Usage::new(Instant::now())) };
        let runtime = Runtime::build(Arc::clone(&config), &tasks, None);
        Self {
            certificates: ListenerCertificates::of(&config.listen),
            connections: Arc::new(ceilings::connections(&config)),
            listeners: Arc::new(listeners),
            upgrade_socket: UpgradeSocket::of(&config, options.source.as_ref()),
            predecessor: Arc::default(),
            orders,
            config,
            options,
            on_ready: Arc::new(Mutex::new(Some(Box::new(on_ready)))),
            pingora,
            runtime: Arc::new(ArcSwap::from_pointee(runtime)),
            lifecycle: Arc::default(),
            exports: Arc::default(),
            tasks,
            refresher: Arc::new(refresher),
            health_checks: Arc::new(health_checks),
        }
    }
}
