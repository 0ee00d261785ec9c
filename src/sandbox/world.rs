//! What all requests share: OpenEMR's tables, what is counted, and what is out of order.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedMutexGuard, Semaphore, watch};

use super::{
    Settings,
    access_token::AccessTokens,
    bulk_export::Exports,
    calendar::Clock,
    client_keys::ClientKeys,
    clients::Clients,
    counters::Counters,
    database::Database,
    discovery::{self, Discovery},
    faults::{Faults, lock},
    personality::Personality,
    population::Population,
    scopes::KnownScopes,
};

/// Everything behind the listener.
pub struct World {
    /// Which OpenEMR.
    pub personality: Personality,
    /// The machine's clock.
    pub clock: Clock,
    /// Scheme and authority of links and `aud`.
    pub site_address: String,
    /// The sites, each with what it says about itself.
    pub sites: HashMap<String, Discovery>,
    /// The scopes the server knows.
    pub known_scopes: KnownScopes,
    /// The search parameters of each type that has a route.
    pub search_parameters: HashMap<String, Vec<String>>,
    /// The clients.
    pub clients: Mutex<Clients>,
    /// How their keys are found.
    pub client_keys: ClientKeys,
    /// The access tokens.
    pub tokens: AccessTokens,
    /// What the nodes of this OpenEMR share.
    pub database: Arc<Database>,
    /// Export jobs and files.
    pub exports: Mutex<Exports>,
    /// What is to go wrong.
    pub faults: Faults,
    /// What happened so far.
    pub counters: Counters,
    /// Whether the listener is to be up.
    pub wanted_up: watch::Sender<bool>,
    /// Whether it is.
    pub is_up: watch::Sender<bool>,
    /// One permit a worker.
    pub workers: Arc<Semaphore>,
    /// How many permits there are.
    pub worker_count: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How many requests a connection serves.
    pub requests_per_connection: u64,
    token_lifetime: Mutex<Duration>,
    population: RwLock<Population>,
    system_scopes: AtomicBool,
    first_clients: Clients,
    first_clock_offset: i64,
    first_token_lifetime: Duration,
    first_strict_kid: bool,
    first_jwks_cache: Duration,
    sessions: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl World {
    /// An install with the settings' clients on its database. Errors when that cannot be read or written.
    pub fn new(settings: &Settings, site_address: String) -> io::Result<World> {
        let personality = settings.personality;
        let clock = Clock::new(settings.clock_offset);
        let made_at = clock.now() as i64;
        let site = |name: &String| (name.clone(), Discovery::new(personality, &site_address, name, made_at));
        let clients: Clients = settings.clients.iter().map(|client| (client.id.clone(), client.clone())).collect();
        let client_keys = ClientKeys::default();
        client_keys.set_strict_kid(settings.strict_kid);
        client_keys.keep_for(settings.jwks_cache);
        let workers = settings.workers.max(1);
        let database = Arc::new(Database::open(settings.database.as_deref())?);
        Ok(World {
            personality,
            clock,
            sites: settings.sites.iter().map(site).collect(),
            site_address,
            known_scopes: KnownScopes::of(personality),
            search_parameters: discovery::search_parameters(personality),
            clients: Mutex::new(clients.clone()),
            client_keys,
            tokens: AccessTokens::new(Arc::clone(&database))?,
            database,
            exports: Mutex::default(),
            faults: Faults::default(),
            counters: Counters::default(),
            wanted_up: watch::Sender::new(true),
            is_up: watch::Sender::new(true),
            workers: Arc::new(Semaphore::new(workers)),
            worker_count: workers,
            keep_alive: settings.keep_alive,
            requests_per_connection: settings.requests_per_connection.max(1),
            token_lifetime: Mutex::new(settings.token_lifetime),
            population: RwLock::new(Population::new(personality, settings.patients, settings.seed, made_at)),
            system_scopes: AtomicBool::new(true),
            first_clock_offset: settings.clock_offset,
            first_token_lifetime: settings.token_lifetime,
            first_strict_kid: settings.strict_kid,
            first_jwks_cache: settings.jwks_cache,
            first_clients: clients,
            sessions: Mutex::default(),
        })
    }

    /// The only `aud` that is accepted.
    pub fn token_url(&self, site: &str) -> String {
        format!("{}/oauth2/{site}/token", self.site_address)
    }

    /// How long a token lives.
    pub fn token_lifetime(&self) -> Duration {
        *lock(&self.token_lifetime)
    }

    /// Changes how long the tokens live that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        *lock(&self.token_lifetime) = lifetime;
    }

    /// OpenEMR's `rest_system_scopes_api`.
    pub fn system_scopes_on(&self) -> bool {
        self.system_scopes.load(Ordering::Relaxed)
    }

    /// Turns `rest_system_scopes_api` on or off.
    pub fn set_system_scopes(&self, on: bool) {
        self.system_scopes.store(on, Ordering::Relaxed);
    }

    /// The resources, to read.
    pub fn population(&self) -> RwLockReadGuard<'_, Population> {
        self.population.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resources, to change.
    pub fn population_to_change(&self) -> RwLockWriteGuard<'_, Population> {
        self.population.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a PHP session: PHP locks its file, so requests with the same cookie run one after the other.
    pub async fn session(&self, id: &str) -> OwnedMutexGuard<()> {
        let session = {
            let mut sessions = lock(&self.sessions);
            if sessions.len() > 1000 {
                sessions.retain(|_, session| Arc::strong_count(session) > 1);
            }
            Arc::clone(sessions.entry(id.to_owned()).or_default())
        };
        session.lock_owned().await
    }

    /// Everything back in order: no faults, counters at nought, clock, clients and their ways as they were at
    /// first. Tokens, used jtis and
    /// created patients stay.
    pub fn reset(&self) {
        self.faults.set_token(Vec::new());
        self.faults.set_fhir(Vec::new());
        self.set_system_scopes(true);
        self.clock.set(self.first_clock_offset);
        self.set_token_lifetime(self.first_token_lifetime);
        self.client_keys.set_strict_kid(self.first_strict_kid);
        self.client_keys.keep_for(self.first_jwks_cache);
        self.wanted_up.send_replace(true);
        lock(&self.clients).extend(self.first_clients.clone());
        self.counters.reset();
        lock(&self.exports).reset();
        self.client_keys.fetches().store(0, Ordering::Relaxed);
    }
}
