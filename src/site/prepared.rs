//! A site made ready for requests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::access::clients::Clients;
use crate::callers::grant::scope_text;
use crate::config::{self, Config, RoutePath};
use crate::fhir::capabilities::Capabilities;
use crate::fhir::capability_statement::Authentication;
use crate::nodes::Nodes;
use crate::openemr::mend::repairs::Mended;
use crate::site::capability_cache::{CapabilityCache, Origin, Statement};
use crate::site::client::SiteClient;
use crate::site::cors::Policy;
use crate::site::flights::{Flights, WriteCount};
use crate::site::kept_pages::{KeptPages, PageMemory};
use crate::site::links::{OpenEmrBases, SiteLinks};
use crate::site::mending::Mending;
use crate::site::metadata::{Document, Metadata};
use crate::site::patient_groups::{self, Members, PatientGroups};
use crate::site::turns::Turns;
use crate::smart::identity::TokenIdentity;
use crate::smart::signer::{SharedSigner, Signer};
use crate::smart::token_cell::TokenHandle;
use crate::store::shared_store::SharedStore;

/// How long a request waits for the CapabilityStatement that tells OpenEMR's own base URL. Later requests find it in memory.
const BASES_WITHIN: Duration = Duration::from_secs(1);

/// The most scopes that are announced to clients.
const MOST_SCOPES: usize = 200;

/// One OpenEMR site behind the gateway.
#[derive(Debug)]
pub(crate) struct Site {
    /// Its configuration.
    pub config: Arc<config::Site>,
    /// The servers that its FHIR requests go to.
    pub nodes: Arc<Nodes>,
    /// What identifies its token: sites with the same identity share one.
    pub identity: TokenIdentity,
    /// Its access token.
    pub token: Arc<TokenHandle>,
    /// Whether it was there when the process started, or has had a token before the latest reload.
    pub is_established: bool,
    /// Its signing keys, whose public halves are in its JWK Set.
    pub keys: Arc<Signer>,
    /// Signs the client assertions for its token; that of another site when the two share the token.
    pub signer: SharedSigner,
    /// Sends the gateway's own requests.
    pub client: SiteClient,
    /// Its CapabilityStatement as OpenEMR wrote it.
    pub capability_cache: Arc<CapabilityCache>,
    /// The turns of its conditional creates.
    pub turns: Arc<Turns>,
    /// Its requests that share an answer of OpenEMR's.
    pub flights: Arc<Flights>,
    /// Its answers to searches that are kept for further pages.
    pub kept_pages: Arc<KeptPages>,
    /// The members of the Groups that policies name.
    pub patient_groups: PatientGroups,
    /// The store that the gateways share, if they share one.
    pub store: Option<SharedStore>,
    /// Mends its resources.
    pub mending: Mending,
    /// Its documents as callers get them.
    pub metadata: Metadata,
    /// What web pages of other origins may do; `None` when they may do nothing.
    pub cors: Option<Policy>,
    /// Its base URLs, for the links in requests and answers.
    pub links: SiteLinks,
    /// The path of its FHIR API; `None` when `routes.fhir` is switched off.
    pub fhir_path: Option<String>,
    /// The path of its JWK Set; `None` when `routes.jwks` is switched off.
    pub jwks_path: Option<String>,
    /// The path of the token endpoint for clients; `None` when `routes.smart_token` is switched off, or no client uses it.
    pub token_path: Option<String>,
}

/// The parts of a site that can be shared with another one or with the runtime before a reload.
#[derive(Debug)]
pub(crate) struct Parts {
    /// See [`Site::config`].
    pub config: Arc<config::Site>,
    /// See [`Site::identity`].
    pub identity: TokenIdentity,
    /// See [`Site::nodes`].
    pub nodes: Arc<Nodes>,
    /// See [`Site::token`].
    pub token: Arc<TokenHandle>,
    /// See [`Site::is_established`].
    pub is_established: bool,
    /// See [`Site::keys`].
    pub keys: Arc<Signer>,
    /// See [`Site::signer`].
    pub signer: SharedSigner,
    /// See [`Site::client`].
    pub client: SiteClient,
    /// See [`Site::capability_cache`].
    pub capability_cache: Arc<CapabilityCache>,
    /// See [`Site::turns`].
    pub turns: Arc<Turns>,
    /// How many writes have begun or ended.
    pub writes: Arc<WriteCount>,
    /// The memory for answers that are kept for further pages.
    pub page_memory: Arc<PageMemory>,
    /// See [`Site::patient_groups`].
    pub patient_groups: PatientGroups,
    /// See [`Site::store`].
    pub store: Option<SharedStore>,
    /// How often each repair of a resource was made.
    pub mended: Arc<Mended>,
}

impl Site {
    /// Makes a site ready. The first site is served at the routes themselves, each further one below `/{site}`.
    #[must_use]
    pub(crate) fn new(parts: Parts, in_whole: &Config, is_first: bool) -> Self {
        let (routes, clients) = (&in_whole.routes, &in_whole.access.clients);
        let Parts {
            config,
            identity,
            nodes,
            token,
            is_established,
            keys,
            signer,
            client,
            capability_cache,
            turns,
            writes,
            page_memory,
            patient_groups,
            store,
            mended,
        } = parts;
        let prefix = if is_first { String::new() } else { format!("/{}", config.name.as_str()) };
        let below = |route: &Option<RoutePath>| route.as_ref().map(|path| format!("{prefix}{path}"));
        let authentication = authentication(clients, config.name.as_str(), routes.smart_token.is_some());
        let is_smart = matches!(authentication, Authentication::Smart { .. });
        Self {
            fhir_path: below(&routes.fhir),
            jwks_path: below(&routes.jwks),
            token_path: below(&routes.smart_token).filter(|_| is_smart),
            metadata: Metadata::new(&config, authentication),
            cors: config.answers.cors.as_ref().map(Policy::new),
            links: SiteLinks::new(&config),
            mending: Mending::new(&config, mended),
            kept_pages: Arc::new(KeptPages::new(config.answers.share_pages, page_memory, Arc::clone(&writes))),
            config,
            identity,
            nodes,
            token,
            is_established,
            keys,
            signer,
            client,
            capability_cache,
            turns,
            flights: Arc::new(Flights::new(writes)),
            patient_groups,
            store,
        }
    }

    /// The site's name in OpenEMR.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// The site's CapabilityStatement as OpenEMR wrote it, fetched or from memory; `None` when it cannot be had.
    pub(crate) async fn capability_statement(&self) -> Option<Arc<Statement>> {
        let origin = Origin { client: &self.client, site: self.name(), read_timeout: self.config.upstream.timeouts.read };
        self.capability_cache.statement(origin).await
    }

    /// The patients in a Group at OpenEMR, read or from memory.
    pub(crate) async fn patient_group(&self, id: &str) -> Members {
        let bases = self.openemr_bases();
        let origin = patient_groups::Origin {
            client: &self.client,
            site: self.name(),
            read_timeout: self.config.upstream.timeouts.read,
            bases: &bases.texts,
        };
        self.patient_groups.members(id, origin).await
    }

    /// What OpenEMR can do, as its CapabilityStatement tells; `None` when that cannot be had.
    pub(crate) async fn capabilities(&self) -> Option<Arc<Capabilities>> {
        self.capability_statement().await.map(|statement| Arc::clone(&statement.capabilities))
    }

    /// A CapabilityStatement as a caller gets it that knows this site by the base URL `public`; `None` when OpenEMR's
    /// document cannot be read.
    #[must_use]
    pub(crate) fn shown_statement(&self, statement: &Statement, public: &str) -> Option<Arc<Document>> {
        let replaced = self.config.answers.repairs.links.then(|| self.openemr_bases());
        self.metadata.capability_statement(statement, replaced.as_deref(), public, &self.token_url(public))
    }

    /// The URL of the token endpoint for a caller that knows this site by the base URL `public`; empty where there is none.
    #[must_use]
    pub(crate) fn token_url(&self, public: &str) -> String {
        let root = self.fhir_path.as_deref().and_then(|path| public.strip_suffix(path)).unwrap_or(public);
        self.token_path.as_deref().map(|path| format!("{root}{path}")).unwrap_or_default()
    }

    /// The base URLs by which OpenEMR is known by now.
    #[must_use]
    pub(crate) fn openemr_bases(&self) -> Arc<OpenEmrBases> {
        self.links.openemr(self.capability_cache.known())
    }

    /// Waits a moment for OpenEMR's own base URL, which only its CapabilityStatement tells. Without it, the configured bases
    /// are used.
    pub(crate) async fn learn_bases(&self) {
        if self.capability_cache.known().is_none() {
            // A failure is logged by the fetch, and a fetch that takes longer goes on for other requests.
            let _ = tokio::time::timeout(BASES_WITHIN, self.capabilities()).await;
        }
    }
}

/// How the clients of a site authenticate. `has_endpoint`: whether the token endpoint is served.
fn authentication(clients: &Clients, site: &str, has_endpoint: bool) -> Authentication {
    if clients.is_empty() {
        return Authentication::Address;
    }
    let is_here = |sites: &Option<Vec<String>>| sites.as_ref().is_none_or(|sites| sites.iter().any(|name| name == site));
    let smart = clients.iter().filter(|client| has_endpoint && client.smart.is_some() && is_here(&client.policy.sites));
    let (mut is_smart, mut scopes) = (false, BTreeSet::new());
    for client in smart {
        is_smart = true;
        scopes.extend(client.policy.rules.iter().take(MOST_SCOPES.saturating_sub(scopes.len())).map(scope_text));
    }
    if is_smart { Authentication::Smart { scopes: scopes.into_iter().collect() } } else { Authentication::Credentials }
}
