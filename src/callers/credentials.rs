//! What the check of credentials keeps between requests: the identity providers, and the JWK Sets of these and of clients.

use std::sync::Arc;

use crate::access::caller::Caller;
use crate::access::clients::{Client, Clients, SmartKeys};
use crate::callers::jwk_sets::JwkSets;
use crate::callers::jwt::{self, NotTaken, Provider};
use crate::nodes::client;

/// The check of credentials of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    providers: Vec<Provider>,
    sets: JwkSets,
}

impl Callers {
    /// The check for these clients. `earlier` knows JWK Sets that need not be fetched again.
    #[must_use]
    pub(crate) fn new(clients: &Clients, client: &client::Client, earlier: Option<&Self>) -> Self {
        let of_issuers = clients.issuers.iter().map(|issuer| (&issuer.keys, "access.issuers"));
        let of_clients = clients.iter().filter_map(|client| match client.smart.as_ref()? {
            SmartKeys::Remote(keys) => Some((keys, "access.clients")),
            SmartKeys::Set(_) => None,
        });
        let sets = JwkSets::new(of_issuers.chain(of_clients), client, earlier.map(|earlier| &earlier.sets));
        Self { providers: clients.issuers.iter().map(Provider::new).collect(), sets }
    }

    /// The JWK Sets that have a URL.
    #[must_use]
    pub(crate) fn jwk_sets(&self) -> &JwkSets {
        &self.sets
    }

    /// The client whose JWT of an identity provider this is, and who calls with it.
    ///
    /// # Errors
    /// The token is not taken.
    pub(crate) async fn of_jwt(&self, token: &str, clients: &Clients) -> Result<(Arc<Client>, Caller), NotTaken> {
        jwt::caller(token, &self.providers, &self.sets, clients).await
    }
}
