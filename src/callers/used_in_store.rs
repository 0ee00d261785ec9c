//! The used client assertions of all gateways that share a store.
//!
//! Decision: `docs/decisions/39-token-server.md`.

use crate::callers::used_assertion;
use crate::store::script::{Script, Use};
use crate::store::shared_store::SharedStore;
use crate::store::store_error::StoreError;

/// How many seconds longer than it is good an assertion is remembered: the clock of another gateway may be behind, by as much as an
/// assertion lives.
const LONGER: i64 = 6 * 60;

/// Answers 1 for the first that asks, and 0 for all others.
static FIRST: Script =
    Script::new(Use::Assertions, "if redis.call('SET', KEYS[1], '', 'NX', 'EX', ARGV[1]) then return 1 end return 0");

/// Uses an assertion of a client, which is good for so many seconds more. Says whether this is the first time at any gateway.
///
/// # Errors
/// The store did not answer: it is not known.
pub(super) async fn first(store: &SharedStore, client: &str, jti: &str, good_for: i64) -> Result<bool, StoreError> {
    let key = format!("jti:{}", used_assertion::name(client, jti));
    let seconds = good_for.max(0).saturating_add(LONGER);
    match store.run(&FIRST, &[key], &[seconds.to_string().into_bytes()]).await?.int() {
        Some(1) => Ok(true),
        Some(0) => Ok(false),
        _ => Err(StoreError::Unexpected),
    }
}
