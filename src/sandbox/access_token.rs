//! Access tokens: RS256 JWTs signed with a key made at start, and the table that says which of them still count.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    answer::random_bytes,
    calendar,
    faults::lock,
    personality::Personality,
    php_json::{self, Escapes},
};

/// PHP's `base64_decode` does not mind bits left over in the last letter.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));
/// OpenEMR's user for system clients; `sub` of every token.
const SYSTEM_USER: &str = "a34c6e42-8108-40f9-9d54-6a9ed617dd54";

/// The signing key could not be made.
#[derive(Debug, thiserror::Error)]
#[error("no RSA key could be made for the access tokens")]
pub struct SigningKeyError;

/// What a good token says.
#[derive(Clone, Debug)]
pub struct Grant {
    /// `aud`: the client.
    pub client: String,
    /// The scopes.
    pub scopes: Vec<String>,
}

/// Why a token is refused, in the order in which OpenEMR looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not a JWT; what lcobucci's parser says about it.
    Unparsable(&'static str),
    /// Bad signature, or not (or no longer) valid at this second; there is no leeway.
    NotVerified,
    /// An administrator revoked it.
    Revoked,
    /// The client's trusted-user row is gone; the next token brings it back.
    NoTrustedUser,
    /// The token table does not know it.
    NotInDatabase,
    /// Issued for another site.
    OtherSite,
}

/// The ways in which tokens are taken back.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// Marked as revoked.
    ByAdmin,
    /// The trusted-user rows are deleted.
    TrustedUser,
    /// The tokens are deleted from the table.
    Unknown,
}

struct Record {
    site: String,
    expires: f64,
    revoked: bool,
}

#[derive(Default)]
struct Tables {
    /// By jti.
    tokens: HashMap<String, Record>,
    trusted_clients: HashSet<String>,
}

/// The key and the tables.
pub struct AccessTokens {
    key: RsaKeyPair,
    tables: Mutex<Tables>,
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    jti: String,
    iat: f64,
    nbf: f64,
    exp: f64,
    scopes: Vec<String>,
}

impl AccessTokens {
    /// Makes a 2048-bit RSA key.
    pub fn new() -> Result<AccessTokens, SigningKeyError> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SigningKeyError)?;
        Ok(AccessTokens { key, tables: Mutex::default() })
    }

    /// `GET /oauth2/{site}/jwk`: the key without kid and alg.
    pub fn jwk_set(&self) -> String {
        let public = self.key.public_key();
        let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        php_json::encode(&json!({"keys": [{"kty": "RSA", "n": n, "e": e, "use": "sig"}]}), Escapes::Plain)
    }

    /// Issues a token that lives for `lifetime` seconds and is padded by `padding` bytes.
    pub fn issue(
        &self,
        personality: Personality,
        site: &str,
        issuer: &str,
        grant: &Grant,
        lifetime: f64,
        padding: usize,
    ) -> Result<String, SigningKeyError> {
        let now = calendar::now();
        let jti: String = random_bytes(40).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut scopes = grant.scopes.clone();
        if personality == Personality::V7_0_3 {
            scopes.push(format!("site:{site}"));
        }
        let expires = now + lifetime;
        let mut claims = json!({
            "aud": grant.client, "jti": jti, "iat": now, "nbf": now, "exp": expires,
            "sub": SYSTEM_USER, "scopes": scopes,
        });
        if let Value::Object(members) = &mut claims {
            if personality == Personality::V8_0 {
                members.insert("iss".to_owned(), Value::String(issuer.to_owned()));
            }
            if padding > 0 {
                // Base64 makes four bytes of three.
                members.insert("padding".to_owned(), Value::String("x".repeat(padding / 4 * 3)));
            }
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&json!({"typ": "JWT", "alg": "RS256"})), encode(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| SigningKeyError)?;
        let mut tables = lock(&self.tables);
        tables.tokens.retain(|_, record| record.expires > now);
        tables.tokens.insert(jti, Record { site: site.to_owned(), expires, revoked: false });
        tables.trusted_clients.insert(grant.client.clone());
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Judges what stands in an Authorization field, or its absence. The scheme is `Bearer` with a capital B; any
    /// other value is taken for a JWT as it stands.
    pub fn check(&self, site: &str, authorization: Option<&str>) -> Result<Grant, Refused> {
        let value = authorization.unwrap_or_default().trim();
        let token = value.strip_prefix("Bearer").filter(|rest| rest.starts_with(char::is_whitespace)).map_or(value, str::trim);
        let (message, claims, signature) = split(token)?;
        let public_key = self.key.public_key();
        let verified = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key.as_ref())
            .verify(message.as_bytes(), &signature)
            .is_ok();
        let claims: Claims = match serde_json::from_slice(&claims) {
            Ok(claims) if verified => claims,
            _ => return Err(Refused::NotVerified),
        };
        let now = calendar::now();
        if claims.iat > now || claims.nbf > now || claims.exp <= now {
            return Err(Refused::NotVerified);
        }
        let tables = lock(&self.tables);
        let record = tables.tokens.get(&claims.jti);
        if record.is_some_and(|record| record.revoked) {
            return Err(Refused::Revoked);
        }
        if !tables.trusted_clients.contains(&claims.aud) {
            return Err(Refused::NoTrustedUser);
        }
        match record {
            None => Err(Refused::NotInDatabase),
            Some(record) if record.site != site => Err(Refused::OtherSite),
            Some(_) => Ok(Grant { client: claims.aud, scopes: claims.scopes }),
        }
    }

    /// Takes back every token issued so far.
    pub fn revoke_all(&self, how: Revocation) {
        let mut tables = lock(&self.tables);
        match how {
            Revocation::ByAdmin => tables.tokens.values_mut().for_each(|record| record.revoked = true),
            Revocation::TrustedUser => tables.trusted_clients.clear(),
            Revocation::Unknown => tables.tokens.clear(),
        }
    }
}

/// Message, claims and signature of a JWT, with lcobucci's words for what is wrong with it.
fn split(token: &str) -> Result<(&str, Vec<u8>, Vec<u8>), Refused> {
    let dots = Refused::Unparsable("The JWT string must have two dots");
    let alphabet = || Refused::Unparsable("Error while decoding from Base64Url, invalid base64 characters detected");
    if token.matches('.').count() != 2 {
        return Err(dots);
    }
    let Some((message, signature)) = token.rsplit_once('.') else {
        return Err(dots);
    };
    let Some((header, claims)) = message.split_once('.') else {
        return Err(dots);
    };
    let decode = |part: &str| LENIENT.decode(part).map_err(|_| alphabet());
    decode(header)?;
    Ok((message, decode(claims)?, decode(signature)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    fn grant() -> Grant {
        Grant { client: "client".to_owned(), scopes: vec!["system/Patient.read".to_owned()] }
    }

    #[test]
    fn a_token_counts_until_it_is_taken_back() {
        let tokens = AccessTokens::new().unwrap();
        let issue = |lifetime| tokens.issue(Personality::V8_0, "default", "https://o", &grant(), lifetime, 0).unwrap();
        let check = |token: &str, site| tokens.check(site, Some(&format!("Bearer {token}"))).map(|grant| grant.client);
        let token = issue(300.0);
        assert_eq!(check(&token, "default"), Ok("client".to_owned()));
        assert_eq!(check(&token, "other"), Err(Refused::OtherSite));
        tokens.revoke_all(Revocation::TrustedUser);
        assert_eq!(check(&token, "default"), Err(Refused::NoTrustedUser));
        issue(300.0);
        assert_eq!(check(&token, "default"), Ok("client".to_owned()));
        tokens.revoke_all(Revocation::ByAdmin);
        assert_eq!(check(&token, "default"), Err(Refused::Revoked));
        let token = issue(300.0);
        tokens.revoke_all(Revocation::Unknown);
        assert_eq!(check(&token, "default"), Err(Refused::NotInDatabase));
        assert_eq!(check(&issue(0.0), "default"), Err(Refused::NotVerified));
    }

    #[test]
    fn what_is_no_token_is_refused_in_lcobuccis_words() {
        let tokens = AccessTokens::new().unwrap();
        let token = tokens.issue(Personality::V8_0, "default", "https://o", &grant(), 300.0, 0).unwrap();
        let dots = Refused::Unparsable("The JWT string must have two dots");
        assert_eq!(tokens.check("default", None).unwrap_err(), dots);
        assert_eq!(tokens.check("default", Some("Bearer junk")).unwrap_err(), dots);
        assert!(matches!(
            tokens.check("default", Some(&format!("bearer {token}"))),
            Err(Refused::Unparsable(words)) if words.contains("invalid base64")
        ));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let flipped: String = signature.chars().rev().collect();
        assert_eq!(tokens.check("default", Some(&format!("Bearer {message}.{flipped}"))).unwrap_err(), Refused::NotVerified);
    }

    #[test]
    fn padding_makes_a_token_that_long_and_keeps_it_good() {
        let tokens = AccessTokens::new().unwrap();
        let token = tokens.issue(Personality::V8_0, "default", "https://o", &grant(), 300.0, 30_000).unwrap();
        assert!((30_000..32_000).contains(&token.len()), "{}", token.len());
        assert!(tokens.check("default", Some(&format!("Bearer {token}"))).is_ok());
    }
}
