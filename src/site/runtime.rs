//! What requests run on: the validated configuration, with everything that its sites need made ready.
//!
//! It never changes; a reload builds another one and swaps it in. A request takes it once and keeps it to its end.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::InvalidHeaderValue;
use ipnet::IpNet;

use crate::config::{self, Access, BaseUrl, Compression, Config, Limits, ReadyRule, Routes, TokenExposure};
use crate::nodes::health::Watching;
use crate::nodes::{Nodes, Terms};
use crate::site::client::Client;
use crate::site::documents::{self, Documents};
use crate::site::prepared::{Parts, Site};
use crate::smart::exchange::TokenEndpoint;
use crate::smart::identity::TokenIdentity;
use crate::smart::key_ring::KeyRings;
use crate::smart::refresher::TokenTasks;
use crate::smart::signer::{SharedSigner, Signer};
use crate::smart::token_cell::TokenHandle;

/// Everything that one request needs to know besides itself.
#[derive(Debug)]
pub struct Runtime {
    /// The sites; requests know theirs by index.
    pub sites: Vec<Arc<Site>>,
    /// What holds for all of them.
    pub settings: Settings,
}

/// What holds for all sites.
#[derive(Debug)]
pub struct Settings {
    /// The paths of the local routes.
    pub routes: Routes,
    /// Where callers find the gateway, when that is not where they say they call.
    pub public_url: Option<BaseUrl>,
    /// Whose word about callers is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Who may call.
    pub access: Access,
    /// To whom the access token is shown.
    pub token_exposure: TokenExposure,
    /// What a caller's connection may take.
    pub limits: Limits,
    /// Of answers.
    pub compression: Compression,
    /// When the gateway is ready.
    pub ready: ReadyRule,
}

impl Settings {
    /// Takes a configuration apart: its sites, and what holds for all of them.
    #[must_use]
    pub fn of(config: Config) -> (Vec<config::Site>, Self) {
        let Config { sites, routes, public_url, trusted_proxies, access, token_exposure, limits, compression, ready, .. } =
            config;
        (sites, Self { routes, public_url, trusted_proxies, access, token_exposure, limits, compression, ready })
    }
}

/// A configured host name that cannot stand in a `Host` field.
#[derive(Debug, thiserror::Error)]
#[error("sites.{site}.openemr: the host name cannot be used")]
pub struct UnusableHost {
    site: String,
    source: InvalidHeaderValue,
}

/// Starts what goes on in the background for the sites.
#[derive(Clone)]
pub struct Tasks {
    /// Keeps their tokens.
    pub tokens: TokenTasks,
    /// Looks after their nodes.
    pub nodes: Watching,
    /// Follows the rotations of their keys.
    pub keys: KeyRings,
}

impl Runtime {
    /// Makes the sites ready. What `previous` has and this configuration does not change is carried over: tokens, the
    /// knowledge of OpenEMR's addresses, pooled connections.
    ///
    /// # Errors
    /// A host name that no Host field can hold.
    pub fn build(
        sites: Vec<config::Site>,
        settings: Settings,
        tasks: &Tasks,
        previous: Option<&Self>,
    ) -> Result<Self, UnusableHost> {
        let mut made: Vec<Arc<Site>> = Vec::with_capacity(sites.len());
        for config in sites {
            let config = Arc::new(config);
            let name = config.name.as_str().to_owned();
            let earlier = || made.iter().chain(previous.iter().flat_map(|runtime| &runtime.sites));
            let terms = Terms::of(&config);
            let same_nodes = earlier().find(|site| *site.nodes.terms() == terms).map(|site| Arc::clone(&site.nodes));
            let nodes = match same_nodes {
                Some(nodes) => nodes,
                None => look_after(&tasks.nodes, Nodes::new(&config).map_err(|source| UnusableHost { site: name, source })?),
            };
            let identity = TokenIdentity::of(&config);
            let has_this_token = |site: &&Arc<Site>| site.identity == identity;
            let same_token = earlier().find(has_this_token);
            let keys = keys(&tasks.keys, &config, made.iter().find(has_this_token));
            let signer = same_token.map_or_else(|| shared(&keys), |site| Arc::clone(&site.signer));
            let token = match same_token {
                Some(site) => Arc::clone(&site.token),
                None => start(&tasks.tokens, &config, &signer, &nodes),
            };
            let is_first = made.is_empty();
            let same_documents = |site: &&Arc<Site>| site.documents.terms() == &documents::Terms::of(&config);
            let documents = earlier().find(same_documents).map(|site| Arc::clone(&site.documents));
            let documents = documents.unwrap_or_else(|| Arc::new(Documents::new(&config)));
            let client = Client { nodes: Arc::clone(&nodes), connector: tasks.tokens.connector() };
            let parts = Parts { config, identity, nodes, token, keys, signer, client, documents };
            made.push(Arc::new(Site::new(parts, &settings.routes, is_first)));
        }
        Ok(Self { sites: made, settings })
    }

    /// Makes tokens that are older than this runtime be renewed at its nodes and with its keys from now on. Building a
    /// runtime touches nothing of the one that runs: it may yet be refused.
    pub fn put_in_force(&self) {
        // Of several sites that share a token, the first one's key signs.
        for site in self.sites.iter().rev() {
            site.keys.adopt(&site.config);
            site.signer.store(Arc::clone(&site.keys));
            site.token.ask_at(Arc::clone(&site.nodes));
        }
    }

    /// Looks up names that nobody has looked up yet, so that a runtime that is swapped in can be used at once.
    pub async fn look_up_new_names(&self) {
        for site in &self.sites {
            site.nodes.resolve_new().await;
        }
    }
}

/// The keys of a site; those of one that was made before, where it has the same token and the same files.
fn keys(rings: &KeyRings, config: &Arc<config::Site>, made: Option<&Arc<Site>>) -> Arc<Signer> {
    let shared = made.filter(|site| site.keys.is_of(&config.private_key_file, &config.jwks_file));
    shared.map_or_else(|| rings.signer(config), |site| Arc::clone(&site.keys))
}

fn shared(keys: &Arc<Signer>) -> SharedSigner {
    Arc::new(ArcSwap::new(Arc::clone(keys)))
}

fn start(tasks: &TokenTasks, config: &Arc<config::Site>, signer: &SharedSigner, nodes: &Arc<Nodes>) -> Arc<TokenHandle> {
    tasks.start(TokenEndpoint::new(Arc::clone(config), Arc::clone(signer), Arc::clone(nodes), tasks.connector()))
}

fn look_after(watching: &Watching, nodes: Nodes) -> Arc<Nodes> {
    let nodes = Arc::new(nodes);
    watching.start(&nodes);
    nodes
}
