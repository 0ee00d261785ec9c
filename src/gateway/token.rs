//! The access token that a request goes to OpenEMR with.

use std::time::{Duration, Instant};

use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::attempt::Attempt;
use crate::gateway::call::Call;
use crate::site::prepared::Site;
use crate::smart::token_cell::Unavailable;

/// How long a request waits for a token that is on its way.
const PATIENCE: Duration = Duration::from_secs(5);

/// There is no access token, and it is worth trying again after this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no access token; the next exchange is due in {} s", .0.as_secs())]
pub(super) struct NoToken(Duration);

impl From<NoToken> for Rejection {
    fn from(missing: NoToken) -> Self {
        Self::unavailable(Reason::NoToken, missing.0, "The gateway has no access token for OpenEMR at the moment.")
            .because(missing)
    }
}

/// Gives a request its site's token; waits only where there is none.
///
/// # Errors
/// There is none within five seconds.
pub(super) async fn take(call: &Call, site: &Site, attempt: &mut Attempt) -> Result<(), NoToken> {
    attempt.token = Some(match site.token.usable(call.started) {
        Some(token) => token,
        None => {
            let since = Instant::now();
            let waited = site.token.wait(PATIENCE).await;
            attempt.note_token_wait(since);
            waited.map_err(|Unavailable { retry_after }| NoToken(retry_after))?
        }
    });
    Ok(())
}
