//! The settings of a sandbox.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{clients::Client, own_shapes::Shapes, personality::Personality, timings::Timings, tls::Tls};

/// The settings of a sandbox.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address that OpenEMR listens on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The admin address, on loopback only; port 0 takes a free one.
    pub admin: SocketAddr,
    /// Serve HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// The OpenEMR release to behave like.
    pub personality: Personality,
    /// The names of the sites.
    pub sites: Vec<String>,
    /// How long access tokens live; 300 s in OpenEMR.
    pub token_lifetime: Duration,
    /// The seconds by which the clock is ahead; negative when it is behind.
    pub clock_offset: i64,
    /// The clients that are registered from the start.
    pub clients: Vec<Client>,
    /// Choose a client's key by `kid` and reject an unknown one, as newer servers do.
    pub strict_kid: bool,
    /// How long a fetched JWK Set is reused; OpenEMR fetches it at every exchange.
    pub jwks_cache: Duration,
    /// OpenEMR's `site_addr_oath`: scheme and authority of links and of the expected `aud`. The address listened on if
    /// `None`.
    pub site_address: Option<String>,
    /// The folder of the database that several nodes share; an own one in memory if `None`.
    pub database: Option<PathBuf>,
    /// How many requests are processed at once; more wait.
    pub workers: usize,
    /// How long a worker is busy with a request.
    pub timings: Timings,
    /// How many synthetic patients there are.
    pub patients: usize,
    /// How resources are written.
    pub shapes: Shapes,
    /// The seed that the patients are made from.
    pub seed: u64,
    /// How long an idle connection is kept; 5 s in Apache.
    pub keep_alive: Duration,
    /// How many requests a connection serves; 100 in Apache.
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
            timings: Timings::default(),
            patients: 300,
            shapes: Shapes::default(),
            seed: 1,
            keep_alive: Duration::from_secs(5),
            requests_per_connection: 100,
        }
    }
}
