//! What the admin reports: how much happened, and what happened last.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::faults::lock;

/// Different paths that are counted one by one; the rest are counted together.
const MOST_PATHS: usize = 1000;
/// Exchanges whose times are kept.
const MOST_EXCHANGES: usize = 1000;

/// What is counted. Reset by `Counters::reset`, but for what is going on at the moment.
#[derive(Default)]
pub struct Counters {
    /// Requests at the token endpoint.
    pub token_requests: AtomicU64,
    /// Tokens issued.
    pub tokens_issued: AtomicU64,
    /// Token requests that were refused.
    pub assertions_refused: AtomicU64,
    /// Requests below `/apis`, without the probes.
    pub fhir_requests: AtomicU64,
    /// Requests for `metadata` without a token, as health checks send them.
    pub probes: AtomicU64,
    /// Connections accepted.
    pub connections_accepted: AtomicU64,
    /// Connections open now.
    pub connections_open: AtomicU64,
    /// Requests that were dropped without an answer because a fault wanted it so.
    pub requests_dropped: AtomicU64,
    /// The most requests that were worked on at one time.
    pub most_workers_busy: AtomicU64,
    /// The name the last TLS client asked for (SNI).
    pub last_server_name: Mutex<Option<String>>,
    /// The last request below `/apis`, without the probes.
    pub last_fhir_request: Mutex<Value>,
    /// The last request at the token endpoint.
    pub last_token_request: Mutex<Value>,
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

/// A request at the token endpoint, in milliseconds since 1970 by the true clock.
struct Exchange {
    began: u64,
    ended: Option<u64>,
}

/// A request that is under way; it ends when this is dropped.
pub struct UnderWay<'a> {
    counters: &'a Counters,
    what: What,
}

enum What {
    Fhir,
    /// The number of the exchange since the start.
    Exchange(usize),
}

impl Counters {
    /// Counts a request by its method and path.
    pub fn count_path(&self, method: &str, path: &str) {
        let mut paths = lock(&self.paths);
        let name = format!("{method} {path}");
        let name = if paths.len() < MOST_PATHS || paths.contains_key(&name) { name } else { "others".to_owned() };
        *paths.entry(name).or_default() += 1;
    }

    /// A FHIR request has come.
    pub fn begin_fhir(&self) -> UnderWay<'_> {
        self.fhir_requests.fetch_add(1, Ordering::Relaxed);
        let at_once = self.fhir_at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_fhir_at_once.fetch_max(at_once, Ordering::Relaxed);
        UnderWay { counters: self, what: What::Fhir }
    }

    /// A token request has come.
    pub fn begin_exchange(&self) -> UnderWay<'_> {
        self.token_requests.fetch_add(1, Ordering::Relaxed);
        let mut exchanges = lock(&self.exchanges);
        if exchanges.kept.len() == MOST_EXCHANGES {
            exchanges.kept.pop_front();
            exchanges.forgotten += 1;
        }
        exchanges.kept.push_back(Exchange { began: milliseconds(), ended: None });
        UnderWay { counters: self, what: What::Exchange(exchanges.forgotten + exchanges.kept.len() - 1) }
    }

    /// Everything at nought again.
    pub fn reset(&self) {
        for counter in [
            &self.token_requests,
            &self.tokens_issued,
            &self.assertions_refused,
            &self.fhir_requests,
            &self.probes,
            &self.connections_accepted,
            &self.requests_dropped,
            &self.most_workers_busy,
        ] {
            counter.store(0, Ordering::Relaxed);
        }
        self.most_fhir_at_once.store(self.fhir_at_once.load(Ordering::Relaxed), Ordering::Relaxed);
        lock(&self.paths).clear();
        let mut exchanges = lock(&self.exchanges);
        exchanges.forgotten += exchanges.kept.len();
        exchanges.kept.clear();
        *lock(&self.last_server_name) = None;
        *lock(&self.last_fhir_request) = Value::Null;
        *lock(&self.last_token_request) = Value::Null;
    }

    /// For the admin.
    pub fn describe(&self) -> Value {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let exchange = |exchange: &Exchange| json!({"began_ms": exchange.began, "ended_ms": exchange.ended});
        json!({
            "token_requests": of(&self.token_requests),
            "tokens_issued": of(&self.tokens_issued),
            "assertions_refused": of(&self.assertions_refused),
            "fhir_requests": of(&self.fhir_requests),
            "fhir_at_once": of(&self.fhir_at_once),
            "most_fhir_at_once": of(&self.most_fhir_at_once),
            "probes": of(&self.probes),
            "connections_accepted": of(&self.connections_accepted),
            "connections_open": of(&self.connections_open),
            "requests_dropped": of(&self.requests_dropped),
            "most_workers_busy": of(&self.most_workers_busy),
            "paths": *lock(&self.paths),
            "exchanges": lock(&self.exchanges).kept.iter().map(exchange).collect::<Vec<_>>(),
            "last_server_name": *lock(&self.last_server_name),
            "last_fhir_request": *lock(&self.last_fhir_request),
            "last_token_request": *lock(&self.last_token_request),
        })
    }
}

impl UnderWay<'_> {
    /// Its answer is about to go out. That is the end of a FHIR request; an exchange ends when its answer is out.
    pub fn answering(self) -> Option<Self> {
        match self.what {
            What::Fhir => None,
            What::Exchange(_) => Some(self),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        match self.what {
            What::Fhir => drop(self.counters.fhir_at_once.fetch_sub(1, Ordering::Relaxed)),
            What::Exchange(number) => {
                let mut exchanges = lock(&self.counters.exchanges);
                let index = number.checked_sub(exchanges.forgotten);
                if let Some(exchange) = index.and_then(|index| exchanges.kept.get_mut(index)) {
                    exchange.ended = Some(milliseconds());
                }
            }
        }
    }
}

pub(super) fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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
