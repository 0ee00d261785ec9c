//! Client assertions: the JWT with which the gateway authenticates.
//!
//! RFC 7523 section 2.2 and SMART App Launch 2.2, "Asymmetric (public key) client authentication".
//! OpenEMR accepts each `jti` once, for ever, also when its answer was lost: sign a new assertion for every attempt.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm as JwtAlgorithm, Header};
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::keys::{Algorithm, SigningKey};

/// How long an assertion is good for; SMART allows five minutes at most.
pub(super) const LIFETIME: Duration = Duration::from_secs(4 * 60);

/// What goes into an assertion, and the key that signs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claimant<'a> {
    /// The registered client: `iss` and `sub`.
    pub client_id: &'a str,
    /// The token URL as OpenEMR knows it: `aud`.
    pub audience: &'a str,
    /// The `kid` of the header.
    pub kid: &'a str,
    /// The signing key.
    pub key: &'a SigningKey,
}

/// Why no assertion could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssertionError {
    /// The machine's clock is before 1970.
    #[error("the system clock is before 1970")]
    Clock,
    /// The key cannot sign.
    #[error("the private key cannot sign: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: Uuid,
    iat: u64,
    exp: u64,
}

/// Signs an assertion that is good from `now` for [`LIFETIME`]. `jti` must never have been used before.
///
/// # Errors
/// A clock before 1970, or a key that cannot sign.
pub(super) fn sign(claimant: Claimant<'_>, now: SystemTime, jti: Uuid) -> Result<Zeroizing<String>, AssertionError> {
    let iat = now.duration_since(UNIX_EPOCH).map_err(|_| AssertionError::Clock)?.as_secs();
    let claims = Claims {
        iss: claimant.client_id,
        sub: claimant.client_id,
        aud: claimant.audience,
        jti,
        iat,
        exp: iat + LIFETIME.as_secs(),
    };
    let mut header = Header::new(match claimant.key.algorithm() {
        Algorithm::Rs384 => JwtAlgorithm::RS384,
        Algorithm::Es384 => JwtAlgorithm::ES384,
    });
    header.kid = Some(claimant.kid.to_owned());
    Ok(Zeroizing::new(jsonwebtoken::encode(&header, &claims, claimant.key.encoding_key())?))
}
