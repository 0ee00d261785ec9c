//! Access tokens: RS256 JWTs signed with the database's key, and the checks that a bearer token has to pass.

use std::{io, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
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
    database::{Database, TokenRow},
    personality::Personality,
    php_json::{self, Escapes},
    random::random_hex,
};

/// Base64url as PHP's `base64_decode` takes it, which ignores left-over bits in the last character.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));
/// OpenEMR's user for system clients, the `sub` of every token.
const SYSTEM_USER: &str = "a34c6e42-8108-40f9-9d54-6a9ed617dd54";

/// What a valid token grants, and to whom.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    /// The client, the token's `aud`.
    pub(super) client: String,
    /// The granted scopes.
    pub(super) scopes: Vec<String>,
}

/// What goes into a new token.
#[derive(Clone, Copy)]
pub(super) struct Issue<'a> {
    /// The OpenEMR release that issues it.
    pub(super) personality: Personality,
    /// The site that it is valid for.
    pub(super) site: &'a str,
    /// The issuer, its `iss`.
    pub(super) issuer: &'a str,
    /// The client and its scopes.
    pub(super) grant: &'a Grant,
    /// Its lifetime in seconds.
    pub(super) lifetime: f64,
    /// The bytes by which it is made longer.
    pub(super) padding: usize,
    /// The time of issue in seconds since 1970.
    pub(super) now: f64,
}

/// Why a bearer token is rejected, in the order of OpenEMR's checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InvalidToken {
    /// It is not a JWT; the message of the lcobucci/jwt parser.
    Unparsable(&'static str),
    /// The signature is wrong, or the token is not yet or no longer valid; there is no leeway.
    NotVerified,
    /// It was revoked by an administrator.
    Revoked,
    /// The client's trusted-user row is gone; the next token restores it.
    NoTrustedUser,
    /// The token table has no row for it.
    NotInDatabase,
    /// It was issued for another site.
    OtherSite,
    /// The database cannot be read.
    DatabaseDown,
}

/// Issues and checks access tokens.
pub(super) struct AccessTokens {
    key: RsaKeyPair,
    database: Arc<Database>,
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
    /// Creates the issuer that signs with the database's key.
    pub(super) fn new(database: Arc<Database>) -> io::Result<AccessTokens> {
        Ok(AccessTokens { key: database.signing_key()?, database })
    }

    /// Returns the JWK Set of `GET /oauth2/{site}/jwk`: the public key without `kid` and `alg`.
    pub(super) fn jwk_set(&self) -> String {
        let public = self.key.public_key();
        let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        php_json::encode(&json!({"keys": [{"kty": "RSA", "n": n, "e": e, "use": "sig"}]}), Escapes::Plain)
    }

    /// Issues a token.
    pub(super) fn issue(&self, issue: &Issue<'_>) -> io::Result<String> {
        let Issue { personality, site, issuer, grant, lifetime, padding, now } = *issue;
        let jti: String = random_hex(40);
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
            if personality != Personality::V7_0_3 {
                members.insert("iss".to_owned(), Value::String(issuer.to_owned()));
            }
            if padding > 0 {
                // Base64 turns three bytes into four.
                members.insert("padding".to_owned(), Value::String("x".repeat(padding / 4 * 3)));
            }
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&json!({"typ": "JWT", "alg": "RS256"})), encode(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| io::Error::other("no access token could be signed"))?;
        self.database.insert(&jti, TokenRow { site: site.to_owned(), expires, revoked: false }, &grant.client, now)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Checks the value of an Authorization field, or its absence, at `now` (seconds since 1970). The scheme is `Bearer`
    /// with a capital B; any other value is taken for a JWT as a whole.
    pub(super) fn check(&self, site: &str, authorization: Option<&str>, now: f64) -> Result<Grant, InvalidToken> {
        let value = authorization.unwrap_or_default().trim();
        let token = value.strip_prefix("Bearer").filter(|rest| rest.starts_with(char::is_whitespace)).map_or(value, str::trim);
        let (message, claims, signature) = split(token)?;
        let public_key = self.key.public_key();
        let verified = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key.as_ref())
            .verify(message.as_bytes(), &signature)
            .is_ok();
        let claims: Claims = match serde_json::from_slice(&claims) {
            Ok(claims) if verified => claims,
            _ => return Err(InvalidToken::NotVerified),
        };
        if claims.iat > now || claims.nbf > now || claims.exp <= now {
            return Err(InvalidToken::NotVerified);
        }
        let down = |_| InvalidToken::DatabaseDown;
        let row = self.database.token(&claims.jti).map_err(down)?;
        if row.as_ref().is_some_and(|row| row.revoked) {
            return Err(InvalidToken::Revoked);
        }
        if !self.database.is_trusted(&claims.aud).map_err(down)? {
            return Err(InvalidToken::NoTrustedUser);
        }
        match row {
            None => Err(InvalidToken::NotInDatabase),
            Some(row) if row.site != site => Err(InvalidToken::OtherSite),
            Some(_) => Ok(Grant { client: claims.aud, scopes: claims.scopes }),
        }
    }
}

/// Splits a JWT into message, claims and signature; errors with the message of the lcobucci/jwt parser.
fn split(token: &str) -> Result<(&str, Vec<u8>, Vec<u8>), InvalidToken> {
    let dots = InvalidToken::Unparsable("The JWT string must have two dots");
    let alphabet = || InvalidToken::Unparsable("Error while decoding from Base64Url, invalid base64 characters detected");
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

    use super::{super::database::Revocation, *};

    const NOW: f64 = 1.8e9;

    fn tokens() -> (AccessTokens, Arc<Database>) {
        let database = Arc::new(Database::open(None).unwrap());
        (AccessTokens::new(Arc::clone(&database)).unwrap(), database)
    }

    fn issue(tokens: &AccessTokens, lifetime: f64, padding: usize) -> String {
        let grant = Grant { client: "client".to_owned(), scopes: vec!["system/Patient.read".to_owned()] };
        let issue = Issue {
            personality: Personality::V8_0,
            site: "default",
            issuer: "https://o",
            grant: &grant,
            lifetime,
            padding,
            now: NOW,
        };
        tokens.issue(&issue).unwrap()
    }

    fn check(tokens: &AccessTokens, token: &str, site: &str, now: f64) -> Result<String, InvalidToken> {
        tokens.check(site, Some(&format!("Bearer {token}")), now).map(|grant| grant.client)
    }

    #[test]
    fn a_token_counts_until_it_is_taken_back() {
        let (tokens, database) = tokens();
        let token = issue(&tokens, 300.0, 0);
        assert_eq!(check(&tokens, &token, "default", NOW), Ok("client".to_owned()));
        assert_eq!(check(&tokens, &token, "other", NOW), Err(InvalidToken::OtherSite));
        database.revoke_all(Revocation::TrustedUser).unwrap();
        assert_eq!(check(&tokens, &token, "default", NOW), Err(InvalidToken::NoTrustedUser));
        issue(&tokens, 300.0, 0);
        assert_eq!(check(&tokens, &token, "default", NOW), Ok("client".to_owned()));
        database.revoke_all(Revocation::ByAdmin).unwrap();
        assert_eq!(check(&tokens, &token, "default", NOW), Err(InvalidToken::Revoked));
        let token = issue(&tokens, 300.0, 0);
        database.revoke_all(Revocation::Unknown).unwrap();
        assert_eq!(check(&tokens, &token, "default", NOW), Err(InvalidToken::NotInDatabase));
    }

    #[test]
    fn a_token_counts_for_its_life_and_not_a_moment_longer() {
        let (tokens, _) = tokens();
        let token = issue(&tokens, 300.0, 0);
        let at = |now| check(&tokens, &token, "default", now).map(drop);
        assert_eq!(at(NOW - 0.1), Err(InvalidToken::NotVerified));
        assert_eq!((at(NOW), at(NOW + 299.9)), (Ok(()), Ok(())));
        assert_eq!(at(NOW + 300.0), Err(InvalidToken::NotVerified));
    }

    #[test]
    fn what_is_no_token_is_refused_in_lcobuccis_words() {
        let (tokens, _) = tokens();
        let token = issue(&tokens, 300.0, 0);
        let refused = |authorization: Option<&str>| tokens.check("default", authorization, NOW).unwrap_err();
        let dots = InvalidToken::Unparsable("The JWT string must have two dots");
        assert_eq!(refused(None), dots);
        assert_eq!(refused(Some("Bearer junk")), dots);
        assert!(matches!(
            refused(Some(&format!("bearer {token}"))),
            InvalidToken::Unparsable(words) if words.contains("invalid base64")
        ));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let flipped: String = signature.chars().rev().collect();
        assert_eq!(refused(Some(&format!("Bearer {message}.{flipped}"))), InvalidToken::NotVerified);
    }

    #[test]
    fn padding_makes_a_token_that_long_and_keeps_it_good() {
        let (tokens, _) = tokens();
        let token = issue(&tokens, 300.0, 30_000);
        assert!((30_000..32_000).contains(&token.len()), "{}", token.len());
        assert!(check(&tokens, &token, "default", NOW).is_ok());
    }
}
