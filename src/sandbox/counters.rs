//! Counters and the last requests, which the admin address reports.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::calendar::machine_milliseconds;

/// The number of different paths that are counted one by one; the rest are counted together.
const MOST_PATHS: usize = 1000;
/// The number of exchanges whose times are kept.
const MOST_EXCHANGES: usize = 1000;

/// What happened since the start or the last reset.
#[derive(Default)]
pub(super) struct Counters {
    /// Requests at the token endpoint.
    pub(super) token_requests: AtomicU64,
    /// Issued tokens.
    pub(super) tokens_issued: AtomicU64,
    /// Rejected token requests.
    pub(super) assertions_refused: AtomicU64,
    /// Requests below `/apis` other than probes.
    pub(super) fhir_requests: AtomicU64,
    /// Requests for `metadata` without a token, as health checks send them.
    pub(super) probes: AtomicU64,
    /// Requests below `/apis` whose route was not the one of their path.
    pub(super) rerouted: AtomicU64,
    /// Searches whose `_sort` had SQL in it.
    pub(super) sql_injections: AtomicU64,
    /// Rows that searches made.
    pub(super) rows_made: AtomicU64,
    /// Resources that the answers to searches had, included ones among them.
    pub(super) rows_sent: AtomicU64,
    /// Accepted connections.
    pub(super) connections_accepted: AtomicU64,
    /// Open connections.
    pub(super) connections_open: AtomicU64,
    /// Requests that a fault dropped without an answer.
    pub(super) requests_dropped: AtomicU64,
    /// The most workers that were busy at one time.
    pub(super) most_workers_busy: AtomicU64,
    /// The server name that the last TLS client sent (SNI).
    pub(super) last_server_name: Mutex<Option<String>>,
    /// The last request below `/apis` other than a probe.
    pub(super) last_fhir_request: Mutex<Value>,
    /// The last request at the token endpoint.
    pub(super) last_token_request: Mutex<Value>,
    fhir_at_once: AtomicU64,
    most_fhir_at_once: AtomicU64,
    paths: Mutex<BTreeMap<String, u64>>,
    exchanges: Mutex<Exchanges>,
}

#[derive(Default)]
struct Exchanges {
    kept: VecDeque<Exchange>,
    forgotten: usize,
}

/// The times of a request at the token endpoint, in milliseconds since 1970 by the machine's clock.
struct Exchange {
    began: u64,
    ended: Option<u64>,
}

/// A request in progress; it ends when this is dropped.
pub(super) struct InProgress<'a> {
    counters: &'a Counters,
    kind: Kind,
}

enum Kind {
    Fhir,
    /// The number of the exchange since the start.
    Exchange(usize),
}

impl Counters {
    /// Counts a request by method and path.
    pub(super) fn count_path(&self, method: &str, path: &str) {
        let mut paths = self.paths.lock();
        let name = format!("{method} {path}");
        let name = if paths.len() < MOST_PATHS || paths.contains_key(&name) { name } else { "others".to_owned() };
        *paths.entry(name).or_default() += 1;
    }

    /// Counts a FHIR request, which is in progress from now on.
    pub(super) fn begin_fhir(&self) -> InProgress<'_> {
        self.fhir_requests.fetch_add(1, Ordering::Relaxed);
        let at_once = self.fhir_at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_fhir_at_once.fetch_max(at_once, Ordering::Relaxed);
        InProgress { counters: self, kind: Kind::Fhir }
    }

    /// Counts a token request, which is in progress from now on.
    pub(super) fn begin_exchange(&self) -> InProgress<'_> {
        self.token_requests.fetch_add(1, Ordering::Relaxed);
        let mut exchanges = self.exchanges.lock();
        if exchanges.kept.len() == MOST_EXCHANGES {
            exchanges.kept.pop_front();
            exchanges.forgotten += 1;
        }
        exchanges.kept.push_back(Exchange { began: machine_milliseconds(), ended: None });
        InProgress { counters: self, kind: Kind::Exchange(exchanges.forgotten + exchanges.kept.len() - 1) }
    }

    /// Sets everything to zero but for what is in progress.
    pub(super) fn reset(&self) {
        for counter in [
            &self.token_requests,
            &self.tokens_issued,
            &self.assertions_refused,
            &self.fhir_requests,
            &self.probes,
            &self.rerouted,
            &self.sql_injections,
            &self.rows_made,
            &self.rows_sent,
            &self.connections_accepted,
            &self.requests_dropped,
            &self.most_workers_busy,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.most_fhir_at_once.store(self.fhir_at_once.load(Ordering::Relaxed), Ordering::Relaxed);
        self.paths.lock().clear();
        let mut exchanges = self.exchanges.lock();
        exchanges.forgotten += exchanges.kept.len();
        exchanges.kept.clear();
        *self.last_server_name.lock() = None;
        *self.last_fhir_request.lock() = Value::Null;
        *self.last_token_request.lock() = Value::Null;
    }

    /// Returns everything as JSON.
    pub(super) fn describe(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let exchange = |exchange: &Exchange| json!({"began_ms": exchange.began, "ended_ms": exchange.ended});
        json!({
            "token_requests": read(&self.token_requests),
            "tokens_issued": read(&self.tokens_issued),
            "assertions_refused": read(&self.assertions_refused),
            "fhir_requests": read(&self.fhir_requests),
            "fhir_at_once": read(&self.fhir_at_once),
            "most_fhir_at_once": read(&self.most_fhir_at_once),
            "probes": read(&self.probes),
            "rerouted": read(&self.rerouted),
            "sql_injections": read(&self.sql_injections),
            "search_rows": {"made": read(&self.rows_made), "sent": read(&self.rows_sent)},
            "connections_accepted": read(&self.connections_accepted),
            "connections_open": read(&self.connections_open),
            "requests_dropped": read(&self.requests_dropped),
            "most_workers_busy": read(&self.most_workers_busy),
            "paths": *self.paths.lock(),
            "exchanges": self.exchanges.lock().kept.iter().map(exchange).collect::<Vec<_>>(),
            "last_server_name": *self.last_server_name.lock(),
            "last_fhir_request": *self.last_fhir_request.lock(),
            "last_token_request": *self.last_token_request.lock(),
        })
    }
}

impl InProgress<'_> {
    /// Marks the start of the answer. That ends a FHIR request; an exchange ends when its answer is sent.
    pub(super) fn answer_starts(self) -> Option<Self> {
        match self.kind {
            Kind::Fhir => None,
            Kind::Exchange(_) => Some(self),
        }
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        match self.kind {
            Kind::Fhir => drop(self.counters.fhir_at_once.fetch_sub(1, Ordering::Relaxed)),
            Kind::Exchange(number) => {
                let mut exchanges = self.counters.exchanges.lock();
                let index = number.checked_sub(exchanges.forgotten);
                if let Some(exchange) = index.and_then(|index| exchanges.kept.get_mut(index)) {
                    exchange.ended = Some(machine_milliseconds());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn what_is_under_way_ends_when_it_is_dropped_and_outlives_a_reset() {
        let counters = Counters::default();
        let (first, second) = (counters.begin_fhir(), counters.begin_fhir());
        drop(first);
        assert_eq!((&counters.describe()["fhir_at_once"], &counters.describe()["most_fhir_at_once"]), (&json!(1), &json!(2)));
        let exchange = counters.begin_exchange();
        assert_eq!(counters.describe()["exchanges"][0]["ended_ms"], Value::Null);
        counters.reset();
        assert_eq!((&counters.describe()["fhir_at_once"], &counters.describe()["most_fhir_at_once"]), (&json!(1), &json!(1)));
        let next = counters.begin_exchange();
        drop((exchange, second));
        assert_eq!(counters.describe()["exchanges"][0]["ended_ms"], Value::Null, "that was another one");
        drop(next);
        assert!(counters.describe()["exchanges"][0]["ended_ms"].is_u64());
        assert_eq!(counters.describe()["fhir_at_once"], 0);
    }

    #[test]
    fn paths_are_bounded() {
        let counters = Counters::default();
        for number in 0..MOST_PATHS + 10 {
            counters.count_path("GET", &format!("/{number}"));
        }
        counters.count_path("GET", "/0");
        let paths = counters.describe()["paths"].clone();
        assert_eq!((&paths["GET /0"], &paths["others"]), (&json!(2), &json!(10)));
    }
}
