//! A site as requests meet it: everything made ready at start, nothing looked up by name.

use std::sync::Arc;

use crate::config::{self, Routes};
use crate::gateway::cors::Policy;
use crate::gateway::links::SiteLinks;
use crate::gateway::metadata::Metadata;
use crate::nodes::Nodes;
use crate::site::client::SiteClient;
use crate::site::documents::Documents;
use crate::smart::identity::TokenIdentity;
use crate::smart::signer::{SharedSigner, Signer};
use crate::smart::token_cell::TokenHandle;

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
}
