//! A site's token, for the benchmark of its read (`bench/parts.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::smart::token::AccessToken;
use crate::smart::token_cell::TokenCell;
use crate::smart::token_response::Grant;

/// A cell with a token that is good for five minutes.
#[derive(Debug)]
pub struct SiteToken(TokenCell);

impl SiteToken {
    /// One with a token of this length, in bytes. `None`: no field value can have it.
    #[must_use]
    pub fn new(length: usize) -> Option<Self> {
        let (cell, _) = TokenCell::new();
        let grant = Grant {
            access_token: Zeroizing::new("x".repeat(length)),
            expires_in: Duration::from_secs(300),
            scope: "system/Patient.read".to_owned(),
        };
        cell.store(Arc::new(AccessToken::new(grant, 1, Instant::now())?));
        Some(Self(cell))
    }

    /// What a request does: finds out whether there is a token that OpenEMR accepts, and takes the value of its field.
    #[must_use]
    pub fn field(&self, now: Instant) -> Option<HeaderValue> {
        Some(self.0.usable(now)?.authorization().clone())
    }

    /// The token, if OpenEMR accepts it at this time.
    #[must_use]
    pub(crate) fn usable(&self) -> Option<Arc<AccessToken>> {
        self.0.usable(Instant::now())
    }
}
