//! Watches the writer from outside: what it cannot tell while it is stuck.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::Mutex;

use crate::audit::trail::Shared;

/// The time between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// How long records may wait while none is written.
const PATIENCE: Duration = Duration::from_secs(2);
/// The least time between two lines about lost records.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// What went wrong last, for the log.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<Option<String>>);

impl Troubles {
    /// Keeps what went wrong, in place of what did before.
    pub(super) fn note(&self, doing: &str, error: &io::Error) {
        *self.0.lock() = Some(format!("{doing}: {error}"));
    }

    fn take(&self) -> Option<String> {
        self.0.lock().take()
    }
}

/// Whether the writer gets on, as seen from time to time.
#[derive(Debug)]
struct Progress {
    batches: u64,
    since: Instant,
}

impl Progress {
    /// Whether the writer is stuck: for some time it was done with nothing although records wait.
    fn is_stuck(&mut self, (batches, is_waited_for): (u64, bool), now: Instant) -> bool {
        if batches != self.batches || !is_waited_for {
            *self = Self { batches, since: now };
        }
        now.duration_since(self.since) >= PATIENCE
    }
}

/// What the log was told.
#[derive(Debug, Default)]
struct Told {
    lost: u64,
    at: Option<Instant>,
}

impl Told {
    /// How many lost records the log is to be told of now.
    fn due(&mut self, lost: u64, now: Instant) -> Option<u64> {
        if lost == self.lost || self.at.is_some_and(|at| now.duration_since(at) < BETWEEN_LINES) {
            return None;
        }
        let new = lost - self.lost;
        *self = Self { lost, at: Some(now) };
        Some(new)
    }
}

/// Watches until the process ends.
pub(super) fn run(shared: &Arc<Shared>, troubles: &Troubles, ending: &AtomicBool) {
    let mut progress = Progress { batches: 0, since: Instant::now() };
    let (mut told, mut was_stuck, mut last_trouble) = (Told::default(), false, Told::default());
    let mut troubles_seen = 0;
    while !ending.load(Ordering::Acquire) {
        std::thread::park_timeout(EVERY);
        let now = Instant::now();
        let is_stuck = progress.is_stuck(shared.progress(), now);
        if is_stuck != was_stuck {
            shared.stalled(is_stuck);
            match is_stuck {
                true => warn!("audit trail: the disk does not answer; records wait, as many as there is memory for"),
                false => info!("audit trail: records are written again"),
            }
            was_stuck = is_stuck;
        }
        let lost = shared.health().lost;
        if let Some(new) = told.due(lost, now) {
            let cause = troubles.take();
            warn!(
                "audit trail: {new} records are lost, {lost} since the start: {}",
                cause.as_deref().unwrap_or("too many waited")
            );
        } else if told.lost == lost
            && let Some(cause) = troubles.take()
        {
            troubles_seen += 1;
            if last_trouble.due(troubles_seen, now).is_some() {
                warn!("audit trail: {cause}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_is_stuck_when_records_wait_and_none_is_written_for_a_while() {
        let start = Instant::now();
        let mut progress = Progress { batches: 0, since: start };
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for (milliseconds, seen, stuck) in [
            (250, (0, true), false),
            (1999, (0, true), false),
            (2000, (0, true), true),
            (2250, (1, true), false),
            (4000, (1, true), false),
            (4250, (1, true), true),
            (4500, (1, false), false),
            (9000, (1, false), false),
            (9250, (1, true), false),
        ] {
            assert_eq!(progress.is_stuck(seen, at(milliseconds)), stuck, "{milliseconds}");
        }
    }

    #[test]
    fn the_log_is_told_once_a_minute_of_what_is_new() {
        let start = Instant::now();
        let mut told = Told::default();
        for (seconds, lost, expected) in
            [(0, 0, None), (1, 3, Some(3)), (2, 5, None), (60, 9, None), (61, 9, Some(6)), (200, 9, None), (201, 10, Some(1))]
        {
            assert_eq!(told.due(lost, start + Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }
}
