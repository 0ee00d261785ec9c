//! An access token, ready to be set on requests.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::smart::token_response::Grant;

/// The longest life that is believed.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A system access token with its life and scope.
pub(crate) struct AccessToken {
    authorization: HeaderValue,
    /// Counts the exchanges of a site that succeeded: 1 for the first token.
    pub generation: u64,
    /// When the request that brought it was sent: its life is counted from here, on the monotonic clock.
    pub requested_at: Instant,
    /// `expires_in`, 30 days at most.
    pub life: Duration,
    /// The scope that was granted, space separated.
    pub scope: String,
    accepted: AtomicBool,
}

impl AccessToken {
    /// Makes the `Authorization` value once, for all requests that will carry it.
    ///
    /// `None` when the token has characters that no field value may have; `token_response` has refused those.
    #[must_use]
    pub(crate) fn new(grant: Grant, generation: u64, requested_at: Instant) -> Option<Self> {
        let mut value = Zeroizing::new(Vec::with_capacity("Bearer ".len() + grant.access_token.len()));
        value.extend_from_slice(b"Bearer ");
        value.extend_from_slice(grant.access_token.as_bytes());
        // Zeroed with the last clone of the field.
        let mut authorization = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
        authorization.set_sensitive(true);
        let life = grant.expires_in.min(LONGEST_LIFE);
        Some(Self { authorization, generation, requested_at, life, scope: grant.scope, accepted: AtomicBool::new(false) })
    }

    /// `Bearer …`, capital B: OpenEMR compares the scheme by case. Cloning it copies no bytes.
    #[must_use]
    pub(crate) fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// Notes that OpenEMR carried out a request with this token.
    pub(crate) fn note_accepted(&self) {
        // Most requests find it noted: reading alone keeps the line in every core's cache.
        if !self.was_accepted() {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether OpenEMR has carried out a request with this token: if it refuses the token later, it has revoked it.
    #[must_use]
    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// The token itself, for callers that may see it.
    #[must_use]
    pub(crate) fn secret(&self) -> &str {
        self.authorization.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
    }

    /// Whether OpenEMR will still accept it. OpenEMR has no leeway, so the last moments are not used:
    /// a tenth of the life, one second at most.
    #[must_use]
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        !self.left(now).is_zero()
    }

    /// How long it can be used from `now` on.
    #[must_use]
    pub(crate) fn left(&self, now: Instant) -> Duration {
        let margin = (self.life / 10).min(Duration::from_secs(1));
        (self.life - margin).saturating_sub(now.saturating_duration_since(self.requested_at))
    }

    /// The first 16 hex digits of the token's SHA-256: tells two tokens apart without showing either.
    #[must_use]
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(digest(&SHA256, self.secret().as_bytes()).as_ref().get(..8).unwrap_or_default())
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("authorization", &"[redacted]")
            .field("generation", &self.generation)
            .field("life", &self.life)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(life: u64, at: Instant) -> AccessToken {
        let grant = Grant {
            access_token: Zeroizing::new("eyJ.abc.def".to_owned()),
            expires_in: Duration::from_secs(life),
            scope: "system/Patient.read".to_owned(),
        };
        AccessToken::new(grant, 1, at).unwrap()
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", token(300, Instant::now()));
        assert!(!shown.contains("eyJ"), "{shown}");
        assert!(token(300, Instant::now()).authorization().is_sensitive());
    }

    #[test]
    fn is_not_used_in_its_last_moments() {
        let at = Instant::now();
        let long = token(300, at);
        assert!(long.is_usable(at + Duration::from_millis(298_900)));
        assert!(!long.is_usable(at + Duration::from_secs(299)));
        let short = token(2, at);
        assert!(short.is_usable(at + Duration::from_millis(1_700)));
        assert!(!short.is_usable(at + Duration::from_millis(1_800)));
    }

    #[test]
    fn fingerprint_is_the_sha256_prefix() {
        assert_eq!(token(1, Instant::now()).fingerprint(), "c34dd65169b55a94");
        assert_eq!(token(1, Instant::now()).secret(), "eyJ.abc.def");
    }
}
