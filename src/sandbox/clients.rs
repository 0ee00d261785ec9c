//! The registered clients.

use std::collections::HashMap;

use serde_json::Value;

/// The public keys of a client.
#[derive(Clone, Debug)]
pub enum Keys {
    /// A JWK Set that was given at registration.
    Inline(Value),
    /// An `http://` URL, fetched at every token request unless fetched sets are cached.
    Uri(String),
}

/// A client of the authorization server.
#[derive(Clone, Debug)]
pub struct Client {
    /// The `client_id`.
    pub id: String,
    /// Its public keys.
    pub keys: Keys,
    /// The scopes that it is registered for.
    pub scopes: Vec<String>,
    /// Whether an administrator has enabled it; new clients with system scopes are disabled.
    pub enabled: bool,
}

/// The table of clients, by id.
pub(super) type Clients = HashMap<String, Client>;
