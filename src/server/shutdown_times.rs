//! How long the process may take to end.

use std::time::Duration;

use crate::config::Config;

/// Pingora's own grace period, in seconds, where `server.grace_period_seconds` is null.
const PINGORAS_GRACE: u64 = 300;
/// What the last requests after an upgrade may take beyond the longest timeout of a site.
const MARGIN: Duration = Duration::from_secs(10);

/// How long each step of the shutdown may take.
#[derive(Debug, Clone)]
pub(super) struct ShutdownTimes {
    /// How long `GET /ready` answers 503 before connections are refused.
    pub drain_delay: Duration,
    /// From SIGTERM to the end of the process.
    pub grace: Duration,
    /// From the hand-over of the listeners to the end of the process: long enough for every request, because the new process
    /// serves meanwhile.
    pub grace_after_upgrade: Duration,
}

impl ShutdownTimes {
    /// The times of a configuration.
    #[must_use]
    pub(super) fn of(config: &Config) -> Self {
        let grace = Duration::from_secs(config.server.grace_period_seconds.unwrap_or(PINGORAS_GRACE));
        let longest_request =
            config.sites.iter().map(|site| site.upstream.timeouts.export.max(site.upstream.timeouts.read)).max();
        Self {
            drain_delay: config.drain_delay,
            grace,
            grace_after_upgrade: grace.max(longest_request.unwrap_or_default() + MARGIN),
        }
    }

    /// The longest time that requests may take to end, whatever ends the process.
    #[must_use]
    pub(super) fn longest(&self) -> Duration {
        self.grace.max(self.grace_after_upgrade)
    }
}
