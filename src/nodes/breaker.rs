//! The health of a site's nodes, and the circuit breaker that opens when all are ejected. Pure: what happened and when is
//! passed in, what changed comes out.
//!
//! ```text
//! a node:      Healthy ──failures in a row──▶ Ejected ──a good check, or a trial that was answered──▶ Healthy
//!               └──checks answered with 5xx──▶ Degraded (used only when none is healthy) ──a good check──▶ Healthy
//! the circuit: Closed ──the last node is ejected──▶ Open ──its pause is over──▶ one trial ──answered──▶ Closed
//!                                                    ▲                              └─not──┐
//!                                                    └──────── a longer pause ─────────────┘
//! ```
//! Only connections that do not come about, and checks without an answer, count as failures: an HTTP status never opens the
//! circuit.
//!
//! Decision: `docs/decisions/04-node-health.md`.

use std::time::{Duration, Instant};

/// Failures in a row that eject the only node: a mistake costs the whole site.
const ALONE: u32 = 5;
/// Failures in a row that eject one of several nodes.
const ONE_OF_SEVERAL: u32 = 3;
/// How long an open circuit waits for its first trial.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long it waits at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The wait that is told to requests during a trial.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// The health of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It gets requests.
    Healthy,
    /// It answers its checks with errors: it gets requests only when no node is healthy.
    Degraded,
    /// It cannot be reached, and gets no requests.
    Ejected,
}

/// The result of an active check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckResult {
    /// An answer below 500.
    Good,
    /// An answer from 500 up.
    Errors,
    /// No connection, or no answer in time.
    NoAnswer,
}

/// Whether a request may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Yes, to a healthy or degraded node.
    Pass,
    /// Yes, although all are ejected: it finds out whether one is back.
    Trial(Trial),
    /// No, for this long.
    Reject(Duration),
}

/// The one request that may go out while the circuit is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial(u64);

/// What an event changed, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A node's health.
    Node(usize, Health),
    /// The circuit opened: every request is rejected until a trial or a check succeeds.
    Opened,
    /// The circuit closed.
    Closed,
}

/// The health of one site's nodes, and their circuit.
#[derive(Debug)]
pub(crate) struct Breaker {
    nodes: Vec<Node>,
    circuit: Circuit,
    trials: u64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    health: Health,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
enum Circuit {
    Closed,
    Open { until: Instant, pause: Duration },
    Trying { trial: Trial, pause: Duration },
}

impl Breaker {
    /// A breaker of `count` nodes, all of them healthy until something else is known.
    #[must_use]
    pub(crate) fn new(count: usize) -> Self {
        let node = Node { health: Health::Healthy, failures: 0 };
        Self { nodes: vec![node; count], circuit: Circuit::Closed, trials: 0 }
    }

    /// The health of a node.
    #[must_use]
    pub(crate) fn health(&self, node: usize) -> Health {
        self.nodes.get(node).map_or(Health::Ejected, |node| node.health)
    }

    /// How often in a row a node has failed.
    #[must_use]
    pub(crate) fn failures(&self, node: usize) -> u32 {
        self.nodes.get(node).map_or(0, |node| node.failures)
    }

    /// Whether requests are rejected at `now`, and for how long; unlike [`Breaker::admit`] it starts no trial.
    #[must_use]
    pub(crate) fn rejects_for(&self, now: Instant) -> Option<Duration> {
        match self.circuit {
            Circuit::Closed => None,
            Circuit::Open { until, .. } => Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero()),
            Circuit::Trying { .. } => Some(TRIAL_PATIENCE),
        }
    }

    /// Decides whether a request may go out.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        match (self.circuit, self.rejects_for(now)) {
            (Circuit::Closed, _) => Admission::Pass,
            (_, Some(wait)) => Admission::Reject(wait),
            (Circuit::Open { pause, .. } | Circuit::Trying { pause, .. }, None) => {
                self.trials += 1;
                let trial = Trial(self.trials);
                self.circuit = Circuit::Trying { trial, pause };
                Admission::Trial(trial)
            }
        }
    }

    /// Records that none of the node's addresses took a connection, or a check had no answer.
    pub(crate) fn failed(&mut self, index: usize, now: Instant) -> Vec<Change> {
        let patience = if self.nodes.len() == 1 { ALONE } else { ONE_OF_SEVERAL };
        let Some(node) = self.nodes.get_mut(index) else { return Vec::new() };
        node.failures = node.failures.saturating_add(1);
        if node.health == Health::Ejected || node.failures < patience {
            return Vec::new();
        }
        node.health = Health::Ejected;
        let mut changes = vec![Change::Node(index, Health::Ejected)];
        if self.nodes.iter().all(|node| node.health == Health::Ejected) {
            self.circuit = Circuit::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE };
            changes.push(Change::Opened);
        }
        changes
    }

    /// Records the head of an answer, whatever its status. It brings back an ejected node only within a trial: another one
    /// may have been on its way when the node died.
    pub(crate) fn answered(&mut self, index: usize, trial: Option<Trial>) -> Vec<Change> {
        let is_the_trial = matches!((self.circuit, trial), (Circuit::Trying { trial, .. }, Some(this)) if trial == this);
        let Some(node) = self.nodes.get_mut(index) else { return Vec::new() };
        if node.health != Health::Ejected {
            node.failures = 0;
            return Vec::new();
        }
        if is_the_trial { self.bring_back(index, Health::Healthy) } else { Vec::new() }
    }

    /// Records the result of an active check.
    pub(crate) fn checked(&mut self, index: usize, result: CheckResult, now: Instant) -> Vec<Change> {
        let patience = if self.nodes.len() == 1 { ALONE } else { ONE_OF_SEVERAL };
        let Some(node) = self.nodes.get_mut(index) else { return Vec::new() };
        match (result, node.health) {
            (CheckResult::NoAnswer, _) => self.failed(index, now),
            (CheckResult::Good, Health::Healthy) => {
                node.failures = 0;
                Vec::new()
            }
            (CheckResult::Good, Health::Degraded | Health::Ejected) => self.bring_back(index, Health::Healthy),
            (CheckResult::Errors, Health::Ejected) => self.bring_back(index, Health::Degraded),
            (CheckResult::Errors, Health::Degraded) => Vec::new(),
            (CheckResult::Errors, Health::Healthy) => {
                node.failures = node.failures.saturating_add(1);
                if node.failures < patience {
                    return Vec::new();
                }
                *node = Node { health: Health::Degraded, failures: 0 };
                vec![Change::Node(index, Health::Degraded)]
            }
        }
    }

    /// Records that a trial found no node that takes a connection.
    pub(crate) fn trial_failed(&mut self, trial: Trial, now: Instant) {
        self.reopen(trial, now, |pause| (pause * 2).min(LONGEST_PAUSE));
    }

    /// Records that a trial ended without a result: its caller left, or the connection broke. A trial that has ended before
    /// changes nothing.
    pub(crate) fn trial_abandoned(&mut self, trial: Trial, now: Instant) {
        self.reopen(trial, now, |pause| pause);
    }

    fn reopen(&mut self, ended: Trial, now: Instant, next: impl Fn(Duration) -> Duration) {
        if let Circuit::Trying { trial, pause } = self.circuit
            && trial == ended
        {
            let pause = next(pause);
            self.circuit = Circuit::Open { until: now + pause, pause };
        }
    }

    fn bring_back(&mut self, index: usize, health: Health) -> Vec<Change> {
        if let Some(node) = self.nodes.get_mut(index) {
            *node = Node { health, failures: 0 };
        }
        let mut changes = vec![Change::Node(index, health)];
        if !matches!(self.circuit, Circuit::Closed) {
            self.circuit = Circuit::Closed;
            changes.push(Change::Closed);
        }
        changes
    }
}

#[cfg(test)]
mod tests;
