//! The state of one OpenEMR node, which all its requests share.

use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{OwnedMutexGuard, watch};

use super::{
    access_token::AccessTokens,
    audit_repository::AuditRepository,
    calendar::Clock,
    client_keys::ClientKeys,
    clients::Clients,
    counters::Counters,
    criteria::SearchParameter,
    database::Database,
    discovery::{self, Discovery},
    exports::Exports,
    faults::Faults,
    personality::Personality,
    population::Population,
    scopes::KnownScopes,
    settings::Settings,
    timings::Timings,
    workers::Workers,
};

/// One OpenEMR node.
pub(super) struct Instance {
    /// The OpenEMR release that it behaves like.
    pub(super) personality: Personality,
    /// Its clock.
    pub(super) clock: Clock,
    /// Scheme and authority of links and of the expected `aud`.
    pub(super) site_address: String,
    /// The discovery documents of each site, by its name.
    pub(super) sites: HashMap<String, Discovery>,
    /// The scopes that the server knows.
    pub(super) known_scopes: KnownScopes,
    /// The search parameters of each resource type that has a route.
    pub(super) search_parameters: HashMap<String, Vec<SearchParameter>>,
    /// The registered clients.
    pub(super) clients: Mutex<Clients>,
    /// How the clients' keys are found.
    pub(super) client_keys: ClientKeys,
    /// The access tokens.
    pub(super) tokens: AccessTokens,
    /// What the nodes of this OpenEMR share.
    pub(super) database: Arc<Database>,
    /// The export jobs and files.
    pub(super) exports: Mutex<Exports>,
    /// The FHIR resources.
    pub(super) population: RwLock<Population>,
    /// The repository for AuditEvents.
    pub(super) audit_repository: AuditRepository,
    /// The faults in force.
    pub(super) faults: Faults,
    /// What happened so far.
    pub(super) counters: Counters,
    /// Whether the listener should be up.
    pub(super) wanted_up: watch::Sender<bool>,
    /// Whether the listener is up.
    pub(super) is_up: watch::Sender<bool>,
    /// The workers.
    pub(super) workers: Workers,
    /// How long they are busy with a request.
    pub(super) timings: Timings,
    /// How long an idle connection is kept.
    pub(super) keep_alive: Duration,
    /// How many requests a connection serves.
    pub(super) requests_per_connection: u64,
    token_lifetime: Mutex<Duration>,
    system_scopes: AtomicBool,
    at_start: AtStart,
    sessions: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// The settings that [`Instance::reset`] restores.
struct AtStart {
    clients: Clients,
    workers: NonZeroUsize,
    clock_offset: i64,
    token_lifetime: Duration,
    strict_kid: bool,
    jwks_cache: Duration,
}

impl Instance {
    /// Creates the node that `settings` describe. Errors when its database cannot be read or written.
    pub(super) fn new(settings: &Settings, site_address: String) -> io::Result<Instance> {
        let personality = settings.personality;
        let clock = Clock::new(settings.clock_offset);
        let made_at = clock.seconds();
        let site = |name: &String| (name.clone(), Discovery::new(personality, &site_address, name, made_at));
        let clients: Clients = settings.clients.iter().map(|client| (client.id.clone(), client.clone())).collect();
        let client_keys = ClientKeys::default();
        let strict_kid = settings.strict_kid || personality == Personality::Next;
        client_keys.set_strict_kid(strict_kid);
        client_keys.set_cache(settings.jwks_cache);
        let workers = NonZeroUsize::new(settings.workers).unwrap_or(NonZeroUsize::MIN);
        let database = Arc::new(Database::open(settings.database.as_deref())?);
        let population =
            Population::written(settings.shapes, personality, &site_address, settings.patients, settings.seed, made_at);
        Ok(Instance {
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
            population: RwLock::new(population),
            audit_repository: AuditRepository::default(),
            faults: Faults::default(),
            counters: Counters::default(),
            wanted_up: watch::Sender::new(true),
            is_up: watch::Sender::new(true),
            workers: Workers::new(workers),
            timings: settings.timings,
            keep_alive: settings.keep_alive,
            requests_per_connection: settings.requests_per_connection.max(1),
            token_lifetime: Mutex::new(settings.token_lifetime),
            system_scopes: AtomicBool::new(true),
            at_start: AtStart {
                clients,
                workers,
                clock_offset: settings.clock_offset,
                token_lifetime: settings.token_lifetime,
                strict_kid,
                jwks_cache: settings.jwks_cache,
            },
            sessions: Mutex::default(),
        })
    }

    /// Returns a site's token URL, the only `aud` that is accepted.
    pub(super) fn token_url(&self, site: &str) -> String {
        format!("{}/oauth2/{site}/token", self.site_address)
    }

    /// Returns how long a token lives that is issued now.
    pub(super) fn token_lifetime(&self) -> Duration {
        *self.token_lifetime.lock()
    }

    /// Sets how long the tokens live that are issued from now on.
    pub(super) fn set_token_lifetime(&self, lifetime: Duration) {
        *self.token_lifetime.lock() = lifetime;
    }

    /// Returns whether OpenEMR's `rest_system_scopes_api` is on.
    pub(super) fn system_scopes_on(&self) -> bool {
        self.system_scopes.load(Ordering::Relaxed)
    }

    /// Turns OpenEMR's `rest_system_scopes_api` on or off.
    pub(super) fn set_system_scopes(&self, on: bool) {
        self.system_scopes.store(on, Ordering::Relaxed);
    }

    /// Waits for a PHP session: PHP locks its file, so requests with the same cookie run one after the other.
    pub(super) async fn session(&self, id: &str) -> OwnedMutexGuard<()> {
        let session = {
            let mut sessions = self.sessions.lock();
            if sessions.len() > 1000 {
                sessions.retain(|_, session| Arc::strong_count(session) > 1);
            }
            Arc::clone(sessions.entry(id.to_owned()).or_default())
        };
        session.lock_owned().await
    }

    /// Clears faults and counters and restores workers, clock, clients and their settings as they were at the start. Tokens,
    /// used jtis and created patients stay.
    pub(super) fn reset(&self) {
        self.faults.set_token(Vec::new());
        self.faults.set_fhir(Vec::new());
        self.faults.set_repository(Vec::new());
        self.audit_repository.reset();
        self.set_system_scopes(true);
        self.clock.set_offset(self.at_start.clock_offset);
        self.set_token_lifetime(self.at_start.token_lifetime);
        self.client_keys.set_strict_kid(self.at_start.strict_kid);
        self.client_keys.set_cache(self.at_start.jwks_cache);
        self.workers.set(self.at_start.workers);
        self.wanted_up.send_replace(true);
        self.clients.lock().extend(self.at_start.clients.clone());
        self.counters.reset();
        self.exports.lock().reset();
        self.client_keys.reset_fetches();
    }
}
