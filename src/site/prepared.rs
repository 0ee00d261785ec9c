//! A site as requests meet it: everything made ready at start, nothing looked up by name.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Routes};
use crate::fhir::capabilities::Capabilities;
use crate::nodes::Nodes;
use crate::site::client::SiteClient;
use crate::site::cors::Policy;
use crate::site::documents::{Documents, Origin, Statement};
use crate::site::links::{OpenEmrBases, SiteLinks};
use crate::site::metadata::{Document, Metadata};
use crate::smart::identity::TokenIdentity;
use crate::smart::signer::{SharedSigner, Signer};
use crate::smart::token_cell::TokenHandle;

/// How long a request waits for the CapabilityStatement that tells OpenEMR's own base URL. Later requests find it in memory.
const BASES_WITHIN: Duration = Duration::from_secs(1);

/// One OpenEMR site behind the gateway.
#[derive(Debug)]
pub struct Site {
    /// What the operator configured.
    pub config: Arc<config::Site>,
    /// Where its FHIR requests go.
    pub nodes: Arc<Nodes>,
    /// What its token is kept under.
    pub identity: TokenIdentity,
    /// Its token.
    pub token: Arc<TokenHandle>,
    /// Its keys, of which the JWK Set's route publishes the public halves.
    pub keys: Arc<Signer>,
    /// What signs for its token; of another site where that shares the token.
    pub signer: SharedSigner,
    /// The client for the gateway's own requests.
    pub client: SiteClient,
    /// What it says about itself.
    pub documents: Arc<Documents>,
    /// What of it callers are shown.
    pub metadata: Metadata,
    /// What web pages of other origins may do.
    pub cors: Option<Policy>,
    /// The links in its answers.
    pub links: SiteLinks,
    /// Where callers find its FHIR API; `None` when `routes.fhir` is switched off.
    pub fhir_path: Option<String>,
    /// Where OpenEMR finds its JWK Set.
    pub jwks_path: Option<String>,
}

/// What a site is made of.
#[derive(Debug)]
pub struct Parts {
    /// See [`Site::config`], and so on.
    pub config: Arc<config::Site>,
    /// See [`Site::identity`].
    pub identity: TokenIdentity,
    /// See [`Site::nodes`].
    pub nodes: Arc<Nodes>,
    /// See [`Site::token`].
    pub token: Arc<TokenHandle>,
    /// See [`Site::keys`].
    pub keys: Arc<Signer>,
    /// See [`Site::signer`].
    pub signer: SharedSigner,
    /// See [`Site::client`].
    pub client: SiteClient,
    /// See [`Site::documents`].
    pub documents: Arc<Documents>,
}

impl Site {
    /// Makes a site ready. The first site is served at the routes themselves, each further one below `/{site}`.
    #[must_use]
    pub fn new(parts: Parts, routes: &Routes, is_first: bool) -> Self {
        let Parts { config, identity, nodes, token, keys, signer, client, documents } = parts;
        let prefix = if is_first { String::new() } else { format!("/{}", config.name.as_str()) };
        let below = |route: &Option<String>| route.as_ref().map(|path| format!("{prefix}{path}"));
        Self {
            fhir_path: below(&routes.fhir),
            jwks_path: below(&routes.jwks),
            metadata: Metadata::new(&config),
            cors: config.cors.as_ref().map(Policy::new),
            links: SiteLinks::new(&config),
            config,
            identity,
            nodes,
            token,
            keys,
            signer,
            client,
            documents,
        }
    }

    /// The site's name in OpenEMR.
    #[must_use]
    pub fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// The site's CapabilityStatement as OpenEMR wrote it, fetched or from memory; `None` when it cannot be had.
    pub async fn capability_statement(&self) -> Option<Arc<Statement>> {
        let origin = Origin { client: &self.client, site: self.name(), read_timeout: self.config.timeouts.read };
        self.documents.statement(origin).await
    }

    /// What OpenEMR can do, as its CapabilityStatement tells; `None` when that cannot be had.
    pub async fn capabilities(&self) -> Option<Arc<Capabilities>> {
        self.capability_statement().await.map(|statement| Arc::clone(&statement.capabilities))
    }

    /// A CapabilityStatement as a caller gets it that knows this site by the base URL `public`; `None` when OpenEMR's
    /// document cannot be read.
    #[must_use]
    pub fn shown_statement(&self, statement: &Statement, public: &str) -> Option<Arc<Document>> {
        let replaced = self.config.repairs.links.then(|| self.openemr_bases());
        self.metadata.capability_statement(statement, replaced.as_deref(), public)
    }

    /// The base URLs by which OpenEMR is known by now.
    #[must_use]
    pub fn openemr_bases(&self) -> Arc<OpenEmrBases> {
        self.links.openemr(self.documents.known())
    }

    /// Waits a moment for OpenEMR's own base URL, which only its CapabilityStatement tells. Without it, the configured bases
    /// are used.
    pub async fn learn_bases(&self) {
        if self.documents.known().is_none() {
            // A failure is logged by the fetch, and a fetch that takes longer goes on for other requests.
            let _ = tokio::time::timeout(BASES_WITHIN, self.capabilities()).await;
        }
    }
}
