//! One node: its origins, and what choices read of it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use http::header::InvalidHeaderValue;

use crate::config;
use crate::nodes::breaker::Standing;
use crate::nodes::origin::Origin;
use crate::nodes::token_origin::TokenOrigins;
use crate::nodes::{Terms, balance};

/// One of the servers that together are an OpenEMR. How it stands is decided by the breaker and written here.
#[derive(Debug)]
pub struct Node {
    /// Its FHIR API.
    pub fhir: Origin,
    /// Its token endpoint.
    pub tokens: TokenOrigins,
    /// The `Host` of its FHIR requests.
    pub host: HeaderValue,
    pub(super) standing: AtomicU8,
    pub(super) has_failures: AtomicBool,
    /// Requests on it.
    pub(super) load: AtomicUsize,
    /// Microseconds; 0 before the first answer.
    latency: AtomicU64,
    /// Milliseconds after the birth of the nodes.
    measured: AtomicU64,
}

impl Node {
    pub(super) fn new(node: &config::Node, terms: &Terms) -> Result<Self, InvalidHeaderValue> {
        Ok(Self {
            fhir: Origin::new(&node.fhir_base, terms),
            tokens: TokenOrigins::new(node, terms),
            host: HeaderValue::from_str(&node.fhir_base.authority())?,
            standing: AtomicU8::new(Standing::In as u8),
            has_failures: AtomicBool::new(false),
            load: AtomicUsize::new(0),
            latency: AtomicU64::new(0),
            measured: AtomicU64::new(0),
        })
    }

    /// Looks up its names. The origins have told the log what is wrong, once.
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

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            standing if standing == Standing::In as u8 => Standing::In,
            standing if standing == Standing::Sick as u8 => Standing::Sick,
            _ => Standing::Out,
        }
    }

    pub(super) fn cost(&self, age: Duration) -> u64 {
        let measured = Duration::from_millis(self.measured.load(Ordering::Relaxed));
        let load = self.load.load(Ordering::Relaxed);
        balance::cost(self.latency.load(Ordering::Relaxed), age.saturating_sub(measured), load)
    }

    /// Two answers at the same moment may count as one: it is an average.
    pub(super) fn measure(&self, age: Duration, answered_after: Duration) {
        let average = balance::average(self.latency.load(Ordering::Relaxed), answered_after);
        self.latency.store(average, Ordering::Relaxed);
        self.measured.store(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}
