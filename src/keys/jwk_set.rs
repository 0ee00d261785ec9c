//! JWK Sets (RFC 7517 section 5) of public signing keys.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::byte_order_mark::without_byte_order_mark;
use super::signing_key::{Algorithm, PublicKey, SigningKey};

/// The largest JWK Set that is read, in bytes.
pub(crate) const MAX_JWK_SET: usize = 256 * 1024;
/// The most keys that a set may hold.
pub(crate) const MAX_KEYS: usize = 64;

/// The members that are published; any other member stays in the file.
const PUBLIC_MEMBERS: [&str; 15] =
    ["kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y", "x5u", "x5c", "x5t", "x5t#S256", "exp"];
/// The members of private and symmetric keys alone (RFC 7518 section 6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a file is not a JWK Set. The text completes a sentence that begins with the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwkSetError {
    /// It is larger than `MAX_JWK_SET`.
    #[error("is larger than 256 KiB, which no JWK Set is")]
    TooLarge,
    /// It is not JSON.
    #[error("is not JSON (line {line}, column {column})")]
    NotJson {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// It is a single JWK instead of a set.
    #[error("is a single JWK, not a JWK Set")]
    SingleKey,
    /// It is not an object with a `keys` array of objects.
    #[error("is not a JWK Set: a JSON object with an array `keys` of objects")]
    NotASet,
    /// It holds more than `MAX_KEYS` keys.
    #[error("holds {0} keys; at most 64 are read")]
    TooMany(usize),
    /// It is UTF-16 text.
    #[error("is UTF-16 text; JSON is UTF-8")]
    Utf16,
    /// A key lacks a member that its `kty` requires, or the member is malformed.
    #[error("keys[{index}]: `{member}` is missing or malformed")]
    Key {
        /// The index of the key, counted from 0.
        index: usize,
        /// The member.
        member: &'static str,
    },
}

/// A key of a JWK Set: its public members alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    kid: Option<String>,
    public_key: Option<PublicKey>,
    is_rsa: bool,
    members: Map<String, Value>,
}

impl Jwk {
    /// Returns the public half of a signing key under this `kid`.
    #[must_use]
    pub fn of(key: &SigningKey, kid: &str) -> Self {
        Self {
            kid: Some(kid.to_owned()),
            is_rsa: matches!(key.public_key(), PublicKey::Rsa { .. }),
            public_key: Some(key.public_key().clone()),
            members: key.jwk(kid).as_object().cloned().unwrap_or_default(),
        }
    }

    /// Parses one JWK as [`JwkSet::parse`] does; a symmetric one is an error.
    ///
    /// # Errors
    /// [`JwkSetError`] for anything but one well-formed public key.
    pub fn from_value(value: &Value) -> Result<Self, JwkSetError> {
        match value.as_object() {
            Some(members) if members.get("kty").and_then(Value::as_str) != Some("oct") => Self::from_members(0, members),
            _ => Err(JwkSetError::Key { index: 0, member: "kty" }),
        }
    }

    /// Returns its public members.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(self.members.clone())
    }

    /// Returns its `kid`, if it has one.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns the public key; `None` for a kind that the gateway does not sign with.
    #[must_use]
    pub fn public_key(&self) -> Option<&PublicKey> {
        self.public_key.as_ref()
    }

    /// Returns whether `kty` is `RSA`. OpenEMR verifies with the first such key of a set, whatever its `kid`.
    #[must_use]
    pub fn is_rsa(&self) -> bool {
        self.is_rsa
    }

    /// Returns the certificate of the key in DER, if the JWK has one (RFC 7517 section 4.7).
    #[must_use]
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.members.get("x5c")?.get(0)?.as_str()?).ok()
    }

    /// Returns when the JWK says that it ends, in seconds since 1970: `exp`, as OpenID Federation has it.
    #[must_use]
    pub(crate) fn expires(&self) -> Option<i64> {
        self.members.get("exp")?.as_i64()
    }

    /// Returns in what the JWK contradicts its use for signatures with `algorithm`, as the end of a sentence that begins with the key
    /// (RFC 7517 sections 4.2 to 4.4).
    #[must_use]
    pub(crate) fn contradiction(&self, algorithm: Algorithm) -> Option<String> {
        let text = |name: &str| self.members.get(name).map(|value| value.as_str().unwrap_or("no text").to_owned());
        let operations = self.members.get("key_ops").and_then(Value::as_array);
        match (text("alg"), text("use"), operations) {
            (Some(alg), _, _) if alg != algorithm.as_str() => {
                Some(format!("says `alg` {alg}, and the gateway signs with {algorithm}"))
            }
            (_, Some(purpose), _) if purpose != "sig" => {
                Some(format!("says `use` {purpose}, and it is used for signatures (sig)"))
            }
            (_, _, Some(all)) if !all.iter().any(|one| matches!(one.as_str(), Some("verify" | "sign"))) => {
                Some("has no `verify` in `key_ops`, and signatures are verified with it".to_owned())
            }
            _ => None,
        }
    }

    fn from_members(index: usize, members: &Map<String, Value>) -> Result<Self, JwkSetError> {
        let error = |member| JwkSetError::Key { index, member };
        let text = |name: &'static str| members.get(name).and_then(Value::as_str).ok_or(error(name));
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(name)?).map_err(|_| error(name));
        let integer = |name: &'static str| {
            let bytes = bytes(name)?;
            let leading_zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            match bytes.get(leading_zeros..) {
                Some(digits) if !digits.is_empty() => Ok(URL_SAFE_NO_PAD.encode(digits)),
                _ => Err(error(name)),
            }
        };
        let coordinate = |name: &'static str| match bytes(name)? {
            bytes if bytes.len() == 48 => Ok(URL_SAFE_NO_PAD.encode(bytes)),
            _ => Err(error(name)),
        };
        let kid = match members.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(error("kid")),
        };
        let kty = text("kty")?;
        let public_key = match kty {
            "RSA" => Some(PublicKey::Rsa { n: integer("n")?, e: integer("e")? }),
            "EC" if text("crv")? == "P-384" => Some(PublicKey::P384 { x: coordinate("x")?, y: coordinate("y")? }),
            _ => None,
        };
        let members = members.iter().filter(|(name, _)| PUBLIC_MEMBERS.contains(&name.as_str()));
        Ok(Self {
            kid,
            public_key,
            is_rsa: kty == "RSA",
            members: members.map(|(name, value)| (name.clone(), value.clone())).collect(),
        })
    }
}

/// A JWK Set of public keys. Private members of the file are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    private_members: Vec<String>,
    ignored: Vec<String>,
}

impl JwkSet {
    /// Parses a JWK Set; a byte-order mark before it is ignored. Keys that are symmetric or malformed are left out, as RFC 7517
    /// section 5 has it, and so are private members; [`JwkSet::ignored`] and [`JwkSet::private_members`] name them.
    ///
    /// # Errors
    /// A [`JwkSetError`] for anything that is not a set of keys within the bounds.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwkSetError> {
        if bytes.len() > MAX_JWK_SET {
            return Err(JwkSetError::TooLarge);
        }
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(JwkSetError::Utf16);
        }
        let set: Value = serde_json::from_slice(without_byte_order_mark(bytes))
            .map_err(|error| JwkSetError::NotJson { line: error.line(), column: error.column() })?;
        let Some(keys) = set.get("keys") else {
            return Err(if set.get("kty").is_some() { JwkSetError::SingleKey } else { JwkSetError::NotASet });
        };
        let keys = keys.as_array().ok_or(JwkSetError::NotASet)?;
        if keys.len() > MAX_KEYS {
            return Err(JwkSetError::TooMany(keys.len()));
        }
        let mut parsed = Self { keys: Vec::with_capacity(keys.len()), ..Self::default() };
        for (index, key) in keys.iter().enumerate() {
            let Some(members) = key.as_object() else {
                parsed.ignored.push(format!("keys[{index}]: it is no object"));
                continue;
            };
            if members.get("kty").and_then(Value::as_str) == Some("oct") {
                parsed.ignored.push(format!("keys[{index}]: it is a symmetric key, which is a secret"));
                continue;
            }
            let private = PRIVATE_MEMBERS.into_iter().filter(|name| members.contains_key(*name));
            parsed.private_members.extend(private.map(|name| format!("keys[{index}].{name}")));
            match Jwk::from_members(index, members) {
                Ok(jwk) => parsed.keys.push(jwk),
                Err(error) => parsed.ignored.push(error.to_string()),
            }
        }
        Ok(parsed)
    }

    /// Creates the set with this one key.
    #[must_use]
    pub fn of(key: &SigningKey, kid: &str) -> Self {
        Self { keys: vec![Jwk::of(key, kid)], ..Self::default() }
    }

    /// Returns this set with `first` in front, in that order, and without `dropped`. Keys of `first` that the set already
    /// has are moved.
    #[must_use]
    pub fn rearranged(&self, first: &[&Jwk], dropped: Option<&Jwk>) -> Self {
        let is = |jwk: &Jwk, other: &Jwk| jwk.public_key.is_some() && jwk.public_key == other.public_key;
        let others = self.keys.iter().filter(|jwk| !first.iter().copied().chain(dropped).any(|other| is(jwk, other)));
        Self { keys: first.iter().copied().chain(others).cloned().collect(), ..Self::default() }
    }

    /// Returns the keys in order.
    #[must_use]
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// Returns the first key with this `kid`.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&Jwk> {
        self.keys.iter().find(|key| key.kid() == Some(kid))
    }

    /// Returns the keys of the parsed file that were left out, each with the reason, as in ``keys[0]: `n` is missing or malformed``.
    #[must_use]
    pub(crate) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Returns the places of private members in the parsed file, as in `keys[0].d`. A set that is given away must have none.
    #[must_use]
    pub fn private_members(&self) -> &[String] {
        &self.private_members
    }

    /// Returns the set as JSON for publication.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    /// Returns the set as indented JSON with a final newline, for a file.
    #[must_use]
    pub fn to_json_pretty(&self) -> String {
        format!("{:#}\n", self.to_value())
    }

    fn to_value(&self) -> Value {
        let keys: Vec<&Map<String, Value>> = self.keys.iter().map(|key| &key.members).collect();
        json!({ "keys": keys })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn publishes_public_members_only() {
        let set = JwkSet::parse(
            br#"{"keys":[
                {"kty":"RSA","n":"AQAB","e":"AQAB","kid":"a","alg":"RS384","use":"sig","d":"c2VjcmV0","p":"cA","note":"internal"},
                {"kty":"oct","kid":"b","k":"c2VjcmV0"},
                {"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"c"}
            ],"owner":"somebody"}"#,
        )
        .unwrap();
        assert_eq!(
            set.to_json(),
            r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"a","alg":"RS384","use":"sig"},{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"c"}]}"#
        );
        assert_eq!(set.private_members(), ["keys[0].d", "keys[0].p"]);
        assert!(set.find("b").is_none());
        assert_eq!(set.ignored(), ["keys[1]: it is a symmetric key, which is a secret"]);
        assert_eq!(set.find("c").unwrap().public_key(), None);
    }

    #[test]
    fn a_key_may_say_when_it_ends() {
        let set = JwkSet::parse(
            br#"{"keys":[
                {"kty":"RSA","n":"AQAB","e":"AQAB","exp":4000000000,"x5c":["AQID","BAUG"]},
                {"kty":"RSA","n":"AQAB","e":"AQAB","exp":"soon","x5c":"AQID"},
                {"kty":"RSA","n":"AQAB","e":"AQAB"}
            ]}"#,
        )
        .unwrap();
        let ends: Vec<_> = set.keys().iter().map(|key| (key.expires(), key.certificate())).collect();
        assert_eq!(ends, [(Some(4_000_000_000), Some(vec![1, 2, 3])), (None, None), (None, None)]);
    }

    #[test]
    fn a_leading_zero_byte_is_the_same_key() {
        let set = JwkSet::parse(br#"{"keys":[{"kty":"RSA","n":"AAEAAQ","e":"AAEAAQ"}]}"#).unwrap();
        assert_eq!(set.keys()[0].public_key(), Some(&PublicKey::Rsa { n: "AQAB".to_owned(), e: "AQAB".to_owned() }));
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        let plain = br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;
        let marked = [b"\xef\xbb\xbf".as_slice(), plain].concat();
        assert_eq!(JwkSet::parse(&marked), JwkSet::parse(plain));
        assert_eq!(JwkSet::parse(b"\xef\xbb\xbf{"), Err(JwkSetError::NotJson { line: 1, column: 1 }));
    }

    #[test]
    fn refuses_what_is_no_set() {
        for (text, error) in [
            ("{", JwkSetError::NotJson { line: 1, column: 1 }),
            ("[]", JwkSetError::NotASet),
            ("{}", JwkSetError::NotASet),
            (r#"{"keys":{}}"#, JwkSetError::NotASet),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, JwkSetError::SingleKey),
            ("\u{feff}[]", JwkSetError::NotASet),
        ] {
            assert_eq!(JwkSet::parse(text.as_bytes()), Err(error), "{text}");
        }
        assert_eq!(JwkSet::parse(&vec![b' '; MAX_JWK_SET + 1]), Err(JwkSetError::TooLarge));
        let many = format!(r#"{{"keys":[{}]}}"#, vec![r#"{"kty":"x"}"#; 65].join(","));
        assert_eq!(JwkSet::parse(many.as_bytes()), Err(JwkSetError::TooMany(65)));
    }

    #[test]
    fn a_malformed_key_is_left_out_and_named() {
        let good = r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"good"}"#;
        let malformed = |member: &str| format!("keys[0]: `{member}` is missing or malformed");
        for (key, reason) in [
            ("1", "keys[0]: it is no object".to_owned()),
            (r#"{"kid":"a"}"#, malformed("kty")),
            (r#"{"kty":"RSA","n":"AQAB"}"#, malformed("e")),
            (r#"{"kty":"RSA","n":"A+/=","e":"AQAB"}"#, malformed("n")),
            (r#"{"kty":"RSA","n":"","e":"AQAB"}"#, malformed("n")),
            (r#"{"kty":"EC","x":"AA","y":"AA"}"#, malformed("crv")),
            (r#"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#, malformed("x")),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB","kid":7}"#, malformed("kid")),
            (r#"{"kty":"oct","k":"c2VjcmV0"}"#, "keys[0]: it is a symmetric key, which is a secret".to_owned()),
        ] {
            let set = JwkSet::parse(format!(r#"{{"keys":[{key},{good}]}}"#).as_bytes()).unwrap();
            assert_eq!(set.to_json(), format!(r#"{{"keys":[{good}]}}"#), "{key}");
            assert_eq!((set.ignored(), set.private_members()), (&[reason][..], &[][..]), "{key}");
        }
        for key in
            [r#"{"kty":"new","x":[1]}"#, r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, r#"{"kty":"OKP","crv":"X25519"}"#]
        {
            let set = JwkSet::parse(format!(r#"{{"keys":[{key},{good}]}}"#).as_bytes()).unwrap();
            assert_eq!((set.keys().len(), set.ignored().len()), (2, 0), "{key}");
        }
    }

    #[test]
    fn a_jwk_that_says_something_else_than_its_use_contradicts_it() {
        for (members, contradicts) in [
            ("", false),
            (r#","alg":"RS384","use":"sig","key_ops":["verify"]"#, false),
            (r#","key_ops":["sign"]"#, false),
            (r#","alg":"RS256""#, true),
            (r#","alg":384"#, true),
            (r#","alg":"RSA-OAEP""#, true),
            (r#","use":"enc""#, true),
            (r#","alg":"RS384","use":"enc""#, true),
            (r#","key_ops":["encrypt"]"#, true),
            (r#","key_ops":[]"#, true),
        ] {
            let set =
                JwkSet::parse(format!(r#"{{"keys":[{{"kty":"RSA","n":"AQAB","e":"AQAB"{members}}}]}}"#).as_bytes()).unwrap();
            assert_eq!(set.keys()[0].contradiction(Algorithm::Rs384).is_some(), contradicts, "{members}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in r#"\{"keys":\[\{("[a-z]{1,3}":("[A-Za-z0-9_=-]{0,8}"|[0-9]|null|\[\]),?){0,5}\}\]\}"#) {
            let _ = JwkSet::parse(text.as_bytes());
        }
    }
}
