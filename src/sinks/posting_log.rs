//! What the log is told of posting: a line when it begins to fail, one a minute while it does, one when it works again. No line holds
//! anything of a record, or of what the repository says.

use std::time::{Duration, Instant};

use log::{info, warn};

use crate::audit::posting::PostingHealth;

/// The least time between two lines of a kind.
const BETWEEN: Duration = Duration::from_secs(60);

/// What the log was told, and is to be told.
#[derive(Debug, Default)]
pub(super) struct PostingLog {
    /// What goes wrong now.
    trouble: Option<String>,
    /// When the log was told of trouble that has not ended.
    troubled: Option<Instant>,
    refused: Refused,
}

/// Events that were refused and of which the log was not told.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    not_kept: u64,
    status: u16,
    told: Option<Instant>,
}

impl PostingLog {
    /// Events wait, for this reason.
    pub(super) fn trouble(&mut self, text: String) {
        self.trouble = Some(text);
    }

    /// Nothing is wrong any more.
    pub(super) fn works(&mut self) {
        self.trouble = None;
        if self.troubled.take().is_some() {
            info!("audit repository: it takes records again");
        }
    }

    /// An event was refused for good, with this status, and kept for a closer look or not.
    pub(super) fn refused(&mut self, status: u16, is_kept: bool) {
        self.refused.count += 1;
        self.refused.not_kept += u64::from(!is_kept);
        self.refused.status = status;
    }

    /// Writes the lines that are due.
    pub(super) fn tell(&mut self, health: &PostingHealth, now: Instant) {
        let is_due = |told: Option<Instant>| told.is_none_or(|at| now.duration_since(at) >= BETWEEN);
        if let Some(trouble) = self.trouble.take_if(|_| is_due(self.troubled)) {
            self.troubled = Some(now);
            warn!("audit repository: {} bytes of records wait: {trouble}", health.pending_bytes);
        }
        if self.refused.count > 0 && is_due(self.refused.told) {
            let Refused { count, not_kept, status, .. } = self.refused;
            self.refused = Refused { told: Some(now), ..Refused::default() };
            warn!(
                "audit repository: {count} events are refused for good, the last with status {status}, {} since the start; they are \
                 in refused.jsonl in the spool's folder{}",
                health.refused,
                if not_kept > 0 { ", which is full: some are not" } else { "" }
            );
        }
    }
}
