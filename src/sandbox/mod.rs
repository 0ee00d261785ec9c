//! The stand-in for OpenEMR: an HTTP(S) server that answers as OpenEMR 8.0.0 or 7.0.3 does, for demonstrations and
//! tests. It uses nothing of the gateway's, so that the two can disagree.
//!
//! | module | what it is |
//! |---|---|
//! | `server` | connections: accepting, TLS, keep-alive, workers, sessions |
//! | `http1`, `request_head` | HTTP/1.1 by hand, so that it can be broken on purpose |
//! | `dispatch` | from a request to what happens on the connection, faults included |
//! | `answer` | OpenEMR's header sets |
//! | `token_endpoint`, `access_token`, `clients`, `client_keys`, `scopes`, `registration`, `discovery` | the authorization server |
//! | `fhir_api`, `search`, `write`, `bulk_export`, `population`, `people` | the FHIR side |
//! | `database` | what the nodes of one OpenEMR share |
//! | `refusals` | how OpenEMR says no |
//! | `counters` | what happened |
//! | `faults`, `admin` | what it can be made to do wrong, and how |
//! | `personality`, `php_json`, `calendar` | which OpenEMR; JSON and dates as PHP writes them |
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use openemr_gateway::sandbox::{Sandbox, Settings};
//! let sandbox = Sandbox::bind(Settings::default()).await?;
//! println!("{}", sandbox.base_url());
//! sandbox.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

mod access_token;
mod admin;
mod answer;
mod bulk_export;
mod calendar;
mod client_keys;
mod clients;
mod counters;
mod database;
mod discovery;
mod dispatch;
mod faults;
mod fhir_api;
mod http1;
mod people;
mod personality;
mod php_json;
mod population;
mod refusals;
mod registration;
mod request_head;
mod scopes;
mod search;
mod server;
mod tls;
mod token_endpoint;
mod world;
mod write;

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::net::TcpListener;

pub use clients::{Client, Keys};
pub use personality::{Personality, UnknownVersion};
pub use tls::{Tls, TlsError};
use world::World;

/// What a stand-in is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where OpenEMR listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the admin listens; loopback only. Port 0 takes a free one.
    pub admin: SocketAddr,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Which OpenEMR.
    pub personality: Personality,
    /// The sites that exist.
    pub sites: Vec<String>,
    /// How long access tokens live; OpenEMR has 300 s.
    pub token_lifetime: Duration,
    /// Seconds by which its clock is ahead; negative when it is behind.
    pub clock_offset: i64,
    /// The clients there are at start.
    pub clients: Vec<Client>,
    /// Choose a client's key by `kid` and refuse an unknown one, as newer servers do.
    pub strict_kid: bool,
    /// How long a fetched JWK Set is used again; OpenEMR fetches it at every exchange.
    pub jwks_cache: Duration,
    /// OpenEMR's `site_addr_oath`: scheme and authority that links and the expected `aud` are made of. Without it,
    /// the address listened on.
    pub site_address: Option<String>,
    /// The folder with the database that several nodes share; without it, this node has its own in memory.
    pub database: Option<PathBuf>,
    /// Requests worked on at once; more wait.
    pub workers: usize,
    /// How many patients to make up.
    pub patients: usize,
    /// What they are made from.
    pub seed: u64,
    /// How long an idle connection is kept; php-fpm behind Apache has 5 s.
    pub keep_alive: Duration,
    /// How many requests a connection serves; Apache has 100.
    pub requests_per_connection: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Settings {
            listen: loopback,
            admin: loopback,
            tls: None,
            personality: Personality::default(),
            sites: vec!["default".to_owned()],
            token_lifetime: Duration::from_secs(300),
            clock_offset: 0,
            clients: Vec::new(),
            strict_kid: false,
            jwks_cache: Duration::ZERO,
            site_address: None,
            database: None,
            workers: 50,
            patients: 300,
            seed: 1,
            keep_alive: Duration::from_secs(5),
            requests_per_connection: 100,
        }
    }
}

/// Why a stand-in could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// An address could not be had.
    #[error("{address}: cannot listen: {source}\n  choose another with --listen or --admin (port 0 takes a free one)")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The admin can break everything, so it stays on this machine.
    #[error("{0}: the admin listens on loopback only\n  use --admin 127.0.0.1:0")]
    AdminNotLoopback(SocketAddr),
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database, or the key for the access tokens in it.
    #[error("{}: cannot be used as the database: {source}\n  name a folder of your own with --database", folder.display())]
    Database {
        /// The folder; empty for one in memory.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A stand-in that is bound and ready to run.
pub struct Sandbox {
    world: Arc<World>,
    listener: TcpListener,
    admin: TcpListener,
    address: SocketAddr,
    admin_address: SocketAddr,
    tls: Option<tls::Prepared>,
}

impl Sandbox {
    /// Takes the addresses, makes keys, certificate and people. From here on connections queue up.
    pub async fn bind(settings: Settings) -> Result<Sandbox, SandboxError> {
        if !settings.admin.ip().is_loopback() {
            return Err(SandboxError::AdminNotLoopback(settings.admin));
        }
        let (listener, address) = listen(settings.listen).await?;
        let (admin, admin_address) = listen(settings.admin).await?;
        let tls = settings.tls.as_ref().map(tls::Prepared::new).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let site_address = match &settings.site_address {
            Some(address) => address.trim_end_matches('/').to_owned(),
            None => format!("{scheme}://{address}"),
        };
        let world = World::new(&settings, site_address).map_err(|source| {
            let folder = settings.database.clone().unwrap_or_default();
            SandboxError::Database { folder, source }
        })?;
        let world = Arc::new(world);
        Ok(Sandbox { world, listener, admin, address, admin_address, tls })
    }

    /// Where OpenEMR listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin listens: `http://{this}/__sandbox/state` and the like.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Scheme and authority that links and `aud` are made of.
    pub fn base_url(&self) -> &str {
        &self.world.site_address
    }

    /// The certificate to trust, in PEM, if it is served over TLS.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(tls::Prepared::certificate_pem)
    }

    /// Serves until `shutdown` is done; then every connection is closed at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let acceptor = self.tls.map(tls::Prepared::into_acceptor);
        tokio::select! {
            () = server::serve(Arc::clone(&self.world), self.listener, self.address, acceptor) => {}
            () = admin::serve(self.world, self.admin) => {}
            () = shutdown => {}
        }
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SandboxError> {
    let failed = |source| SandboxError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}
