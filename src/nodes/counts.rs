//! How many nodes of a site are healthy, and when one of them was heard from last: what callers may know of them.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::nodes::breaker::Health;
use crate::nodes::node::Node;
use crate::nodes::set::Nodes;

/// How many nodes of a site are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct NodeCounts {
    /// They get requests, and nothing is known to be wrong with them.
    pub healthy: usize,
    /// The latest connection to them failed, or they answer their checks with errors.
    pub degraded: usize,
    /// They cannot be reached, and get no requests.
    pub ejected: usize,
}

impl NodeCounts {
    /// Whether no request can be sent.
    #[must_use]
    pub(crate) fn are_all_ejected(self) -> bool {
        self.healthy + self.degraded == 0
    }

    /// Whether nothing is known to be wrong.
    #[must_use]
    pub(crate) fn are_all_healthy(self) -> bool {
        self.degraded + self.ejected == 0
    }

    fn count(&mut self, node: &Node) {
        let count = match node.health() {
            _ if node.fhir.address_count() == 0 => &mut self.ejected,
            Health::Healthy if node.has_failures() => &mut self.degraded,
            Health::Healthy => &mut self.healthy,
            Health::Degraded => &mut self.degraded,
            Health::Ejected => &mut self.ejected,
        };
        *count += 1;
    }
}

impl Nodes {
    /// How the nodes stand.
    #[must_use]
    pub(crate) fn counts(&self) -> NodeCounts {
        let mut counts = NodeCounts::default();
        (0..self.len()).for_each(|index| counts.count(self.node(index)));
        counts
    }

    /// How long before `now` a node answered last, a request or a check; `None` before the first answer.
    #[must_use]
    pub(crate) fn answered_ago(&self, now: Instant) -> Option<Duration> {
        let latest = (0..self.len()).filter_map(|index| self.heard_at(index)).max();
        latest.map(|latest| now.saturating_duration_since(latest))
    }
}
