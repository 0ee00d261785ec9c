//! Client assertions as clients send them: JWTs that are signed with a client's private key (RFC 7523 section 3; SMART App Launch
//! 2.2, "Asymmetric (public key) client authentication"). Pure: keys and times are passed in.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::callers::jws::Jws;
use crate::callers::token_server::OAuthError;
use crate::keys::jwk_set::Jwk;
use crate::keys::signing_key::{Algorithm, PublicKey};

/// The longest life that an assertion may have left, in seconds.
const LONGEST_LIFE: i64 = 5 * 60;
/// How far the clocks of a client and of the gateway may be apart, in seconds.
const LEEWAY: i64 = 30;

/// An assertion that can be read. Nothing of it is believed before [`Assertion::verify`].
#[derive(Debug)]
pub(super) struct Assertion<'t> {
    jws: Jws<'t>,
    algorithm: Algorithm,
    claims: Claims,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    jti: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// An assertion whose signature and claims are good; its `jti` has yet to be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// The `jti`.
    pub(super) jti: String,
    /// The last second at which the assertion could be used, with leeway.
    pub(super) until: i64,
}

impl<'t> Assertion<'t> {
    /// Reads an assertion.
    ///
    /// # Errors
    /// It is no JWT, or one with a header that is not good.
    pub(super) fn parse(text: &'t str) -> Result<Self, OAuthError> {
        let jws = Jws::parse(text).ok_or(OAuthError::client("The client_assertion is no signed JWT in the compact form."))?;
        let algorithm = match jws.header.alg.as_str() {
            "RS384" => Algorithm::Rs384,
            "ES384" => Algorithm::Es384,
            _ => return Err(OAuthError::client("The client_assertion is signed with another algorithm than RS384 and ES384.")),
        };
        let is_jwt = |typ: &str| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("application/jwt");
        if !jws.header.typ.as_deref().is_none_or(is_jwt) {
            return Err(OAuthError::client("The client_assertion has a typ other than JWT."));
        }
        if jws.header.crit.is_some() {
            return Err(OAuthError::client("The client_assertion has crit, and nothing that it could name is understood here."));
        }
        if jws.header.kid.is_none() {
            return Err(OAuthError::client("The client_assertion has no kid in its header: name the key that signed it."));
        }
        let unreadable = "The claims of the client_assertion are no JSON object with iss, sub, aud, exp and jti, each once.";
        let claims: Claims = serde_json::from_slice(&jws.claims).map_err(|_| OAuthError::client(unreadable))?;
        Ok(Self { jws, algorithm, claims })
    }

    /// The name of the client that it says to be from.
    ///
    /// # Errors
    /// It names none, or two.
    pub(super) fn client(&self) -> Result<&str, OAuthError> {
        match (&self.claims.iss, &self.claims.sub) {
            (Some(iss), Some(sub)) if iss == sub => Ok(sub),
            (Some(_), Some(_)) => {
                Err(OAuthError::client("iss and sub of the client_assertion differ: both are the client's name."))
            }
            _ => Err(OAuthError::client("The client_assertion lacks iss or sub: both are the client's name.")),
        }
    }

    /// The id of the key that signed it.
    #[must_use]
    pub(super) fn kid(&self) -> &str {
        self.jws.header.kid.as_deref().unwrap_or_default()
    }

    /// The URL of the JWK Set in its header.
    #[must_use]
    pub(super) fn jku(&self) -> Option<&str> {
        self.jws.header.jku.as_deref()
    }

    /// Verifies its signature with the keys of the client, and its claims. `audiences`: the URLs by which the token endpoint is
    /// known. `now`: in seconds since 1970.
    ///
    /// # Errors
    /// It is not good.
    pub(super) fn verify<'k>(
        &self,
        keys: impl Iterator<Item = &'k Jwk>,
        audiences: &[String],
        now: i64,
    ) -> Result<Verified, OAuthError> {
        let mut named = keys.filter(|key| key.kid() == Some(self.kid())).peekable();
        if named.peek().is_none() {
            return Err(OAuthError::client("The client's JWK Set has no key with the kid of the client_assertion."));
        }
        // Of keys with one kid, each is tried that is of the algorithm's kind.
        let mut fitting = named.filter(|key| key.contradiction(self.algorithm).is_none());
        if !fitting.any(|key| key.public_key().is_some_and(|key| self.is_signed_by(key))) {
            return Err(OAuthError::client("The signature of the client_assertion is not by the client's key of that kid."));
        }
        self.check_claims(audiences, now)
    }

    fn is_signed_by(&self, key: &PublicKey) -> bool {
        let (message, signature) = (self.jws.signed.as_bytes(), &self.jws.signature);
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        match (self.algorithm, key) {
            (Algorithm::Rs384, PublicKey::Rsa { n, e }) => {
                let key = RsaPublicKeyComponents { n: decoded(n), e: decoded(e) };
                key.verify(&RSA_PKCS1_2048_8192_SHA384, message, signature).is_ok()
            }
            (Algorithm::Es384, PublicKey::P384 { x, y }) => {
                // SEC 1 section 2.3.3.
                let point = [&[4], decoded(x).as_slice(), &decoded(y)].concat();
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }

    fn check_claims(&self, audiences: &[String], now: i64) -> Result<Verified, OAuthError> {
        let Claims { aud, exp, nbf, iat, jti, .. } = &self.claims;
        let is_here = |aud: &String| audiences.contains(aud);
        let is_meant = match aud {
            None => return Err(OAuthError::client("The client_assertion has no aud: it is the URL of this token endpoint.")),
            Some(Audience::One(aud)) => is_here(aud),
            Some(Audience::Several(all)) => all.iter().any(is_here),
        };
        if !is_meant {
            let text =
                "The aud of the client_assertion is not the URL of this token endpoint, as the SMART configuration has it.";
            return Err(OAuthError::client(text));
        }
        let exp = exp.and_then(whole).ok_or(OAuthError::client("The client_assertion has no exp."))?;
        if now.saturating_sub(LEEWAY) >= exp {
            return Err(OAuthError::client("The client_assertion has expired, or the client's clock is slow."));
        }
        if exp > now.saturating_add(LONGEST_LIFE + LEEWAY) {
            let text = "The exp of the client_assertion is more than five minutes ahead, or the client's clock is fast.";
            return Err(OAuthError::client(text));
        }
        let is_ahead =
            |time: &Option<f64>| time.is_some_and(|time| whole(time).is_none_or(|time| time > now.saturating_add(LEEWAY)));
        if is_ahead(nbf) || is_ahead(iat) {
            return Err(OAuthError::client("The nbf or iat of the client_assertion is ahead, or the client's clock is fast."));
        }
        let jti = jti.clone().filter(|jti| !jti.is_empty());
        let jti = jti.ok_or(OAuthError::client("The client_assertion has no jti: send another one with each request."))?;
        Ok(Verified { jti, until: exp.saturating_add(LEEWAY) })
    }
}

/// The second of a NumericDate (RFC 7519 section 2), which may have a fraction; `None` for one that is no time.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn whole(time: f64) -> Option<i64> {
    (0.0..1e15).contains(&time).then_some(time as i64)
}

#[cfg(test)]
mod tests;
