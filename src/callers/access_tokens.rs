//! The token server of this process: gives SMART clients access tokens, and knows its own again.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use log::{error, warn};
use serde::Serialize;
use uuid::Uuid;

use crate::access::clients::{Client, Clients, SmartKeys};
use crate::access::policy::Policy;
use crate::callers::assertion::{Assertion, Verified};
use crate::callers::grant::{granted, rules};
use crate::callers::issued::{self, Grant, Issued, LIFETIME, NotIssued};
use crate::callers::jwk_sets::JwkSets;
use crate::callers::key_file::{KeyFile, NoTokenKeys};
use crate::callers::public_keys::PublicKeys;
use crate::callers::recent::{Known, Recent};
use crate::callers::replay::{NotOnce, Replay};
use crate::callers::token_server::{self, ErrorCode, OAuthError};
use crate::callers::used_folder::UsedFolder;
use crate::callers::used_in_store;
use crate::keys::sha256;
use crate::store::shared_store::SharedStore;
use crate::store::store_error::StoreError;

/// The token server: its keys, and the assertions that were used.
#[derive(Debug)]
pub(crate) struct AccessTokens {
    keys: KeyFile,
    replay: Arc<Replay>,
    used: UsedFolder,
    recent: Recent,
}

/// A request for an access token.
pub(crate) struct Asked<'a> {
    /// The clients.
    pub(crate) clients: &'a Clients,
    /// The JWK Sets of clients that have a URL.
    pub(crate) jwk_sets: &'a JwkSets,
    /// The name of the site.
    pub(crate) site: &'a str,
    /// The body.
    pub(crate) form: &'a [u8],
    /// The store that remembers used assertions for all gateways.
    pub(crate) store: Option<&'a SharedStore>,
    /// The URLs by which callers know this token endpoint.
    pub(crate) audiences: &'a [String],
    /// Whether the request comes from one of these networks.
    pub(crate) is_from: &'a (dyn Fn(&[IpNet]) -> bool + Send + Sync),
    /// The time, in seconds since 1970.
    pub(crate) now: i64,
}

/// Whose an access token is.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    /// The client.
    pub(crate) client: Arc<Client>,
    /// What the token permits.
    pub(crate) policy: Arc<Policy>,
}

/// The answer with an access token (RFC 6749 section 5.1).
#[derive(Serialize)]
pub(crate) struct Given {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
    /// Who got it.
    #[serde(skip)]
    pub(crate) client: Arc<str>,
}

impl AccessTokens {
    /// A token server with the keys of this file; `earlier` has used the same assertions, and has the keys if it is the same file.
    #[must_use]
    pub(crate) fn new(path: &Path, earlier: Option<&Arc<Self>>) -> Arc<Self> {
        match earlier {
            Some(earlier) if earlier.keys.is_at(path) => Arc::clone(earlier),
            earlier => {
                let replay = earlier.map(|earlier| Arc::clone(&earlier.replay)).unwrap_or_default();
                Arc::new(Self { keys: KeyFile::new(path), replay, used: UsedFolder::beside(path), recent: Recent::default() })
            }
        }
    }

    /// Whether any client gets access tokens.
    #[must_use]
    pub(crate) fn are_given(clients: &Clients) -> bool {
        clients.iter().any(|client| client.smart.is_some())
    }

    /// Reads the keys, or makes some where there are none.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn open(&self) -> Result<(), NoTokenKeys> {
        self.keys.open(Timestamp::now())
    }

    /// Reads the keys if there are any, and makes none.
    ///
    /// # Errors
    /// The file is there, and cannot be used.
    pub(crate) fn check(&self) -> Result<(), NoTokenKeys> {
        self.keys.check()
    }

    /// Whose access token this is, one of the gateway's own, and what it permits at a site, or at any: the policy that the client
    /// has now, narrowed to the scopes of the token. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// The token is not good, or its client is none any more.
    pub(crate) fn holder(&self, token: &str, site: Option<&str>, clients: &Clients, now: i64) -> Result<Holder, NotIssued> {
        let digest = sha256(token.as_bytes());
        if let Some(known) = self.recent.find(&digest).filter(|known| self.holds(known, site, clients, now)) {
            return Ok(Holder { client: Arc::clone(&known.client), policy: Arc::clone(&known.policy) });
        }
        let (Issued { client, scope, exp, site: its, .. }, keys) = issued::verify(&self.keys, token, site, now)?;
        let client = clients.named(&client).filter(|client| client.smart.is_some()).ok_or(NotIssued::NoClient)?;
        let holder = Holder { client: Arc::clone(client), policy: Arc::new(client.policy.narrowed_to(&rules(&scope))) };
        let Holder { client, policy } = holder.clone();
        self.recent.keep(Known { token: digest, keys, site: its, exp, client, policy });
        Ok(holder)
    }

    /// Whether what is known of a token is what would be found again.
    fn holds(&self, known: &Known, site: Option<&str>, clients: &Clients, now: i64) -> bool {
        now < known.exp
            && site.is_none_or(|site| known.site == site)
            && clients.named(&known.client.name).is_some_and(|client| Arc::ptr_eq(client, &known.client))
            && self.keys.are(&known.keys)
    }

    /// Gives the client that asks an access token.
    ///
    /// # Errors
    /// It gets none.
    pub(crate) async fn give(self: &Arc<Self>, asked: Asked<'_>) -> Result<Given, OAuthError> {
        let request = token_server::read(asked.form)?;
        let assertion = Assertion::parse(&request.assertion)?;
        let (client, keys) = registered(&asked, assertion.client()?)?;
        if request.client_id.is_some_and(|named| *named != *client.name) {
            return Err(OAuthError::client("client_id names another client than the client_assertion."));
        }
        let set = key_set(keys, asked.jwk_sets, &assertion).await?;
        let verified = assertion.verify(set.set().keys().iter(), asked.audiences, asked.now)?;
        may_have_tokens(client, &asked)?;
        self.use_once(&client.name, verified, &asked).await?;
        let scopes = granted(&client.policy, &request.scopes);
        if scopes.is_empty() {
            let text = "The client's policy has none of the scopes that were asked for.";
            return Err(OAuthError::new(ErrorCode::InvalidScope, text));
        }
        let scope = scopes.join(" ");
        let access_token = self.sign(Grant { client: &client.name, site: asked.site, scope: &scope }, asked.now)?;
        Ok(Given { access_token, token_type: "bearer", expires_in: LIFETIME.as_secs(), scope, client: Arc::clone(&client.name) })
    }

    /// Uses an assertion up: for this process and those that share its folder, and for all gateways where there is a store.
    async fn use_once(self: &Arc<Self>, client: &str, assertion: Verified, asked: &Asked<'_>) -> Result<(), OAuthError> {
        let Verified { jti, until } = assertion;
        let now = asked.now;
        self.replay.once(client, &jti, until, now).map_err(not_once)?;
        if let Some(store) = asked.store
            && !used_in_store::first(store, client, &jti, until.saturating_sub(now)).await.map_err(not_looked_up)?
        {
            return Err(not_once(NotOnce::Replayed));
        }
        let is_shared = asked.store.is_some();
        let (server, client) = (Arc::clone(self), client.to_owned());
        let on_disk = move || {
            // The disk also tells whether there is a newer key.
            if let Err(problem) = server.open() {
                error!("no access token can be signed: {problem}");
            }
            // Also where there is a store: it may be taken out, or lose its data.
            server.used.first(&client, &jti, until, now).unwrap_or_else(|problem| {
                if !is_shared {
                    warn!("other processes do not learn of used assertions: {}: {problem}", server.used.path().display());
                }
                true
            })
        };
        match tokio::task::spawn_blocking(on_disk).await {
            Ok(false) => Err(not_once(NotOnce::Replayed)),
            Ok(true) => Ok(()),
            Err(_) => Err(no_key()),
        }
    }

    fn sign(&self, grant: Grant<'_>, now: i64) -> Result<String, OAuthError> {
        let keys = self.keys.keys();
        let key = keys.as_ref().and_then(|keys| keys.signing()).ok_or_else(no_key)?;
        issued::issue(key, grant, now, Uuid::new_v4()).map_err(|_| no_key())
    }
}

/// The client of this name, with the keys that it has registered.
fn registered<'a>(asked: &Asked<'a>, name: &str) -> Result<(&'a Arc<Client>, &'a SmartKeys), OAuthError> {
    let client = asked.clients.named(name).and_then(|client| Some((client, client.smart.as_ref()?)));
    client.ok_or(OAuthError::client("No client of this name has keys for this token endpoint (access.clients.NAME.smart)."))
}

/// The keys of a client. The `jku` in the header of its assertion must be the URL that it has registered.
async fn key_set(keys: &SmartKeys, sets: &JwkSets, assertion: &Assertion<'_>) -> Result<Arc<PublicKeys>, OAuthError> {
    let registered = match keys {
        SmartKeys::Set(_) => None,
        SmartKeys::Remote(keys) => Some(keys.url.as_str()),
    };
    if assertion.jku().is_some() && assertion.jku() != registered {
        return Err(OAuthError::client("The jku of the client_assertion is not the URL that the client has registered."));
    }
    match keys {
        SmartKeys::Set(text) => PublicKeys::parse(text.as_bytes())
            .map(Arc::new)
            .map_err(|error| OAuthError::client(format!("The JWK Set that the client has registered {error}."))),
        SmartKeys::Remote(keys) => sets.keys(keys, Some(assertion.kid())).await.map_err(|_| {
            let text = "The JWK Set at the URL that the client has registered cannot be had at the moment.";
            OAuthError::new(ErrorCode::TemporarilyUnavailable, text)
        }),
    }
}

fn may_have_tokens(client: &Client, asked: &Asked<'_>) -> Result<(), OAuthError> {
    let refused = |text: &'static str| Err(OAuthError::new(ErrorCode::UnauthorizedClient, text));
    if !client.allow_from.as_deref().is_none_or(asked.is_from) {
        return refused("The client may not call from this address.");
    }
    if !client.policy.sites.as_ref().is_none_or(|sites| sites.iter().any(|site| site == asked.site)) {
        return refused("The client may not use this site.");
    }
    Ok(())
}

fn not_once(why: NotOnce) -> OAuthError {
    match why {
        NotOnce::Replayed => {
            OAuthError::client("The jti of the client_assertion was used before: make a new one for each request.")
        }
        NotOnce::Full => {
            OAuthError::client("The client has used too many assertions of late: use an access token until it expires.")
        }
    }
}

/// Without the store nobody knows whether the assertion was used at another gateway.
fn not_looked_up(error: StoreError) -> OAuthError {
    warn!("no access token was given: whether its assertion was used before is not known, since the store {error}");
    let text = "The gateway cannot look up at the moment whether the client_assertion was used before: send a new one later.";
    OAuthError::new(ErrorCode::TemporarilyUnavailable, text)
}

fn no_key() -> OAuthError {
    OAuthError::new(ErrorCode::TemporarilyUnavailable, "The gateway cannot sign an access token at the moment.")
}
