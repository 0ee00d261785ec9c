//! A site as requests meet it: everything made ready at start, nothing looked up by name.

use std::sync::Arc;

use crate::config::{self, Routes};
use crate::nodes::Nodes;
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
    /// Where callers find its FHIR API; `None` when `routes.fhir` is switched off.
    pub fhir_path: Option<String>,
    /// Where OpenEMR finds its JWK Set.
    pub jwks_path: Option<String>,
}

impl Site {
    /// Makes a site ready. The first site is served at the routes themselves, each further one below `/{site}`.
    #[must_use]
    pub fn new(
        config: Arc<config::Site>,
        identity: TokenIdentity,
        nodes: Arc<Nodes>,
        token: Arc<TokenHandle>,
        (keys, signer): (Arc<Signer>, SharedSigner),
        routes: &Routes,
        is_first: bool,
    ) -> Self {
        let prefix = if is_first { String::new() } else { format!("/{}", config.name.as_str()) };
        let below = |route: &Option<String>| route.as_ref().map(|path| format!("{prefix}{path}"));
        Self { keys, signer, fhir_path: below(&routes.fhir), jwks_path: below(&routes.jwks), config, identity, nodes, token }
    }

    /// The site's name in OpenEMR.
    #[must_use]
    pub fn name(&self) -> &str {
        self.config.name.as_str()
    }
}
