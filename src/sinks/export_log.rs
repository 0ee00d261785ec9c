//! What the log is told of traces: a line when they do not arrive, one a minute while they do not, one when they do again. No line
//! holds anything of a span, or of what the collector says.

use std::time::{Duration, Instant};

use log::{info, warn};

use crate::observe::traces;

/// The least time between two warnings.
const BETWEEN: Duration = Duration::from_secs(60);

/// What the log was told.
#[derive(Debug, Default)]
pub(super) struct ExportLog {
    /// When it was last told of trouble that has not ended.
    troubled: Option<Instant>,
    /// How many requests without spans it knows of.
    lost: u64,
}

impl ExportLog {
    /// A message was not taken, for this reason, or not whole.
    pub(super) fn fails(&mut self, why: &str, now: Instant) {
        if self.troubled.is_some_and(|at| now.duration_since(at) < BETWEEN) {
            return;
        }
        (self.troubled, self.lost) = (Some(now), traces::lost());
        warn!("traces do not arrive: {why}; the spans of {} requests are lost since the start", self.lost);
    }

    /// A message was taken.
    pub(super) fn works(&mut self, now: Instant) {
        let lost = traces::lost();
        if self.troubled.take().is_some() {
            self.lost = lost;
            info!("traces arrive again; the spans of {lost} requests are lost since the start");
        } else if lost > self.lost {
            self.fails("more requests end than the collector takes", now);
        }
    }
}
