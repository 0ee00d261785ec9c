//! The public keys of a JWK Set, ready to verify signatures.

use jsonwebtoken::DecodingKey;
use serde_json::Value;

use crate::access::issuer::JwtAlgorithm;
use crate::keys::jwk_set::JwkSetError;
use crate::keys::{Jwk, JwkSet};

/// The public keys of a JWK Set.
#[derive(Debug)]
pub(crate) struct PublicKeys {
    set: JwkSet,
    keys: Vec<VerifyingKey>,
}

/// A key with which signatures can be verified.
struct VerifyingKey {
    kid: Option<String>,
    kind: Kind,
    /// The one algorithm that it may be used with; `None` is every one of its kind.
    alg: Option<String>,
    key: DecodingKey,
}

/// The kinds of keys: each algorithm has one, so that no key is taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
}

impl PublicKeys {
    /// Reads a JWK Set. Symmetric keys, private members and keys for other uses are left out.
    ///
    /// # Errors
    /// It is no set, or too large.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, JwkSetError> {
        let set = JwkSet::parse(json)?;
        let keys = set.keys().iter().filter_map(VerifyingKey::of).collect();
        Ok(Self { set, keys })
    }

    /// The set itself.
    #[must_use]
    pub(crate) fn set(&self) -> &JwkSet {
        &self.set
    }

    /// Whether there is a key with this id.
    #[must_use]
    pub(crate) fn has(&self, kid: &str) -> bool {
        self.set.find(kid).is_some()
    }

    /// The keys with this id, or with any where none is named, that may verify this algorithm.
    pub(super) fn fitting(&self, kid: Option<&str>, algorithm: JwtAlgorithm) -> impl Iterator<Item = &DecodingKey> {
        let fits = move |key: &&VerifyingKey| {
            key.kind == Kind::of(algorithm)
                && kid.is_none_or(|kid| key.kid.as_deref() == Some(kid))
                && key.alg.as_deref().is_none_or(|alg| alg == name(algorithm))
        };
        self.keys.iter().filter(fits).map(|key| &key.key)
    }
}

impl VerifyingKey {
    fn of(jwk: &Jwk) -> Option<Self> {
        let members = jwk.to_value();
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        // RFC 7517 sections 4.2 and 4.3: a key that says what it is for is used for nothing else.
        let is_for_signatures = members.get("use").is_none_or(|purpose| purpose == "sig")
            && members.get("key_ops").is_none_or(|all| all.as_array().is_some_and(|all| all.iter().any(|one| one == "verify")));
        if !is_for_signatures || members.get("alg").is_some_and(|alg| !alg.is_string()) {
            return None;
        }
        let (kind, key) = match (text("kty")?, text("crv")) {
            ("RSA", _) => (Kind::Rsa, DecodingKey::from_rsa_components(text("n")?, text("e")?)),
            ("EC", Some("P-256")) => (Kind::P256, DecodingKey::from_ec_components(text("x")?, text("y")?)),
            ("EC", Some("P-384")) => (Kind::P384, DecodingKey::from_ec_components(text("x")?, text("y")?)),
            _ => return None,
        };
        Some(Self { kid: jwk.kid().map(str::to_owned), kind, alg: text("alg").map(str::to_owned), key: key.ok()? })
    }
}

impl Kind {
    fn of(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::Rs256 | JwtAlgorithm::Rs384 | JwtAlgorithm::Rs512 | JwtAlgorithm::Ps256 | JwtAlgorithm::Ps384 => {
                Self::Rsa
            }
            JwtAlgorithm::Es256 => Self::P256,
            JwtAlgorithm::Es384 => Self::P384,
        }
    }
}

/// The name of an algorithm (RFC 7518 section 3.1).
#[must_use]
pub(super) fn name(algorithm: JwtAlgorithm) -> &'static str {
    match algorithm {
        JwtAlgorithm::Rs256 => "RS256",
        JwtAlgorithm::Rs384 => "RS384",
        JwtAlgorithm::Rs512 => "RS512",
        JwtAlgorithm::Es256 => "ES256",
        JwtAlgorithm::Es384 => "ES384",
        JwtAlgorithm::Ps256 => "PS256",
        JwtAlgorithm::Ps384 => "PS384",
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyingKey").field("kid", &self.kid).field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn fitting(json: &str, kid: Option<&str>) -> Vec<&'static str> {
        let keys = PublicKeys::parse(json.as_bytes()).unwrap();
        let all = [JwtAlgorithm::Rs256, JwtAlgorithm::Rs384, JwtAlgorithm::Ps256, JwtAlgorithm::Es256, JwtAlgorithm::Es384];
        all.into_iter().filter(|algorithm| keys.fitting(kid, *algorithm).next().is_some()).map(name).collect()
    }

    #[test]
    fn a_key_verifies_its_own_kind_and_only_what_it_says_to_be_for() {
        let (n, p256, p384) = ("AQAB", "A".repeat(43), "A".repeat(64));
        let rsa = |more: &str| format!(r#"{{"keys":[{{"kty":"RSA","kid":"a","n":"{n}","e":"AQAB"{more}}}]}}"#);
        let ec = |crv: &str, at: &str| format!(r#"{{"keys":[{{"kty":"EC","kid":"a","crv":"{crv}","x":"{at}","y":"{at}"}}]}}"#);
        for (json, expected) in [
            (rsa(""), &["RS256", "RS384", "PS256"][..]),
            (rsa(r#","alg":"RS256""#), &["RS256"]),
            (rsa(r#","alg":"HS256""#), &[]),
            (rsa(r#","alg":1"#), &[]),
            (rsa(r#","use":"sig","key_ops":["verify"]"#), &["RS256", "RS384", "PS256"]),
            (rsa(r#","use":"enc""#), &[]),
            (rsa(r#","key_ops":["encrypt"]"#), &[]),
            (rsa(r#","key_ops":"verify""#), &[]),
            (ec("P-256", &p256), &["ES256"]),
            (ec("P-384", &p384), &["ES384"]),
            (ec("P-521", &p384), &[]),
            (r#"{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}"#.to_owned(), &[]),
            (r#"{"keys":[{"kty":"OKP","kid":"a","crv":"Ed25519","x":"AAAA"}]}"#.to_owned(), &[]),
            (r#"{"keys":[]}"#.to_owned(), &[]),
        ] {
            assert_eq!(fitting(&json, Some("a")), expected, "{json}");
            assert_eq!(fitting(&json, None), expected, "{json}");
            assert!(fitting(&json, Some("b")).is_empty(), "{json}");
        }
    }
}
