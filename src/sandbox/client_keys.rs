//! How the authorization server finds the key that verifies a client's assertion.
//!
//! Released versions of OpenEMR fetch a `jwks_uri` at every exchange, take the first RSA key and ignore `kid`. Newer
//! ones, and other servers, choose by `kid` and may cache the set.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::clients::{Client, Keys};

/// Why a client's key was not found.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    /// The JWK Set could not be fetched. OpenEMR answers 401 invalid_client.
    #[error("the JWK Set could not be fetched: {0}")]
    Fetch(String),
    /// There is no RSA key with n and e in it. OpenEMR answers 401 invalid_client.
    #[error("no usable RSA key in the JWK Set")]
    NoKey,
    /// The server chooses by `kid`, and the set has no such key or the assertion no `kid`.
    #[error("no RSA key with the kid of the assertion in the JWK Set")]
    UnknownKid,
}

/// An RSA public key of a client.
pub(super) struct VerifyingKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl VerifyingKey {
    /// Returns whether `signature` is this key's RS384 signature over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        RsaPublicKeyComponents { n: &self.n, e: &self.e }.verify(&RSA_PKCS1_2048_8192_SHA384, message, signature).is_ok()
    }
}

/// Finds the keys of clients.
#[derive(Debug, Default)]
pub(super) struct ClientKeys {
    strict_kid: AtomicBool,
    reuse_for: Mutex<Duration>,
    cached: Mutex<HashMap<String, (Instant, Value)>>,
    fetches: AtomicU64,
}

impl ClientKeys {
    /// Sets whether keys are chosen by `kid`, and an assertion without a known one is rejected.
    pub(super) fn set_strict_kid(&self, strict: bool) {
        self.strict_kid.store(strict, Ordering::Relaxed);
    }

    /// Sets how long a fetched JWK Set is reused, zero for not at all, and empties the cache.
    pub(super) fn set_cache(&self, duration: Duration) {
        *self.reuse_for.lock() = duration;
        self.cached.lock().clear();
    }

    /// Returns how many times a JWK Set was fetched.
    pub(super) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// Sets the number of fetches to zero.
    pub(super) fn reset_fetches(&self) {
        self.fetches.store(0, Ordering::Relaxed);
    }

    /// Returns the key that verifies an assertion with this `kid` in its header.
    pub(super) async fn verifying_key(&self, client: &Client, kid: Option<&str>) -> Result<VerifyingKey, KeyError> {
        match &client.keys {
            Keys::Inline(set) => self.choose(set, kid),
            Keys::Uri(uri) => self.choose(&self.fetched(uri).await?, kid),
        }
    }

    async fn fetched(&self, uri: &str) -> Result<Value, KeyError> {
        let reuse_for = *self.reuse_for.lock();
        if let Some((since, set)) = self.cached.lock().get(uri)
            && since.elapsed() < reuse_for
        {
            return Ok(set.clone());
        }
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let fetched = tokio::time::timeout(Duration::from_secs(5), fetch(uri)).await;
        let bytes = fetched.map_err(|_| KeyError::Fetch("no answer within 5 s".to_owned()))??;
        let set: Value = serde_json::from_slice(&bytes).map_err(|error| KeyError::Fetch(error.to_string()))?;
        if !reuse_for.is_zero() {
            self.cached.lock().insert(uri.to_owned(), (Instant::now(), set.clone()));
        }
        Ok(set)
    }

    fn choose(&self, set: &Value, kid: Option<&str>) -> Result<VerifyingKey, KeyError> {
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeyError::NoKey)?;
        let text = |key: &Value, name: &str| key.get(name).and_then(Value::as_str).map(str::to_owned);
        let mut rsa_keys = keys.iter().filter(|key| text(key, "kty").as_deref() == Some("RSA"));
        let key = if self.strict_kid.load(Ordering::Relaxed) {
            let kid = kid.ok_or(KeyError::UnknownKid)?;
            rsa_keys.find(|key| text(key, "kid").as_deref() == Some(kid)).ok_or(KeyError::UnknownKid)?
        } else {
            rsa_keys.next().ok_or(KeyError::NoKey)?
        };
        let member = |name: &str| {
            let text = text(key, name).ok_or(KeyError::NoKey)?;
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| KeyError::NoKey)
        };
        Ok(VerifyingKey { n: member("n")?, e: member("e")? })
    }
}

/// Fetches `uri` with a plain HTTP GET; reads at most 64 KiB.
async fn fetch(uri: &str) -> Result<Vec<u8>, KeyError> {
    let failed = |reason: &str| KeyError::Fetch(format!("{uri}: {reason}"));
    let parsed: http::Uri = uri.parse().map_err(|_| failed("not a URL"))?;
    let host = parsed.host().ok_or_else(|| failed("no host"))?;
    if parsed.scheme_str() != Some("http") {
        return Err(failed("the sandbox fetches http:// only"));
    }
    let port = parsed.port_u16().unwrap_or(80);
    let path = parsed.path_and_query().map_or("/", |path| path.as_str());
    let io = |error: std::io::Error| failed(&error.to_string());
    let mut stream = tokio::net::TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(io)?;
    // HTTP/1.0, so that the body simply ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(io)?;
    let mut bytes = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut bytes).await.map_err(io)?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| failed("no HTTP answer"))?;
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_ascii_lowercase();
    if head.split(' ').nth(1) != Some("200") {
        return Err(failed("not answered with 200"));
    }
    if head.contains("transfer-encoding") {
        return Err(failed("answered in chunks to an HTTP/1.0 request"));
    }
    Ok(bytes.split_off(end + 4))
}
