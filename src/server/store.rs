//! The service that looks whether the shared store answers, so that a store that is away is known before a request needs it, and is
//! found again without one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::ServiceWithDependents;
use pingora::services::background::{BackgroundService, background_service};

use crate::server::process::Process;
use crate::site::runtime::Runtime;

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks at the store of the configuration in force.
struct StoreWatch(Arc<ArcSwap<Runtime>>);

/// Looks after the shared store, where the configuration has one.
#[must_use]
pub(super) fn service(process: &Process) -> Box<dyn ServiceWithDependents> {
    Box::new(background_service("store", StoreWatch(Arc::clone(&process.runtime))))
}

#[async_trait]
impl BackgroundService for StoreWatch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        loop {
            let store = self.0.load().store.clone();
            if let Some(store) = store {
                // The store itself logs that it is away, and counts it.
                let _ = store.check().await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = shutdown.changed() => return,
            }
        }
    }
}
