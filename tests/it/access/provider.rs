//! An identity provider: keys, the JWT that it signs, and a server of its JWK Set that counts how often it is asked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::certificates::Ca;

pub const ISSUER: &str = "https://id.example.org/realms/emr";
const RSA: &[u8] = include_bytes!("../../keys/rsa2048-pkcs1.pem");

/// A running one, with the keys `rsa` for RS256, the same as `smart` for RS384, and `ec` for ES256.
pub struct Provider {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    rsa: EncodingKey,
    ec: EncodingKey,
}

#[derive(Default)]
struct Shared {
    set: Mutex<Value>,
    asked: AtomicUsize,
    is_down: AtomicBool,
}

impl Provider {
    pub fn start() -> Self {
        Self::serving(None)
    }

    /// One with a certificate of this CA.
    pub fn start_tls(ca: &Ca) -> Self {
        Self::serving(Some(Arc::new(ca.server(1))))
    }

    fn serving(tls: Option<Arc<ServerConfig>>) -> Self {
        let rsa = pem::parse(RSA).unwrap();
        let public = aws_lc_rs::rsa::KeyPair::from_der(rsa.contents()).unwrap();
        let integer = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (n, e) = (public.public_key().modulus(), public.public_key().exponent());
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let (n, e) = (integer(n.big_endian_without_leading_zero()), integer(e.big_endian_without_leading_zero()));
        let set = json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": n, "e": e},
            {"kty": "RSA", "kid": "smart", "use": "sig", "alg": "RS384", "n": n, "e": e},
            {"kty": "EC", "crv": "P-256", "kid": "ec", "x": integer(x), "y": integer(y)},
        ]});
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let provider = Self {
            address: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            shared: Arc::new(Shared { set: Mutex::new(set), ..Shared::default() }),
            rsa: EncodingKey::from_rsa_der(rsa.contents()),
            ec: EncodingKey::from_ec_der(der.as_ref()),
        };
        let shared = Arc::clone(&provider.shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                let (stream, tls) = (stream.unwrap(), tls.clone());
                thread::spawn(move || match tls {
                    None => shared.serve(stream),
                    Some(tls) => shared.serve(StreamOwned::new(ServerConnection::new(tls).unwrap(), stream)),
                });
            }
        });
        provider
    }

    /// The URL of its JWK Set.
    pub fn jwks_uri(&self) -> String {
        format!("{}://{}/certs?tenant=emr", self.scheme, self.address)
    }

    /// The entry of `access.issuers`.
    pub fn issuer(&self) -> Value {
        json!({"issuer": ISSUER, "audience": "openemr-gateway", "jwks_uri": self.jwks_uri(), "algorithms": ["RS256", "ES256"], "client_claim": "azp"})
    }

    /// How often it was asked for its keys.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// From now on it answers nothing, or something again.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::SeqCst);
    }

    /// The claims of a good token.
    pub fn claims() -> Value {
        json!({"iss": ISSUER, "aud": "openemr-gateway", "azp": "lab-service", "exp": now() + 300})
    }

    /// A token with these claims, signed with `rsa`.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(Algorithm::RS256, Some("rsa"), claims)
    }

    pub fn sign_as(&self, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        let secret;
        let key = match algorithm {
            Algorithm::ES256 => &self.ec,
            Algorithm::HS256 => {
                secret = EncodingKey::from_secret(&self.modulus());
                &secret
            }
            _ => &self.rsa,
        };
        jsonwebtoken::encode(&header, claims, key).unwrap()
    }

    /// The modulus of the public RSA key.
    fn modulus(&self) -> Vec<u8> {
        let set = self.shared.set.lock().unwrap();
        URL_SAFE_NO_PAD.decode(set["keys"][0]["n"].as_str().unwrap()).unwrap()
    }
}

impl Shared {
    fn serve(&self, mut stream: impl Read + Write) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return;
            }
            head.push(byte[0]);
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return;
        }
        assert!(head.starts_with(b"GET /certs?tenant=emr HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
        let body = self.set.lock().unwrap().to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes());
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
