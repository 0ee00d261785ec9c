//! What the work on exports takes: the sites as they are now, and the state of the process.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::exports::jobs::Exports;
use crate::site::lifecycle::Lifecycle;
use crate::site::prepared::Site;
use crate::site::runtime::Runtime;
use crate::smart::refresher::TokenTasks;

/// What the work on exports takes.
pub(super) struct Means {
    pub(super) runtime: Arc<ArcSwap<Runtime>>,
    pub(super) exports: Arc<Exports>,
    pub(super) tokens: TokenTasks,
    pub(super) lifecycle: Arc<Lifecycle>,
}

impl Means {
    /// The site of this name as it is now; `None` when there is none whose exports are the gateway's own.
    pub(super) fn site(&self, name: &str) -> Option<Arc<Site>> {
        let runtime = self.runtime.load();
        runtime.sites.iter().find(|site| site.name() == name && site.config.answers.repairs.bulk_data).map(Arc::clone)
    }

    /// The same, unless this process ends: then others go on.
    pub(super) fn site_to_work_on(&self, name: &str) -> Option<Arc<Site>> {
        self.site(name).filter(|_| !self.lifecycle.is_draining())
    }
}
