//! Tables of counters, and the words by which their places are known.

use std::sync::atomic::{AtomicU64, Ordering};

/// The words of the classes of statuses; the first is for no status.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// The number of the class of a status.
pub(super) fn class(status: Option<u16>) -> usize {
    status.map_or(0, |status| usize::from(status / 100)).min(CLASSES.len() - 1)
}

/// The word at this place of a list.
pub(super) fn word(list: &[&'static str], at: usize) -> String {
    list.get(at).copied().unwrap_or("other").to_owned()
}

/// A table of counters whose size does not change.
#[derive(Debug)]
pub(super) struct Table(Box<[AtomicU64]>);

impl Table {
    /// Counters at zero.
    pub(super) fn new(size: usize) -> Self {
        Self((0..size).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts one more at this place. There is none beyond the end.
    pub(super) fn count(&self, at: usize) {
        if let Some(counter) = self.0.get(at) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counters that are not zero, each with its place.
    pub(super) fn counted(&self) -> impl Iterator<Item = (usize, u64)> {
        let all = self.0.iter().map(|counter| counter.load(Ordering::Relaxed)).enumerate();
        all.filter(|(_, count)| *count > 0)
    }
}
