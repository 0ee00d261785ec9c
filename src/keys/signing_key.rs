//! The private key that signs client assertions, read from the kinds of PEM files that people have.
//!
//! Decision: `docs/decisions/26-pem.md`.

use std::fmt;
use std::sync::{Arc, Weak};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA384};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::json;

use crate::keys::der::{self, KeyKind};
use crate::keys::key_error::KeyError;
use crate::keys::{not_pem, secret_pem};

/// The largest key file that is read, in bytes.
pub(crate) const MAX_KEY_FILE: usize = 64 * 1024;
/// The shortest RSA modulus that is accepted, in bits (RFC 7518 section 3.3).
pub(crate) const MIN_RSA_BITS: usize = 2048;
/// The longest RSA modulus that is accepted, in bits: what aws-lc-rs signs with.
pub(crate) const MAX_RSA_BITS: usize = 8192;

/// The signature algorithms of SMART Backend Services (SMART App Launch 2.2, "Asymmetric client authentication").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-384, the one that OpenEMR accepts.
    Rs384,
    /// ECDSA on P-384 with SHA-384.
    Es384,
}

impl Algorithm {
    /// Returns the `alg` of RFC 7518: `RS384` or `ES384`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs384 => "RS384",
            Self::Es384 => "ES384",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The public half of a signing key, its integers in base64url as in a JWK (RFC 7518 section 6).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// An RSA key; both integers without leading zero bytes.
    Rsa {
        /// The modulus.
        n: String,
        /// The exponent.
        e: String,
    },
    /// A key on P-384; both coordinates of 48 bytes.
    P384 {
        /// The x coordinate.
        x: String,
        /// The y coordinate.
        y: String,
    },
}

/// A private key that signs client assertions. `Debug` shows its public half alone. The private half is in the memory of
/// aws-lc, which zeroes it on drop.
pub struct SigningKey {
    public_key: PublicKey,
    pair: Pair,
}

enum Pair {
    Rsa(rsa::KeyPair),
    P384(EcdsaKeyPair),
}

/// The keys that are in use. A file that is read again, or that several sites name, adds no further copy of its key.
static IN_USE: Mutex<Vec<Weak<SigningKey>>> = Mutex::new(Vec::new());

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm())
            .field("public_key", &self.public_key)
            .field("private_key", &"[redacted]")
            .finish()
    }
}

impl SigningKey {
    /// Reads a private key from PEM: PKCS#8 (`PRIVATE KEY`), PKCS#1 (`RSA PRIVATE KEY`) or SEC1 (`EC PRIVATE KEY`).
    /// Other blocks (`EC PARAMETERS`, certificates) are ignored. The line ends may be written out as `\n`, and the whole may be in
    /// base64.
    ///
    /// # Errors
    /// [`KeyError`] unless the file holds exactly one RSA key of 2048 to 8192 bits or one P-384 key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        if pem.len() > MAX_KEY_FILE {
            return Err(KeyError::TooLarge);
        }
        let unwrapped = secret_pem::unwrapped(pem);
        let pem = unwrapped.as_deref().map_or(pem, Vec::as_slice);
        let blocks = secret_pem::blocks(pem).ok_or(KeyError::Broken)?;
        let Some(first_label) = blocks.first().map(|block| block.label.to_owned()) else {
            return Err(not_pem::without_pem(pem));
        };
        let mut found = None;
        for block in blocks {
            let read: fn(&[u8]) -> Result<Self, KeyError> = match block.label {
                "PRIVATE KEY" => Self::from_pkcs8,
                "RSA PRIVATE KEY" => Self::from_pkcs1,
                "EC PRIVATE KEY" => Self::from_sec1,
                "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
                "OPENSSH PRIVATE KEY" => return Err(KeyError::OpenSsh),
                _ => continue,
            };
            if block.is_encrypted {
                return Err(KeyError::Encrypted);
            }
            if found.is_some() {
                return Err(KeyError::Several);
            }
            found = Some(read(&block.contents)?);
        }
        found.ok_or(KeyError::NotPrivate(first_label))
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = der::private_key_info(der).ok_or(KeyError::Damaged("PRIVATE KEY"))?;
        match info.kind {
            KeyKind::Rsa => Self::from_rsa(info.key, "PRIVATE KEY"),
            KeyKind::P384 => Self::from_p384(der, "PRIVATE KEY"),
            KeyKind::Other(name) => Err(KeyError::Unsupported(name)),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_rsa(der, "RSA PRIVATE KEY")
    }

    fn from_sec1(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_p384(der, "EC PRIVATE KEY").map_err(|error| match error {
            KeyError::Damaged(_) => KeyError::Unsupported("a damaged EC key or one on another curve than P-384, not a signing"),
            other => other,
        })
    }

    /// Reads an `RSAPrivateKey`.
    fn from_rsa(der: &[u8], label: &'static str) -> Result<Self, KeyError> {
        match der::rsa_bits(der) {
            None => return Err(KeyError::Damaged(label)),
            Some(bits) if bits < MIN_RSA_BITS => return Err(KeyError::TooShort(bits)),
            Some(bits) if bits > MAX_RSA_BITS => return Err(KeyError::TooLong(bits)),
            Some(_) => {}
        }
        let pair = rsa::KeyPair::from_der(der).map_err(|_| KeyError::Damaged(label))?;
        let public = pair.public_key();
        let public_key = PublicKey::Rsa {
            n: URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            e: URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
        };
        Ok(Self { public_key, pair: Pair::Rsa(pair) })
    }

    /// Reads PKCS#8 or SEC1.
    fn from_p384(der: &[u8], label: &'static str) -> Result<Self, KeyError> {
        let damaged = KeyError::Damaged(label);
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map_err(|_| damaged.clone())?;
        // SEC 1 section 2.3.3: 04, x, y.
        let (x, y) = pair.public_key().as_ref().strip_prefix(&[4]).and_then(|point| point.split_at_checked(48)).ok_or(damaged)?;
        let public_key = PublicKey::P384 { x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) };
        Ok(Self { public_key, pair: Pair::P384(pair) })
    }

    /// Returns the algorithm that it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::Rs384,
            Pair::P384(_) => Algorithm::Es384,
        }
    }

    /// Returns the same key if it is in use already, else this one.
    #[must_use]
    pub(crate) fn shared(self) -> Arc<Self> {
        let mut in_use = IN_USE.lock();
        in_use.retain(|key| key.strong_count() > 0);
        let same = in_use.iter().filter_map(Weak::upgrade).find(|key| key.public_key == self.public_key);
        same.unwrap_or_else(|| {
            let key = Arc::new(self);
            in_use.push(Arc::downgrade(&key));
            key
        })
    }

    /// Signs a message with the key's algorithm, in the form of a JWS (RFC 7518 sections 3.3 and 3.4).
    ///
    /// # Errors
    /// The cryptographic library fails; it gives no reason.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA384, &random, message, &mut signature)?;
                Ok(signature)
            }
            Pair::P384(pair) => Ok(pair.sign(&random, message)?.as_ref().to_vec()),
        }
    }

    /// Returns its public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Returns the length of the modulus in bytes; `None` for a P-384 key.
    #[must_use]
    pub fn modulus_bytes(&self) -> Option<usize> {
        match &self.public_key {
            PublicKey::Rsa { n, .. } => URL_SAFE_NO_PAD.decode(n).ok().map(|bytes| bytes.len()),
            PublicKey::P384 { .. } => None,
        }
    }

    /// Returns the public JWK (RFC 7517 section 4) under this `kid`.
    #[must_use]
    pub fn jwk(&self, kid: &str) -> serde_json::Value {
        let alg = self.algorithm().as_str();
        match &self.public_key {
            PublicKey::Rsa { n, e } => {
                json!({"kty": "RSA", "n": n, "e": e, "alg": alg, "use": "sig", "kid": kid})
            }
            PublicKey::P384 { x, y } => {
                json!({"kty": "EC", "crv": "P-384", "x": x, "y": y, "alg": alg, "use": "sig", "kid": kid})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use crate::keys::JwkSet;
    use crate::keys::generate::{NewKey, generate};

    const PKCS8_RSA: &str = include_str!("../../tests/keys/rsa2048-pkcs8.pem");
    const PKCS1_RSA: &str = include_str!("../../tests/keys/rsa2048-pkcs1.pem");
    const PKCS8_EC: &str = include_str!("../../tests/keys/p384-pkcs8.pem");
    const SEC1_EC: &str = include_str!("../../tests/keys/p384-sec1.pem");

    /// Signs with the key and verifies with its JWK alone.
    fn signs(key: &SigningKey) {
        let algorithm = match key.algorithm() {
            Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
            Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        };
        let claims = json!({"sub": "a", "exp": 4_000_000_000_u64});
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({"alg": key.algorithm().as_str()})), part(&claims));
        let jwt = format!("{message}.{}", URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).unwrap()));
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(key.jwk("a")).unwrap();
        let verifier = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
        let validation = jsonwebtoken::Validation::new(algorithm);
        let decoded = jsonwebtoken::decode::<serde_json::Value>(&jwt, &verifier, &validation).unwrap();
        assert_eq!(decoded.claims, claims);
    }

    #[test]
    fn every_form_signs_and_verifies() {
        for pem in [PKCS8_RSA, PKCS1_RSA, PKCS8_EC, SEC1_EC] {
            signs(&SigningKey::from_pem(pem.as_bytes()).unwrap());
        }
        for kind in [NewKey::Rsa2048, NewKey::P384] {
            signs(&generate(kind).unwrap().key);
        }
    }

    #[test]
    fn the_forms_of_one_key_are_one_key() {
        let key = |pem: &str| SigningKey::from_pem(pem.as_bytes()).unwrap().public_key().clone();
        assert_eq!(key(PKCS8_RSA), key(PKCS1_RSA));
        assert_eq!(key(PKCS8_EC), key(SEC1_EC));
        let set = JwkSet::of(&SigningKey::from_pem(PKCS8_EC.as_bytes()).unwrap(), "k");
        assert_eq!(JwkSet::parse(set.to_json().as_bytes()), Ok(set));
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = SigningKey::from_pem(PKCS8_RSA.as_bytes()).unwrap();
        let shown = format!("{key:?}");
        let PublicKey::Rsa { n, .. } = key.public_key() else { panic!("it is an RSA key") };
        let without_public = shown.replace(n, "");
        assert!(shown.contains("[redacted]") && without_public.len() < 200, "{shown}");
    }

    #[test]
    fn a_key_that_is_read_again_is_the_one_in_use() {
        let read = |pem: &str| SigningKey::from_pem(pem.as_bytes()).unwrap().shared();
        let first = read(PKCS8_RSA);
        assert!(Arc::ptr_eq(&first, &read(PKCS1_RSA)));
        assert!(!Arc::ptr_eq(&first, &read(PKCS8_EC)));
    }

    #[test]
    fn pem_is_read_however_editors_and_tools_left_it() {
        let key = |pem: &str| SigningKey::from_pem(pem.as_bytes()).unwrap().public_key().clone();
        let indented: String = PKCS8_RSA.lines().map(|line| format!("  {line}  \n")).collect();
        for pem in [
            format!("\u{feff}{PKCS8_RSA}"),
            PKCS8_RSA.replace('\n', "\\n"),
            base64::engine::general_purpose::STANDARD.encode(PKCS8_RSA),
            PKCS8_RSA.replace('\n', "\r\n"),
            PKCS8_RSA.replace('\n', " "),
            format!("Bag Attributes\n    friendlyName: clé\n{PKCS8_RSA}"),
            format!("{}{PKCS8_RSA}", include_str!("../../tests/keys/public.pem")),
            indented,
        ] {
            assert_eq!(key(&pem), key(PKCS8_RSA), "{pem}");
        }
    }

    #[test]
    fn refuses_with_the_reason() {
        let cut = PKCS8_RSA.replacen("\nMII", "\nMIJ", 1);
        let relabelled = PKCS1_RSA.replace("RSA PRIVATE KEY", "EC PRIVATE KEY");
        for (pem, error) in [
            ("", KeyError::Empty),
            (&PKCS8_RSA.replace("-----END", "----END"), KeyError::Broken),
            (&PKCS8_RSA.replacen("\nMII", "\n*II", 1), KeyError::Broken),
            ("hello", KeyError::NotPem),
            (include_str!("../../tests/keys/encrypted-pkcs8.pem"), KeyError::Encrypted),
            (include_str!("../../tests/keys/encrypted-pkcs1.pem"), KeyError::Encrypted),
            (include_str!("../../tests/keys/rsa1024.pem"), KeyError::TooShort(1024)),
            (include_str!("../../tests/keys/p256.pem"), KeyError::Unsupported("an EC P-256")),
            (include_str!("../../tests/keys/ed25519.pem"), KeyError::Unsupported("an Ed25519")),
            (include_str!("../../tests/keys/public.pem"), KeyError::NotPrivate("PUBLIC KEY".to_owned())),
            (&PKCS8_RSA.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"), KeyError::OpenSsh),
            (&format!("{PKCS8_RSA}{PKCS1_RSA}"), KeyError::Several),
            (&cut, KeyError::Damaged("PRIVATE KEY")),
            (&" ".repeat(MAX_KEY_FILE + 1), KeyError::TooLarge),
        ] {
            assert_eq!(SigningKey::from_pem(pem.as_bytes()).unwrap_err(), error, "{pem}");
        }
        assert!(matches!(SigningKey::from_pem(relabelled.as_bytes()), Err(KeyError::Unsupported(_))));
        assert_eq!(SigningKey::from_pem(&[0x30, 0x82, 1, 2, 0xff]).unwrap_err(), KeyError::Der);
    }
}
