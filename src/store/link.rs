//! The state of the connection to the store, and what commands make of it.

use std::time::{Duration, Instant};

use crate::store::connection::Connection;
use crate::store::store_error::StoreError;

/// The pause after the first failed attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The state of the connection.
#[derive(Debug, Clone)]
pub(super) enum Link {
    /// None was needed so far.
    Idle,
    /// One is being opened. Commands wait for it, unless the last attempt failed.
    Opening {
        /// From then on nobody opens it any more: the runtime of the task has ended.
        until: Instant,
        /// The last attempt.
        failed: Option<Failed>,
    },
    /// There is one.
    Open(Connection),
    /// There is none.
    Away(Failed),
}

/// A failed attempt.
#[derive(Debug, Clone)]
pub(super) struct Failed {
    /// Why it failed.
    pub(super) error: StoreError,
    /// How many attempts have failed without one that did not.
    attempts: u32,
    /// When the next one is due.
    again_at: Instant,
}

impl Link {
    /// Begins to open a connection if one is due. `None`: there is one, somebody opens it, or it is too early; otherwise the last
    /// attempt, if it failed.
    #[must_use]
    pub(super) fn begin(&mut self, within: Duration, now: Instant) -> Option<Option<Failed>> {
        let failed = self.due(now)?;
        *self = Self::Opening { until: now + within, failed: failed.clone() };
        Some(failed)
    }

    /// Whether a connection is to be opened, and how the last attempt failed.
    #[must_use]
    pub(super) fn due(&self, now: Instant) -> Option<Option<Failed>> {
        match self {
            Self::Idle => Some(None),
            Self::Open(connection) if connection.is_closed() => Some(None),
            Self::Opening { until, failed } if *until <= now => Some(failed.clone()),
            Self::Away(failed) if failed.again_at <= now => Some(Some(failed.clone())),
            Self::Open(_) | Self::Opening { .. } | Self::Away(_) => None,
        }
    }

    /// What a command makes of it: a connection, an error, or `None` where it waits for the next state.
    #[must_use]
    pub(super) fn usable(&self) -> Option<Result<Connection, StoreError>> {
        match self {
            Self::Open(connection) if !connection.is_closed() => Some(Ok(connection.clone())),
            Self::Away(failed) | Self::Opening { failed: Some(failed), .. } => Some(Err(failed.error.clone())),
            Self::Open(_) | Self::Opening { failed: None, .. } | Self::Idle => None,
        }
    }
}

impl Failed {
    /// One more failed attempt. `chance` is from 0 to 1: gateways that lost the store together do not come back together.
    #[must_use]
    pub(super) fn after(earlier: Option<&Self>, error: StoreError, now: Instant, chance: f64) -> Self {
        let attempts = earlier.map_or(0, |earlier| earlier.attempts).saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << (attempts - 1).min(8)).min(LONGEST_PAUSE);
        Self { error, attempts, again_at: now + pause.mul_f64(0.75 + 0.25 * chance.clamp(0.0, 1.0)) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_opens_it_and_the_others_wait_or_fail() {
        let now = Instant::now();
        let within = Duration::from_secs(2);
        let mut link = Link::Idle;
        assert!(link.usable().is_none());
        assert!(matches!(link.begin(within, now), Some(None)));
        assert!(link.begin(within, now).is_none(), "somebody opens it");
        assert!(link.usable().is_none());
        link = Link::Away(Failed::after(None, StoreError::TimedOut, now, 0.0));
        assert!(matches!(link.usable(), Some(Err(StoreError::TimedOut))));
        assert!(link.begin(within, now).is_none(), "it is too early");
        let failed = link.begin(within, now + FIRST_PAUSE).unwrap();
        assert_eq!(failed.unwrap().attempts, 1);
        assert!(matches!(link.usable(), Some(Err(StoreError::TimedOut))), "nothing waits for a store that was away");
        // The task that opens it is lost.
        assert!(link.begin(within, now + FIRST_PAUSE + within).is_some());
    }

    #[test]
    fn the_pauses_become_longer_up_to_a_bound() {
        let now = Instant::now();
        let mut failed = Failed::after(None, StoreError::TimedOut, now, 1.0);
        let mut pauses = vec![failed.again_at - now];
        for _ in 0..40 {
            failed = Failed::after(Some(&failed), StoreError::TimedOut, now, 1.0);
            pauses.push(failed.again_at - now);
        }
        assert_eq!(pauses[..3], [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]);
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
    }
}
