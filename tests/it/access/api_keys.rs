//! API keys of clients, made from the clients' names.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The secret of a client's key.
pub fn secret_of(client: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, client.as_bytes()))
}

/// What the configuration knows of it.
pub fn digest_of(client: &str) -> String {
    format!("sha256:{}", hex(digest(&SHA256, secret_of(client).as_bytes()).as_ref()))
}

/// The key of a client.
pub fn key_of(client: &str) -> String {
    let secret = secret_of(client);
    format!("oegw_{}_{secret}", &hex(digest(&SHA256, secret.as_bytes()).as_ref())[..16])
}

/// The value of `Authorization` with a key as the password of Basic.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A client with its key, and with every right.
pub fn client(name: &str) -> Value {
    json!({"policy": "everything", "api_keys": [digest_of(name)]})
}
