//! The registered clients and their keys.

use std::{collections::HashMap, time::Duration};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where a client's keys are.
#[derive(Clone, Debug)]
pub enum Keys {
    /// A JWK Set, given at registration.
    Inline(Value),
    /// An `http://` URL that is fetched at every token request.
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

/// Why a client's key could not be had. OpenEMR answers all of them with 401 invalid_client.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The JWK Set could not be fetched.
    #[error("the JWK Set could not be fetched: {0}")]
    Fetch(String),
    /// It is no JWK Set, or has no RSA key with n and e.
    #[error("no usable RSA key in the JWK Set")]
    NoKey,
}

/// An RSA public key of a client.
pub struct VerifyingKey {
    n: Vec<u8>,
    e: Vec<u8>,
}

impl VerifyingKey {
    /// Whether `signature` is this key's RS384 signature over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        RsaPublicKeyComponents { n: &self.n, e: &self.e }.verify(&RSA_PKCS1_2048_8192_SHA384, message, signature).is_ok()
    }
}

impl Client {
    /// The key OpenEMR verifies with: the first RSA key of the set. It never looks at `kid`.
    pub async fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        match &self.keys {
            Keys::Inline(set) => first_rsa_key(set),
            Keys::Uri(uri) => {
                let fetched = tokio::time::timeout(Duration::from_secs(5), fetch(uri)).await;
                let bytes = fetched.map_err(|_| KeyError::Fetch("no answer within 5 s".to_owned()))??;
                let set = serde_json::from_slice(&bytes).map_err(|error| KeyError::Fetch(error.to_string()))?;
                first_rsa_key(&set)
            }
        }
    }
}

fn first_rsa_key(set: &Value) -> Result<VerifyingKey, KeyError> {
    let keys = set.get("keys").and_then(Value::as_array).ok_or(KeyError::NoKey)?;
    let key = keys.iter().find(|key| key.get("kty").and_then(Value::as_str) == Some("RSA")).ok_or(KeyError::NoKey)?;
    let member = |name: &str| {
        let text = key.get(name).and_then(Value::as_str).ok_or(KeyError::NoKey)?;
        URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| KeyError::NoKey)
    };
    Ok(VerifyingKey { n: member("n")?, e: member("e")? })
}

/// A plain HTTP GET, 64 KiB at most.
async fn fetch(uri: &str) -> Result<Vec<u8>, KeyError> {
    let failed = |reason: &str| KeyError::Fetch(format!("{uri}: {reason}"));
    let parsed: http::Uri = uri.parse().map_err(|_| failed("not a URL"))?;
    let host = parsed.host().ok_or_else(|| failed("no host"))?;
    if parsed.scheme_str() != Some("http") {
        return Err(failed("only http:// is fetched by the stand-in"));
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
