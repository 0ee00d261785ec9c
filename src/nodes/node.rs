//! One node: its origins, and what choices read of it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config;
use crate::config::Upstream;
use crate::nodes::balance;
use crate::nodes::breaker::Health;
use crate::nodes::origin::Origin;
use crate::nodes::places::fhir_place;
use crate::nodes::token_origin::TokenOrigins;

/// One of the servers that together are an OpenEMR. Its health is decided by the breaker and written here.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its FHIR API.
    pub fhir: Origin,
    /// Its token endpoint.
    pub tokens: TokenOrigins,
    health: AtomicU8,
    has_failures: AtomicBool,
    /// When it answered last, in milliseconds since the nodes were created and one more; 0 before its first answer.
    heard: AtomicU64,
    /// Requests that it has at the moment.
    pub(super) load: AtomicUsize,
    /// The average time to an answer, in microseconds; 0 before the first.
    latency: AtomicU64,
    /// When, in milliseconds since the nodes were created.
    measured: AtomicU64,
}

impl Node {
    pub(super) fn new(node: &config::Node, upstream: &Upstream) -> Self {
        Self {
            fhir: Origin::new(fhir_place(node), upstream),
            tokens: TokenOrigins::new(node, upstream),
            health: AtomicU8::new(Health::Healthy as u8),
            has_failures: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            load: AtomicUsize::new(0),
            latency: AtomicU64::new(0),
            measured: AtomicU64::new(0),
        }
    }

    /// Looks up its names. The origins log what is wrong, once.
    pub(super) async fn resolve(&self) {
        let _ = self.fhir.resolve().await;
        if let Some(tokens) = self.tokens.known() {
            let _ = tokens.origin.resolve().await;
        }
    }

    /// Whether its token endpoint is known, and has no address.
    pub(super) fn has_lost_token_endpoint(&self) -> bool {
        self.tokens.known().is_some_and(|tokens| tokens.origin.address_count() == 0)
    }

    /// Its health.
    #[must_use]
    pub(crate) fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            health if health == Health::Healthy as u8 => Health::Healthy,
            health if health == Health::Degraded as u8 => Health::Degraded,
            _ => Health::Ejected,
        }
    }

    pub(super) fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
    }

    /// Whether the latest connection to it failed, or the latest check had no good answer.
    pub(super) fn has_failures(&self) -> bool {
        self.has_failures.load(Ordering::Relaxed)
    }

    /// Whether that is a change.
    pub(super) fn set_has_failures(&self, has_failures: bool) -> bool {
        self.has_failures.swap(has_failures, Ordering::Relaxed) != has_failures
    }

    /// Notes that it answered, when the nodes are so old.
    pub(super) fn note_answer(&self, age: Duration) {
        self.heard.store(milliseconds(age).saturating_add(1), Ordering::Relaxed);
    }

    /// How old the nodes were when it answered last; `None` before its first answer.
    pub(super) fn heard(&self) -> Option<Duration> {
        self.heard.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis)
    }

    /// What one more request would cost here, when the nodes are so old; see [`balance::cost`].
    pub(super) fn cost(&self, age: Duration) -> u64 {
        let measured = Duration::from_millis(self.measured.load(Ordering::Relaxed));
        let load = self.load.load(Ordering::Relaxed);
        balance::cost(self.latency.load(Ordering::Relaxed), age.saturating_sub(measured), load)
    }

    /// Adds an answer to the average. Two at the same moment may count as one.
    pub(super) fn measure(&self, age: Duration, answered_after: Duration) {
        let average = balance::average(self.latency.load(Ordering::Relaxed), answered_after);
        self.latency.store(average, Ordering::Relaxed);
        self.measured.store(milliseconds(age), Ordering::Relaxed);
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
