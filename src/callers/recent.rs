//! The access tokens that were verified of late, so that a client's next request need not be: a table of fixed size that is read
//! and written without a lock.
//!
//! What is kept is only believed while it would be found again: the same keys, the same client of the same configuration, the same
//! site, and not yet expired.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::access::clients::Client;
use crate::access::policy::Policy;
use crate::callers::signing_key::TokenKeys;

/// How many tokens there is room for. Two of one place take turns, and each is verified again.
const PLACES: usize = 1024;

/// The SHA-256 of a token.
pub(super) type TokenDigest = [u8; 32];

/// The tokens that were verified of late.
pub(super) struct Recent(Box<[ArcSwapOption<Known>]>);

/// A token that was verified.
#[derive(Debug)]
pub(super) struct Known {
    /// Its digest.
    pub(super) token: TokenDigest,
    /// The keys that it was verified with.
    pub(super) keys: Arc<TokenKeys>,
    /// The name of the site that it is for.
    pub(super) site: String,
    /// The second at which it expires.
    pub(super) exp: i64,
    /// Whose it is.
    pub(super) client: Arc<Client>,
    /// What it permits.
    pub(super) policy: Arc<Policy>,
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recent").finish_non_exhaustive()
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self((0..PLACES).map(|_| ArcSwapOption::empty()).collect())
    }
}

impl Recent {
    /// What is known of a token, if it is the one in its place.
    #[must_use]
    pub(super) fn find(&self, token: &TokenDigest) -> Option<Arc<Known>> {
        self.place(token)?.load().as_ref().filter(|known| known.token == *token).map(Arc::clone)
    }

    /// Keeps what is known of a token in place of what was there.
    pub(super) fn keep(&self, known: Known) {
        if let Some(place) = self.place(&known.token) {
            place.store(Some(Arc::new(known)));
        }
    }

    fn place(&self, token: &TokenDigest) -> Option<&ArcSwapOption<Known>> {
        let [first, second, ..] = token;
        self.0.get(usize::from(u16::from_be_bytes([*first, *second])) % PLACES)
    }
}
