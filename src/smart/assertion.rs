//! Client assertions: the JWT with which the gateway authenticates.
//!
//! RFC 7523 section 2.2 and SMART App Launch 2.2, "Asymmetric (public key) client authentication".
//! OpenEMR accepts each `jti` once, for ever, also when its answer was lost: sign a new assertion for every attempt.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::error::Unspecified;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::keys::SigningKey;

/// How long an assertion is good for; SMART allows five minutes at most.
pub(super) const LIFETIME: Duration = Duration::from_secs(4 * 60);

/// The length of a signature by an RSA key of 8192 bits in base64url, with the two dots of a JWT.
const LONGEST_SIGNATURE: usize = 1366 + 2;

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
    #[error("the private key cannot sign")]
    Sign(#[from] Unspecified),
}

#[derive(Serialize)]
struct Header<'a> {
    typ: &'static str,
    alg: &'static str,
    kid: &'a str,
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
    let header = Header { typ: "JWT", alg: claimant.key.algorithm().as_str(), kid: claimant.kid };
    let (header, claims) = (part(&header), part(&claims));
    // As large as it becomes: a text that grows leaves its contents behind.
    let mut assertion = Zeroizing::new(String::with_capacity(header.len() + claims.len() + LONGEST_SIGNATURE));
    assertion.push_str(&header);
    assertion.push('.');
    assertion.push_str(&claims);
    let signature = claimant.key.sign(assertion.as_bytes())?;
    assertion.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut assertion);
    Ok(assertion)
}

/// A header or a set of claims as a part of a JWT.
fn part(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("a struct of texts and numbers can be written as JSON"))
}
