//! Access tokens: RS256 JWTs signed with a key made at start, and the table that says which of them still count.

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
    answer::random_bytes,
    database::{Database, TokenRow},
    personality::Personality,
    php_json::{self, Escapes},
};

/// PHP's `base64_decode` does not mind bits left over in the last letter.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));
/// OpenEMR's user for system clients; `sub` of every token.
const SYSTEM_USER: &str = "a34c6e42-8108-40f9-9d54-6a9ed617dd54";

/// What a good token says.
#[derive(Clone, Debug)]
pub struct Grant {
    /// `aud`: the client.
    pub client: String,
    /// The scopes.
    pub scopes: Vec<String>,
}

/// What a token is made of.
#[derive(Clone, Copy)]
pub struct Issue<'a> {
    /// Which OpenEMR.
    pub personality: Personality,
    /// The site it is good for.
    pub site: &'a str,
    /// `iss`.
    pub issuer: &'a str,
    /// Client and scopes.
    pub grant: &'a Grant,
    /// In seconds.
    pub lifetime: f64,
    /// Bytes by which it is made longer.
    pub padding: usize,
    /// In seconds since 1970.
    pub now: f64,
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
    /// Nobody can tell: the database is out of reach.
    DatabaseDown,
}

/// The key, and the database that says which tokens still count.
pub struct AccessTokens {
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
    /// Signs with the database's key.
    pub fn new(database: Arc<Database>) -> io::Result<AccessTokens> {
        Ok(AccessTokens { key: database.signing_key()?, database })
    }

    /// `GET /oauth2/{site}/jwk`: the key without kid and alg.
    pub fn jwk_set(&self) -> String {
        let public = self.key.public_key();
        let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        php_json::encode(&json!({"keys": [{"kty": "RSA", "n": n, "e": e, "use": "sig"}]}), Escapes::Plain)
    }

    /// Issues a token.
    pub fn issue(&self, issue: &Issue<'_>) -> io::Result<String> {
        let Issue { personality, site, issuer, grant, lifetime, padding, now } = *issue;
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
            .map_err(|_| io::Error::other("no access token could be signed"))?;
        self.database.enter(&jti, TokenRow { site: site.to_owned(), expires, revoked: false }, &grant.client, now)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Judges what stands in an Authorization field, or its absence, at the second `now`. The scheme is `Bearer` with a
    /// capital B; any other value is taken for a JWT as it stands.
    pub fn check(&self, site: &str, authorization: Option<&str>, now: f64) -> Result<Grant, Refused> {
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
        if claims.iat > now || claims.nbf > now || claims.exp <= now {
            return Err(Refused::NotVerified);
        }
        let down = |_| Refused::DatabaseDown;
        let row = self.database.token(&claims.jti).map_err(down)?;
        if row.as_ref().is_some_and(|row| row.revoked) {
            return Err(Refused::Revoked);
        }
        if !self.database.is_trusted(&claims.aud).map_err(down)? {
            return Err(Refused::NoTrustedUser);
        }
        match row {
            None => Err(Refused::NotInDatabase),
            Some(row) if row.site != site => Err(Refused::OtherSite),
            Some(_) => Ok(Grant { client: claims.aud, scopes: claims.scopes }),
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

    fn check(tokens: &AccessTokens, token: &str, site: &str, now: f64) -> Result<String, Refused> {
        tokens.check(site, Some(&format!("Bearer {token}")), now).map(|grant| grant.client)
    }

    #[test]
    fn a_token_counts_until_it_is_taken_back() {
        let (tokens, database) = tokens();
        let token = issue(&tokens, 300.0, 0);
        assert_eq!(check(&tokens, &token, "default", NOW), Ok("client".to_owned()));
        assert_eq!(check(&tokens, &token, "other", NOW), Err(Refused::OtherSite));
        database.revoke_all(Revocation::TrustedUser).unwrap();
        assert_eq!(check(&tokens, &token, "default", NOW), Err(Refused::NoTrustedUser));
        issue(&tokens, 300.0, 0);
        assert_eq!(check(&tokens, &token, "default", NOW), Ok("client".to_owned()));
        database.revoke_all(Revocation::ByAdmin).unwrap();
        assert_eq!(check(&tokens, &token, "default", NOW), Err(Refused::Revoked));
        let token = issue(&tokens, 300.0, 0);
        database.revoke_all(Revocation::Unknown).unwrap();
        assert_eq!(check(&tokens, &token, "default", NOW), Err(Refused::NotInDatabase));
    }

    #[test]
    fn a_token_counts_for_its_life_and_not_a_moment_longer() {
        let (tokens, _) = tokens();
        let token = issue(&tokens, 300.0, 0);
        let at = |now| check(&tokens, &token, "default", now).map(drop);
        assert_eq!(at(NOW - 0.1), Err(Refused::NotVerified));
        assert_eq!((at(NOW), at(NOW + 299.9)), (Ok(()), Ok(())));
        assert_eq!(at(NOW + 300.0), Err(Refused::NotVerified));
    }

    #[test]
    fn what_is_no_token_is_refused_in_lcobuccis_words() {
        let (tokens, _) = tokens();
        let token = issue(&tokens, 300.0, 0);
        let refused = |authorization: Option<&str>| tokens.check("default", authorization, NOW).unwrap_err();
        let dots = Refused::Unparsable("The JWT string must have two dots");
        assert_eq!(refused(None), dots);
        assert_eq!(refused(Some("Bearer junk")), dots);
        assert!(matches!(
            refused(Some(&format!("bearer {token}"))),
            Refused::Unparsable(words) if words.contains("invalid base64")
        ));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let flipped: String = signature.chars().rev().collect();
        assert_eq!(refused(Some(&format!("Bearer {message}.{flipped}"))), Refused::NotVerified);
    }

    #[test]
    fn padding_makes_a_token_that_long_and_keeps_it_good() {
        let (tokens, _) = tokens();
        let token = issue(&tokens, 300.0, 30_000);
        assert!((30_000..32_000).contains(&token.len()), "{}", token.len());
        assert!(check(&tokens, &token, "default", NOW).is_ok());
    }
}
