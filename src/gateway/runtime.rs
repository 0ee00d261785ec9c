//! What requests run on: the validated configuration, with everything that its sites need made ready.
//!
//! It never changes; a reload builds another one and swaps it in. A request takes it once and keeps it to its end.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::{self, Access, Limits, ReadyRule, Routes, TokenExposure};
use crate::gateway::server::StartError;
use crate::gateway::site::Site;
use crate::origin::Origin;
use crate::smart::exchange::TokenEndpoint;
use crate::smart::identity::TokenIdentity;
use crate::smart::key_ring::{KeyRings, SharedSigner, Signer};
use crate::smart::refresher::TokenTasks;
use crate::smart::token_cell::TokenHandle;

/// Everything that one request needs to know besides itself.
#[derive(Debug)]
pub struct Runtime {
    /// The sites; requests know theirs by index.
    pub sites: Vec<Arc<Site>>,
    /// The paths of the local routes.
    pub routes: Routes,
    /// Who may call.
    pub access: Access,
    /// To whom the access token is shown.
    pub token_exposure: TokenExposure,
    /// What a caller's connection may take.
    pub limits: Limits,
    /// When the gateway is ready.
    pub ready: ReadyRule,
}

/// What a runtime is built from, besides the sites.
#[derive(Debug)]
pub struct Settings {
    /// The paths of the local routes.
    pub routes: Routes,
    /// Who may call.
    pub access: Access,
    /// To whom the access token is shown.
    pub token_exposure: TokenExposure,
    /// What a caller's connection may take.
    pub limits: Limits,
    /// When the gateway is ready.
    pub ready: ReadyRule,
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
        tasks: &TokenTasks,
        rings: &KeyRings,
        previous: Option<&Self>,
    ) -> Result<Self, StartError> {
        let Settings { routes, access, token_exposure, limits, ready } = settings;
        let mut made: Vec<Arc<Site>> = Vec::with_capacity(sites.len());
        for config in sites {
            let config = Arc::new(config);
            let name = config.name.as_str().to_owned();
            let earlier = || made.iter().chain(previous.iter().flat_map(|runtime| &runtime.sites));
            let identity = TokenIdentity::of(&config);
            let has_this_token = |site: &&Arc<Site>| site.identity == identity;
            let same_token = earlier().find(has_this_token);
            let (keys, signer) = keys(rings, &config, made.iter().find(has_this_token), same_token);
            let token = same_token.map_or_else(|| start(tasks, &config, &signer), |site| Arc::clone(&site.token));
            let same_origin = earlier().find(|site| is_same_origin(&site.config, &config));
            let origin =
                same_origin.map_or_else(|| Arc::new(Origin::new(config.fhir_base(), &config)), |site| Arc::clone(&site.origin));
            let is_first = made.is_empty();
            let site = Site::new(config, identity, origin, token, (keys, signer), &routes, is_first)
                .map_err(|_| StartError::Host(name))?;
            made.push(Arc::new(site));
        }
        Ok(Self { sites: made, routes, access, token_exposure, limits, ready })
    }
}

/// The site's keys, and what signs for its token: one of this configuration's keys, also where the token is older.
fn keys(
    rings: &KeyRings,
    config: &Arc<config::Site>,
    made: Option<&Arc<Site>>,
    previous: Option<&Arc<Site>>,
) -> (Arc<Signer>, SharedSigner) {
    if let Some(site) = made {
        let is_shared = site.keys.is_of(&config.private_key_file, &config.jwks_file);
        let keys = if is_shared { Arc::clone(&site.keys) } else { rings.signer(config) };
        return (keys, Arc::clone(&site.signer));
    }
    let keys = rings.signer(config);
    let signer = previous.map_or_else(|| Arc::new(ArcSwap::new(Arc::clone(&keys))), |site| Arc::clone(&site.signer));
    signer.store(Arc::clone(&keys));
    (keys, signer)
}

fn start(tasks: &TokenTasks, config: &Arc<config::Site>, signer: &SharedSigner) -> Arc<TokenHandle> {
    let signer = Arc::clone(signer);
    tasks.start(TokenEndpoint::new(Arc::clone(config), signer, Origin::new(config.token_url(), config), tasks.connector()))
}

fn is_same_origin(one: &config::Site, other: &config::Site) -> bool {
    one.nodes == other.nodes
        && one.ca_file == other.ca_file
        && one.timeouts == other.timeouts
        && one.connections == other.connections
}
