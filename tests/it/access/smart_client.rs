//! A client that speaks SMART Backend Services, written without the gateway's code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA384};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::gateway::Gateway;
use crate::support::http::{Answer, Caller};
use crate::support::keys;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

enum Key {
    Rsa(Box<RsaKeyPair>),
    P384(EcdsaKeyPair),
}

/// A client with its key.
pub struct SmartClient {
    pub name: &'static str,
    key: Key,
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SmartClient {
    /// With the RSA key of all tests.
    pub fn rs384(name: &'static str) -> Self {
        let pem = fs::read(keys("RS384").join("private_key.pem")).unwrap();
        let der = pem::parse(pem).unwrap();
        Self { name, key: Key::Rsa(Box::new(RsaKeyPair::from_pkcs8(der.contents()).unwrap())) }
    }

    /// With a new key.
    pub fn es384(name: &'static str) -> Self {
        Self { name, key: Key::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()) }
    }

    pub fn alg(&self) -> &'static str {
        match self.key {
            Key::Rsa(_) => "RS384",
            Key::P384(_) => "ES384",
        }
    }

    pub fn jwk_set(&self) -> Value {
        let jwk = match &self.key {
            Key::Rsa(pair) => {
                let public = pair.public_key();
                let n = encoded(public.modulus().big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": "k", "n": n, "e": encoded(public.exponent().big_endian_without_leading_zero())})
            }
            Key::P384(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                json!({"kty": "EC", "crv": "P-384", "kid": "k", "x": encoded(&point[..48]), "y": encoded(&point[48..])})
            }
        };
        json!({"keys": [jwk]})
    }

    /// The client as the configuration has it, with its key set in `folder`; `policy`: the keys of its policy.
    pub fn configured(&self, folder: &Path, policy: &Value) -> Value {
        let file = folder.join(format!("{}.jwks.json", self.name));
        fs::write(&file, self.jwk_set().to_string()).unwrap();
        let mut client = policy.clone();
        client["smart"] = json!({"jwks": file});
        client
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encoded(header.to_string()), encoded(claims.to_string()));
        let signature = match &self.key {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA384, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Key::P384(pair) => pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{message}.{}", encoded(signature))
    }

    pub fn header(&self) -> Value {
        json!({"alg": self.alg(), "kid": "k", "typ": "JWT"})
    }

    pub fn claims(&self, audience: &str) -> Value {
        json!({"iss": self.name, "sub": self.name, "aud": audience, "exp": now() + 240, "jti": Uuid::new_v4().to_string()})
    }

    pub fn assertion(&self, audience: &str) -> String {
        self.sign(&self.header(), &self.claims(audience))
    }

    /// Asks a gateway for a token, by the name under which the tests call it.
    pub fn ask(&self, gateway: &Gateway, scope: &str) -> Answer {
        ask(&gateway.caller(), &form(&self.assertion(ENDPOINT), scope))
    }

    /// A token with these scopes.
    pub fn token(&self, gateway: &Gateway, scope: &str) -> String {
        let answer = self.ask(gateway, scope);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }
}

/// The token endpoint of the first site, by the name under which the tests call a gateway.
pub const ENDPOINT: &str = "http://gateway.example/auth/token";

pub fn form(assertion: &str, scope: &str) -> String {
    let mut pairs = BTreeMap::from([
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ]);
    if !scope.is_empty() {
        pairs.insert("scope", scope);
    }
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub fn ask(caller: &Caller, form: &str) -> Answer {
    ask_at(caller, "/auth/token", form)
}

pub fn ask_at(caller: &Caller, path: &str, form: &str) -> Answer {
    caller.post(path, &[FORM], form.as_bytes())
}

/// A GET with that token.
pub fn get(gateway: &Gateway, target: &str, token: &str) -> Answer {
    gateway.caller().send("GET", target, &[("Authorization", &format!("Bearer {token}"))], b"")
}

/// Checks that this is an OAuth error that no cache keeps, and gives its description.
pub fn refused(answer: &Answer, status: u16, error: &str) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    let said = answer.json();
    assert_eq!(said["error"], error, "{said}");
    assert_eq!((answer.field("cache-control"), answer.field("pragma")), (Some("no-store"), Some("no-cache")));
    said["error_description"].as_str().unwrap().to_owned()
}
