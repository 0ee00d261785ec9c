//! A request on its node: counted there while it is, and the way to the next node.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::nodes::breaker::Trial;
use crate::nodes::node::Node;
use crate::nodes::set::{NoNode, Nodes};
use crate::nodes::tried::Tried;

/// A request's lease of a node, from the choice to the end of the answer; the node counts the request until it is dropped.
pub(crate) struct NodeLease {
    nodes: Arc<Nodes>,
    index: usize,
    trial: Option<Trial>,
}

impl NodeLease {
    /// Takes a node for a request that has given up those in `tried`: a healthy one, or else a degraded one. When all are
    /// ejected, one request at a time finds out whether they are back.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn take(nodes: &Arc<Nodes>, tried: Tried, now: Instant) -> Result<Self, NoNode> {
        nodes.choose(tried, now).map(|(index, trial)| Self::of(nodes, index, trial))
    }

    fn of(nodes: &Arc<Nodes>, index: usize, trial: Option<Trial>) -> Self {
        let lease = Self { nodes: Arc::clone(nodes), index, trial };
        lease.node().load.fetch_add(1, Ordering::Relaxed);
        lease
    }

    /// The node.
    #[must_use]
    pub(crate) fn node(&self) -> &Node {
        self.nodes.node(self.index)
    }

    /// Its index among the site's.
    #[must_use]
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Records the head of an answer, which came so long after the request went out.
    pub(crate) fn answered(&mut self, after: Option<Duration>, is_error: bool) {
        // A node that fails quickly is not a quick one.
        let after = after.filter(|_| !is_error);
        self.nodes.answered(self.index, after, self.trial.take());
    }

    /// Gives the node up, none of whose addresses took a connection, for one that this request has not tried, if there is
    /// one. `is_its_fault` counts against this one.
    #[must_use]
    pub(crate) fn unreachable(mut self, is_its_fault: bool, tried: &mut Tried, now: Instant) -> Option<Self> {
        tried.add(self.index);
        if is_its_fault {
            self.nodes.failed(self.index, now);
        }
        let Some(trial) = self.trial.take() else { return Self::take(&self.nodes, *tried, now).ok() };
        match (0..self.nodes.len()).find(|index| !tried.has(*index)) {
            Some(next) => Some(Self::of(&self.nodes, next, Some(trial))),
            None => {
                self.nodes.trial_failed(trial, now);
                None
            }
        }
    }
}

impl Drop for NodeLease {
    fn drop(&mut self) {
        self.node().load.fetch_sub(1, Ordering::Relaxed);
        if let Some(trial) = self.trial {
            self.nodes.trial_abandoned(trial);
        }
    }
}

impl fmt::Debug for NodeLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLease").field("index", &self.index).field("trial", &self.trial).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
