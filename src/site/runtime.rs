//! The runtime: the validated configuration with its sites made ready for requests.
//!
//! A runtime never changes. A reload builds another one and swaps it in; a request takes the current one once and keeps it to
//! its end.
//!
//! Decision: `docs/decisions/23-reload.md`.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::audit::trail::Trail;
use crate::callers::access_tokens::AccessTokens;
use crate::callers::credentials::Callers;
use crate::config::{self, Config};
use crate::limits::usage::Usage;
use crate::nodes::Nodes;
use crate::nodes::health::Checks;
use crate::site::capability_cache::{self, CapabilityCache};
use crate::site::client::SiteClient;
use crate::site::kept_pages::PageMemory;
use crate::site::patient_groups::PatientGroups;
use crate::site::prepared::{Parts, Site};
use crate::smart::exchange::TokenEndpoint;
use crate::smart::identity::TokenIdentity;
use crate::smart::key_rings::KeyRings;
use crate::smart::refresher::TokenTasks;
use crate::smart::signer::{SharedSigner, Signer};
use crate::smart::token_cell::TokenHandle;
use crate::store::shared_store::SharedStore;

/// Everything that one request needs to know besides itself.
#[derive(Debug)]
pub(crate) struct Runtime {
    /// The configuration.
    pub config: Arc<Config>,
    /// The sites in the order of the configuration; requests know theirs by index.
    pub sites: Vec<Arc<Site>>,
    /// Gives clients access tokens, and knows them again.
    pub access_tokens: Arc<AccessTokens>,
    /// Checks the credentials that others have issued.
    pub callers: Callers,
    /// The audit trail.
    pub trail: Arc<Trail>,
    /// What callers have used of their limits.
    pub usage: Arc<Usage>,
    /// The memory for answers that are kept for further pages.
    pub page_memory: Arc<PageMemory>,
    /// What is shared with other gateways.
    pub store: Option<SharedStore>,
}

/// Starts background tasks for sites.
#[derive(Clone)]
pub(crate) struct Tasks {
    /// Keeps tokens fresh.
    pub tokens: TokenTasks,
    /// Checks nodes and looks their names up.
    pub nodes: Checks,
    /// Follows the rotations of keys.
    pub keys: KeyRings,
    /// The audit trail.
    pub trail: Arc<Trail>,
    /// What callers have used of their limits.
    pub usage: Arc<Usage>,
}

impl Runtime {
    /// Makes the sites of a configuration ready. What belongs to an unchanged part of `previous` is carried over: tokens, what
    /// is known of OpenEMR's nodes, pooled connections, the CapabilityStatement.
    #[must_use]
    pub(crate) fn build(config: Arc<Config>, tasks: &Tasks, previous: Option<&Self>) -> Self {
        let earlier_store = previous.and_then(|previous| previous.store.as_ref());
        let store = config.store.as_ref().map(|settings| SharedStore::after(settings, earlier_store));
        let page_memory = previous
            .map_or_else(|| Arc::new(PageMemory::new(config.limits.shared_pages)), |previous| Arc::clone(&previous.page_memory));
        let mut sites: Vec<Arc<Site>> = Vec::with_capacity(config.sites.len());
        for site in &config.sites {
            let is_first = sites.is_empty();
            let in_previous = previous.map_or(&[][..], |previous| &previous.sites);
            let earlier = Earlier { in_this: &sites, in_previous, is_start: previous.is_none() };
            let parts = parts(site, tasks, (store.as_ref(), &page_memory), earlier);
            sites.push(Arc::new(Site::new(parts, &config, is_first)));
        }
        let access_tokens = AccessTokens::new(&config.access.token_key, previous.map(|previous| &previous.access_tokens));
        let callers = Callers::new(&config.access.clients, &tasks.tokens.client(), previous.map(|previous| &previous.callers));
        let (trail, usage) = (Arc::clone(&tasks.trail), Arc::clone(&tasks.usage));
        Self { config, sites, access_tokens, callers, trail, usage, page_memory, store }
    }

    /// Renews tokens that were carried over at this runtime's nodes and with its keys from now on. `build` leaves them alone,
    /// because the running configuration may still be kept.
    pub(crate) fn put_in_force(&self) {
        // When several sites share a token, the first one's key signs.
        for site in self.sites.iter().rev() {
            site.keys.adopt(&site.config);
            site.signer.store(Arc::clone(&site.keys));
            site.token.set_nodes(Arc::clone(&site.nodes));
        }
    }

    /// Lets the exchanges for every site's token begin, if they have not begun. Call it when the JWK Sets are served with which
    /// OpenEMR verifies them.
    pub(crate) fn begin_exchanges(&self) {
        for site in &self.sites {
            site.token.begin();
        }
    }

    /// Looks up the names of new nodes, so that the runtime can be used as soon as it is swapped in.
    pub(crate) async fn look_up_new_names(&self) {
        for site in &self.sites {
            site.nodes.resolve_new().await;
        }
    }
}

/// The sites that were made ready before this one: in the same runtime, and in the one that it replaces.
#[derive(Clone, Copy)]
struct Earlier<'a> {
    in_this: &'a [Arc<Site>],
    in_previous: &'a [Arc<Site>],
    /// There is no runtime that this one replaces.
    is_start: bool,
}

impl<'a> Earlier<'a> {
    fn find(self, is_same: impl Fn(&Site) -> bool) -> Option<&'a Arc<Site>> {
        self.in_this.iter().chain(self.in_previous).find(|site| is_same(site))
    }
}

/// What all sites share.
type Common<'a> = (Option<&'a SharedStore>, &'a Arc<PageMemory>);

/// The parts of a site: shared with an earlier site where the configuration of that part is equal, made anew otherwise.
fn parts(config: &Arc<config::Site>, tasks: &Tasks, (store, page_memory): Common<'_>, earlier: Earlier<'_>) -> Parts {
    let same_nodes = earlier.find(|site| *site.nodes.upstream() == config.upstream);
    let turns = same_nodes.map(|site| Arc::clone(&site.turns)).unwrap_or_default();
    let same_name = earlier.in_previous.iter().find(|site| site.name() == config.name.as_str());
    let nodes = match same_nodes {
        Some(site) => Arc::clone(&site.nodes),
        None => new_nodes(config, &tasks.nodes, same_name.map(|site| &*site.nodes)),
    };
    let mended = same_name.map(|site| Arc::clone(&site.mending.mended)).unwrap_or_default();
    // The OpenEMR is the same, or may be.
    let writes = same_nodes.or(same_name).map(|site| Arc::clone(site.flights.writes())).unwrap_or_default();
    let identity = TokenIdentity::of(config);
    // Another OpenEMR, or another client of it, may have other Groups by the same ids.
    let same_openemr = same_name.filter(|site| site.identity == identity && *site.nodes.upstream() == config.upstream);
    let patient_groups = same_openemr.map(|site| PatientGroups::after(&site.patient_groups)).unwrap_or_default();
    let same_token = earlier.find(|site| site.identity == identity);
    let keys = keys(config, &tasks.keys, earlier.in_this.iter().find(|site| site.identity == identity));
    let signer = same_token.map_or_else(|| Arc::new(ArcSwap::new(Arc::clone(&keys))), |site| Arc::clone(&site.signer));
    let token = match same_token {
        Some(site) => Arc::clone(&site.token),
        None => new_token(config, &tasks.tokens, &signer, &nodes),
    };
    let terms = capability_cache::Terms::of(config);
    let capability_cache = match earlier.find(|site| *site.capability_cache.terms() == terms) {
        Some(site) => Arc::clone(&site.capability_cache),
        None => Arc::new(CapabilityCache::new(config)),
    };
    let client = SiteClient::new(Arc::clone(&nodes), Arc::clone(&token), tasks.tokens.client());
    Parts {
        config: Arc::clone(config),
        identity,
        nodes,
        token,
        is_established: earlier.is_start || same_name.is_some_and(|site| site.is_counted()),
        keys,
        signer,
        client,
        capability_cache,
        turns,
        writes,
        page_memory: Arc::clone(page_memory),
        patient_groups,
        store: store.cloned(),
        mended,
    }
}

fn new_nodes(config: &config::Site, checks: &Checks, before: Option<&Nodes>) -> Arc<Nodes> {
    let nodes = Arc::new(before.map_or_else(|| Nodes::new(config), |before| Nodes::after(config, before)));
    checks.start(&nodes);
    nodes
}

/// The keys of a site; those of `same_token`, a site of the same runtime, where both have the same files.
fn keys(config: &Arc<config::Site>, rings: &KeyRings, same_token: Option<&Arc<Site>>) -> Arc<Signer> {
    let shared = same_token.filter(|site| site.keys.is_of(&config.private_key_file, &config.jwks_file));
    shared.map_or_else(|| rings.signer(config), |site| Arc::clone(&site.keys))
}

fn new_token(config: &Arc<config::Site>, tasks: &TokenTasks, signer: &SharedSigner, nodes: &Arc<Nodes>) -> Arc<TokenHandle> {
    tasks.prepare(TokenEndpoint::new(Arc::clone(config), Arc::clone(signer), Arc::clone(nodes), tasks.client()))
}

#[cfg(test)]
impl Runtime {
    /// A runtime for tests: open access, default limits, no route and no site.
    pub(crate) fn without_sites() -> Self {
        let config = Config::default();
        let access_tokens = AccessTokens::new(&config.access.token_key, None);
        let usage = Arc::new(Usage::new(std::time::Instant::now()));
        let page_memory = Arc::new(PageMemory::new(config.limits.shared_pages));
        let (config, callers) = (Arc::new(config), Callers::default());
        Self { config, sites: Vec::new(), access_tokens, callers, trail: Trail::off(), usage, page_memory, store: None }
    }
}
