//! The worker: a background service that carries out exports, for each site one OpenEMR job after the other.
//!
//! The stored plans are its only memory. It looks the site up again before each step, so that a reload takes effect with the
//! next one. A process that drains begins no step and leaves the rest to the next process, or to another gateway.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use log::warn;
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::task::JoinSet;

use crate::exports::jobs::Exports;
use crate::exports::means::Means;
use crate::exports::shift::{Shift, keep};
use crate::site::lifecycle::Lifecycle;
use crate::site::runtime::Runtime;
use crate::smart::refresher::TokenTasks;

/// How often the plans are looked at: another process may have added a job, or ended its work.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Carries out the exports of all sites.
pub(crate) struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    means: Means,
    /// The names of the sites with a running shift.
    busy: Mutex<HashSet<String>>,
    /// The names of the sites whose plans could not be read at the last look.
    unreadable: Mutex<HashSet<String>>,
}

impl Worker {
    /// A worker for the sites of the current runtime, whichever that is.
    #[must_use]
    pub(crate) fn new(
        runtime: Arc<ArcSwap<Runtime>>,
        exports: Arc<Exports>,
        tokens: TokenTasks,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        let means = Means { runtime, exports, tokens, lifecycle };
        Self { shared: Arc::new(Shared { means, busy: Mutex::default(), unreadable: Mutex::default() }) }
    }
}

#[async_trait]
impl BackgroundService for Worker {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let means = &self.shared.means;
        let mut shifts = JoinSet::new();
        loop {
            for site in &means.runtime.load().sites {
                let name = site.name().to_owned();
                if site.config.answers.repairs.bulk_data && self.shared.busy.lock().insert(name.clone()) {
                    let shared = Arc::clone(&self.shared);
                    shifts.spawn(async move {
                        let at_work = AtWork { shared: &shared, name: &name };
                        shared.work_for(&name).await;
                        drop(at_work);
                    });
                }
            }
            tokio::select! {
                () = means.exports.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = shutdown.changed() => break,
            }
            while shifts.try_join_next().is_some() {}
        }
        // Each shift ends with the request that it has in flight.
        while shifts.join_next().await.is_some() {}
    }
}

/// A site whose exports are worked on; a shift that panics ends it too, and the next look begins another one.
struct AtWork<'a> {
    shared: &'a Shared,
    name: &'a str,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.shared.busy.lock().remove(self.name);
    }
}

impl Shared {
    async fn work_for(&self, name: &str) {
        let Some(site) = self.means.site_to_work_on(name) else { return };
        let jobs = self.means.exports.of(&site);
        jobs.warn_of_folder(&site).await;
        match jobs.todo(keep(&site)).await {
            Ok(todo) => {
                self.unreadable.lock().remove(name);
                if todo.is_empty() {
                    return;
                }
            }
            Err(error) => {
                // Once, and not with each look.
                if self.unreadable.lock().insert(name.to_owned()) {
                    warn!("site {name}: the plans of its exports cannot be read: {error}");
                }
                return;
            }
        }
        match jobs.lease().await {
            Ok(Some(lease)) => {
                Shift { means: &self.means, name, jobs: &jobs, lease: &lease }.work().await;
                lease.release().await;
            }
            // Another process does it.
            Ok(None) => {}
            Err(error) => warn!("site {name}: the work on its exports cannot begin: {error}"),
        }
    }
}
