//! What the two ends of a spool share.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::segment;
use crate::audit::disk::Disk;

/// The bounds of a spool, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Of all segments together.
    pub(crate) segments: u64,
    /// Of one segment, from which on another is begun. An append of more has a segment of its own.
    pub(crate) segment: u64,
    /// What [`Writer::has_room`](super::writer::Writer::has_room) finds room for.
    pub(crate) headroom: u64,
    /// Of `refused.jsonl`.
    pub(crate) refused: u64,
}

/// What the two ends of a spool share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    used: AtomicU64,
    acknowledged: AtomicU64,
    skipped: AtomicU64,
    torn: AtomicU64,
    /// Held while segments are counted, and while one is removed.
    counting: Mutex<()>,
}

impl Sizes {
    /// The bounds of a spool whose folder takes `total` bytes at most.
    #[must_use]
    pub(crate) fn of(total: u64) -> Self {
        /// For `position.json`.
        const POSITION: u64 = 16 * 1024;
        let refused = (total / 16).min(16 * 1024 * 1024);
        let segments = total.saturating_sub(refused).saturating_sub(POSITION);
        let segment = (segments / 16).clamp(128 * 1024, 8 * 1024 * 1024);
        Self { segments, segment, headroom: segment / 4, refused }
    }
}

impl Shared {
    /// The bytes of all segments, as far as is known: never fewer than this process's own.
    #[must_use]
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The bytes that are not acknowledged.
    #[must_use]
    pub(crate) fn pending(&self) -> u64 {
        self.used().saturating_sub(self.acknowledged.load(Ordering::Relaxed))
    }

    /// Lines that were skipped because their checksum is wrong.
    #[must_use]
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Last lines that were not written whole.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn torn(&self) -> u64 {
        self.torn.load(Ordering::Relaxed)
    }

    /// Counts the bytes of all segments again.
    ///
    /// # Errors
    /// The folder cannot be read; then what was known stays.
    pub(crate) fn count<D: Disk>(&self, disk: &D) -> io::Result<u64> {
        let _counting = self.counting.lock();
        let used = segment::bytes(disk)?;
        self.used.store(used, Ordering::Relaxed);
        Ok(used)
    }

    /// Removes a segment of this length.
    ///
    /// # Errors
    /// It is still there.
    pub(super) fn remove<D: Disk>(&self, disk: &D, number: u64, length: u64) -> io::Result<()> {
        let _counting = self.counting.lock();
        disk.remove(&segment::name(number))?;
        self.cut(length);
        Ok(())
    }

    pub(super) fn cut(&self, bytes: u64) {
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    pub(super) fn appended(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_acknowledged(&self, bytes: u64) {
        self.acknowledged.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_torn(&self) {
        self.torn.fetch_add(1, Ordering::Relaxed);
    }
}
