//! Where the process stands between its start and its end.

use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all who must know that the process is on its way out.
#[derive(Debug, Default)]
pub struct Lifecycle {
    draining: AtomicBool,
}

impl Lifecycle {
    /// Whether requests are still served but no more should be sent.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
