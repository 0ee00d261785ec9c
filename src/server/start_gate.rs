//! The start gate: the service for which the listeners wait. It opens when there are tokens, and after a time without them.
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
use crate::server::process::Process;
use crate::site::runtime::Runtime;

/// How long a start waits for the token endpoints. Requests that come without a token wait for it themselves, and `/health`
/// tells what is missing.
const START_WAIT: Duration = Duration::from_secs(5);
/// How long an upgrade waits for tokens, while the old process serves with those that it has.
const UPGRADE_WAIT: Duration = Duration::from_secs(20);

/// Is ready when the listeners may open.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    let gate = StartGate { runtime: process.runtime.load_full(), is_upgrade: process.options.upgrade };
    Box::new(background_service("first tokens", gate))
}

struct StartGate {
    runtime: Arc<Runtime>,
    is_upgrade: bool,
}

#[async_trait]
impl BackgroundService for StartGate {
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        if self.is_upgrade {
            wait_for_tokens_or_exit(&self.runtime).await
        } else {
            wait_for_first_attempts(&self.runtime).await
        }
        ready.notify_ready();
    }
}

/// Waits until each site has a token or its first attempt has failed. With a `jwks_uri` that names this gateway the first
/// attempt fails until the listeners are open.
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
