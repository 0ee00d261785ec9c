//! What is known of posting: for `GET /health` and the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use super::spool::shared::Shared;

/// What is known of posting since the start of the process.
#[derive(Debug)]
pub(crate) struct Posting {
    posted: AtomicU64,
    refused: AtomicU64,
    trouble: Mutex<Option<&'static str>>,
    spool: Arc<Shared>,
}

/// What is known at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct PostingHealth {
    /// Events that the repository took.
    pub(crate) posted: u64,
    /// Events that it refused for good.
    pub(crate) refused: u64,
    /// Bytes of records in the spool that wait.
    pub(crate) pending_bytes: u64,
    /// Lines of the spool that were damaged, and so never posted.
    pub(crate) damaged: u64,
    /// Why records wait, in a word; `None` while the repository takes them.
    pub(crate) trouble: Option<&'static str>,
}

impl Posting {
    /// Nothing is posted yet.
    #[must_use]
    pub(crate) fn new(spool: Arc<Shared>) -> Self {
        Self { posted: AtomicU64::new(0), refused: AtomicU64::new(0), trouble: Mutex::new(None), spool }
    }

    /// What is known at this moment.
    #[must_use]
    pub(crate) fn health(&self) -> PostingHealth {
        PostingHealth {
            posted: self.posted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            pending_bytes: self.spool.pending(),
            damaged: self.spool.skipped(),
            trouble: *self.trouble.lock(),
        }
    }

    pub(crate) fn count(&self, posted: u64, refused: u64) {
        self.posted.fetch_add(posted, Ordering::Relaxed);
        self.refused.fetch_add(refused, Ordering::Relaxed);
    }

    pub(crate) fn set_trouble(&self, trouble: Option<&'static str>) {
        *self.trouble.lock() = trouble;
    }
}
