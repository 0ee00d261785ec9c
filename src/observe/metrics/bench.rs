//! Requests for the benchmark of the metrics (`bench/metrics.rs`).

use std::time::Duration;

use super::Metrics;
use super::lists::Lists;
use crate::observe::request_id::RequestId;
use crate::observe::request_record::{AnsweredBy, Coded, RequestRecord};
use crate::observe::trace_context::TraceContext;

/// Counters, and a request that they count.
#[derive(Debug)]
pub struct CountedRequests {
    metrics: Metrics,
    record: RequestRecord<'static>,
}

const TYPES: &[&str] = &[""; 148];
const REASONS: &[&str] = &[""; 47];
const ROUTES: &[&str] = &["none", "fhir"];

impl CountedRequests {
    /// Requests that use every family: they waited, were sent again, and failed.
    #[must_use]
    pub fn full() -> Self {
        let metrics = Metrics::new(Lists { interactions: vec![""; 22], types: TYPES, reasons: REASONS, routes: ROUTES });
        let clients: Vec<String> = (0..64).map(|number| format!("client-{number}")).collect();
        metrics.learn(["default", "other"].into_iter(), clients.iter().map(String::as_str));
        let record = RequestRecord {
            request_id: RequestId::next(),
            trace: TraceContext::of(None, None).0,
            caller: None,
            client: Some("client-40"),
            proto: "HTTP/1.1",
            tls: None,
            method: "GET",
            route: Coded { word: "fhir", number: 1 },
            site: Some("default"),
            resource_type: Some(Coded { word: "Patient", number: 100 }),
            interaction: Some(Coded { word: "search-type", number: 2 }),
            status: Some(502),
            by: AnsweredBy::Gateway,
            reason: Some(Coded { word: "bad_answer", number: 30 }),
            whole: true,
            bytes_in: 100,
            bytes: 900,
            duration: Duration::from_millis(30),
            queued: Duration::from_millis(3),
            token_wait: Duration::from_millis(1),
            upstream: Some(Duration::from_millis(25)),
            reused: Some(true),
            node: None,
            upstream_status: Some(200),
            retries: 1,
            shared: true,
            left_out: 1,
        };
        Self { metrics, record }
    }

    /// Counts one.
    pub fn count(&self) {
        self.metrics.count(&self.record);
    }

    /// How many samples there are.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.metrics.samples().len()
    }
}
