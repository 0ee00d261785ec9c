//! The first tokens. In an upgrade they are the start gate, for which the listeners wait. At a start the listeners are opened first,
//! because OpenEMR fetches the JWK Set of a client with a `jwks_uri` during the exchange, and the gateway is announced when there
//! are tokens, and after a time without them.
//!
//! Decision: `docs/decisions/24-start-and-stop.md`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use log::warn;
use pingora::server::ShutdownWatch;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};

use crate::server::ending;
use crate::server::listeners::{Listeners, Stage};
use crate::server::process::Process;
use crate::site::runtime::Runtime;

/// How long the announcement of a start waits for the token endpoints. Requests that come without a token wait for it themselves, and `/health`
/// tells what is missing.
const START_WAIT: Duration = Duration::from_secs(5);
/// How long an upgrade waits for tokens, while the old process serves with those that it has.
const UPGRADE_WAIT: Duration = Duration::from_secs(20);

/// Gets the first tokens of an upgrade. Is ready when the listeners may be taken over.
#[must_use]
pub(super) fn upgrade(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(background_service("start gate", FirstTokens { runtime: process.runtime.load_full(), opened: None }))
}

/// Gets the first tokens of a start, once connections are accepted. Is ready when the gateway may be announced.
#[must_use]
pub(super) fn start(process: &Process) -> Box<dyn ServiceWithDependents> {
    let opened = Some(Arc::clone(&process.listeners));
    Box::new(background_service("first tokens", FirstTokens { runtime: process.runtime.load_full(), opened }))
}

struct FirstTokens {
    runtime: Arc<Runtime>,
    /// The listeners to wait for; `None` in an upgrade, where the running process has them.
    opened: Option<Arc<Listeners>>,
}

#[async_trait]
impl BackgroundService for FirstTokens {
    async fn start_with_ready_notifier(&self, mut shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        if let Some(listeners) = &self.opened {
            tokio::select! {
                () = listeners.wait_for(Stage::Accepting) => {}
                _ = shutdown.changed() => return,
            }
        }
        self.runtime.begin_exchanges();
        match &self.opened {
            Some(_) => wait_for_first_attempts(&self.runtime).await,
            None => wait_for_tokens_or_exit(&self.runtime).await,
        }
        ready.notify_ready();
    }
}

/// Waits until each site has a token or its first attempt has failed.
async fn wait_for_first_attempts(runtime: &Runtime) {
    let deadline = Instant::now() + START_WAIT;
    for site in &runtime.sites {
        site.token.first_outcome(deadline).await;
    }
}

/// Waits until each site has a token. A site without one delays the upgrade but does not prevent it; when no site gets a token,
/// this process exits, because the old one serves better.
async fn wait_for_tokens_or_exit(runtime: &Runtime) {
    let deadline = Instant::now() + UPGRADE_WAIT;
    let mut missing = Vec::new();
    for site in &runtime.sites {
        if site.token.wait(deadline.saturating_duration_since(Instant::now())).await.is_err() {
            missing.push(site.name());
        }
    }
    if missing.len() == runtime.sites.len() {
        ending::fail("no site gets a token: the running gateway is not replaced");
    }
    for name in missing {
        warn!("site {name} gets no token; the listeners are taken over without it");
    }
}
