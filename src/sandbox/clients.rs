//! The registered clients.

use std::collections::HashMap;

use serde_json::Value;

/// Where a client's keys are.
#[derive(Clone, Debug)]
pub enum Keys {
    /// A JWK Set, given at registration.
    Inline(Value),
    /// An `http://` URL that is fetched at every token request, unless fetched sets are kept.
    Uri(String),
}

/// A client of the authorization server.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// Its public keys.
    pub keys: Keys,
    /// The scopes it is registered for.
    pub scopes: Vec<String>,
    /// What an administrator ticks; new clients with system scopes are not.
    pub enabled: bool,
}

/// The table of clients, by id.
pub type Clients = HashMap<String, Client>;
