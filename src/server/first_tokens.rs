//! When the listeners may open, or be taken over: as soon as there are tokens, and at the start also without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use log::{error, warn};
use pingora::server::ShutdownWatch;
use pingora::services::ServiceReadyNotifier;
use pingora::services::background::BackgroundService;

use crate::observe::log_writer;
use crate::site::runtime::Runtime;

/// How long the start waits for an answer of the token endpoint. Requests wait for themselves, and `/health` says what
/// is missing.
const AT_START: Duration = Duration::from_secs(5);
/// How long a successor waits for tokens: another process serves meanwhile, and has them.
const AT_UPGRADE: Duration = Duration::from_secs(20);

/// Is ready when requests may come.
pub struct FirstTokens {
    runtime: Arc<ArcSwap<Runtime>>,
    is_upgrade: bool,
}

impl FirstTokens {
    /// Waits for the tokens of this runtime's sites.
    #[must_use]
    pub fn new(runtime: Arc<ArcSwap<Runtime>>, is_upgrade: bool) -> Self {
        Self { runtime, is_upgrade }
    }
}

#[async_trait]
impl BackgroundService for FirstTokens {
    async fn start_with_ready_notifier(&self, _shutdown: ShutdownWatch, ready: ServiceReadyNotifier) {
        let runtime = self.runtime.load_full();
        if self.is_upgrade {
            has_tokens_or_ends(&runtime).await
        } else {
            has_asked(&runtime).await
        }
        ready.notify_ready();
    }
}

/// Until each site has a token, or its first attempt has failed. With a `jwks_uri` that names this gateway the first
/// attempt fails until the listeners are open.
async fn has_asked(runtime: &Runtime) {
    let deadline = Instant::now() + AT_START;
    for site in &runtime.sites {
        site.token.first_outcome(deadline).await;
    }
}

/// Until each site has a token. A site that gets none holds up nothing for ever; but with none at all this process has
/// nothing to offer that the old one has not.
async fn has_tokens_or_ends(runtime: &Runtime) {
    let deadline = Instant::now() + AT_UPGRADE;
    let mut missing = Vec::new();
    for site in &runtime.sites {
        if site.token.wait(deadline.saturating_duration_since(Instant::now())).await.is_err() {
            missing.push(site.name());
        }
    }
    if missing.len() == runtime.sites.len() {
        error!("no site gets a token: the running gateway is not replaced");
        log_writer::flush();
        std::process::exit(1);
    }
    for name in missing {
        warn!("site {name} gets no token; the listeners are taken over without it");
    }
}
