//! A request on its node: counted there while it is, and the way to the next one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::config::Balance;
use crate::nodes::Nodes;
use crate::nodes::breaker::Trial;
use crate::nodes::node::Node;

/// Nodes that a request has given up, by index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried(u64);

impl Tried {
    /// One more. A site has 64 nodes at most.
    pub fn add(&mut self, node: usize) {
        self.0 |= 1_u64.checked_shl(u32::try_from(node).unwrap_or(u32::MAX)).unwrap_or(0);
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn has(self, node: usize) -> bool {
        self.0.checked_shr(u32::try_from(node).unwrap_or(u32::MAX)).is_none_or(|bits| bits & 1 == 1)
    }
}

/// A request on its node, from the choice to the end of the answer; counted there until it is dropped.
pub struct OnNode {
    pub(super) nodes: Arc<Nodes>,
    pub(super) index: usize,
    pub(super) trial: Option<Trial>,
}

impl OnNode {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        self.nodes.node(self.index)
    }

    /// Its index among the site's.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether the site has other nodes.
    #[must_use]
    pub fn is_one_of_several(&self) -> bool {
        self.nodes.nodes.len() > 1
    }

    /// The head of an answer came, so long after the request went out.
    pub fn answered(&mut self, after: Option<Duration>, is_error: bool) {
        // A node that fails quickly is not a quick one.
        if let (Balance::LeastLatency, Some(after), false) = (self.nodes.terms.balance, after, is_error) {
            self.node().measure(self.nodes.born.elapsed(), after);
        }
        if self.trial.is_some() || self.node().has_failures.load(Ordering::Relaxed) {
            let (index, trial) = (self.index, self.trial.take());
            self.nodes.update(|breaker| breaker.answered(index, trial));
        }
    }

    /// None of the node's addresses took a connection: gives a node that this request has not tried, if there is one.
    /// `is_its_fault` counts against this one.
    #[must_use]
    pub fn unreachable(mut self, is_its_fault: bool, tried: &mut Tried, now: Instant) -> Option<OnNode> {
        let index = self.index;
        tried.add(index);
        if is_its_fault {
            self.nodes.update(|breaker| breaker.failed(index, now));
        }
        let Some(trial) = self.trial else { return self.nodes.choose(*tried, now).ok() };
        match (0..self.nodes.nodes.len()).find(|index| !tried.has(*index)) {
            Some(next) => {
                self.trial = None;
                Some(self.nodes.on(next, Some(trial)))
            }
            None => {
                self.trial = None;
                self.nodes.breaker.lock().trial_failed(trial, now);
                None
            }
        }
    }
}

impl Drop for OnNode {
    fn drop(&mut self) {
        self.node().load.fetch_sub(1, Ordering::Relaxed);
        if let Some(trial) = self.trial {
            self.nodes.breaker.lock().trial_abandoned(trial, Instant::now());
        }
    }
}

impl fmt::Debug for OnNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnNode").field("index", &self.index).field("trial", &self.trial).finish_non_exhaustive()
    }
}
