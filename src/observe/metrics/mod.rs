//! The metrics: counters that the record of each request adds to, and the text in which Prometheus reads them.
//!
//! Counting takes no lock and no memory: the counters of a site are made at its first request, for every value that a label can
//! have. What callers send cannot make new ones: unknown types and methods have no word of their own, and sites and clients are
//! those of the configuration, up to a bound. Without an admin listener nothing is counted.
//!
//! Decision: `docs/decisions/48-metrics.md`.

pub(crate) mod bench;
mod exposition;
pub(crate) mod family;
mod histogram;
pub(crate) mod history;
pub(crate) mod lists;
mod names;
pub(crate) mod sample;
mod site_counters;
mod table;
pub(crate) mod totals;

pub(crate) use exposition::{Exposition, write};

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use self::family::Family;
use self::histogram::Histogram;
use self::lists::Lists;
use self::names::Names;
use self::sample::Sample;
use self::site_counters::SiteCounters;
use self::table::{CLASSES, Table, class, word};
use self::totals::Totals;
use crate::observe::request_record::RequestRecord;

/// The most sites with counters of their own; the others share some. As many as a configuration may have.
const MOST_SITES: usize = 256;
/// The most clients with counters of their own; the others share some.
const MOST_CLIENTS: usize = 64;

static METRICS: OnceLock<Metrics> = OnceLock::new();

/// The counters of this process.
#[derive(Debug)]
pub(crate) struct Metrics {
    lists: Lists,
    sites: Names,
    clients: Names,
    of_sites: Box<[OnceLock<Box<SiteCounters>>]>,
    /// By route and class.
    durations: Box<[Histogram]>,
    /// By site, the last being for requests that belong to none, by route and by reason.
    reasons: Table,
    /// Failed ones, and good ones.
    reloads: [AtomicU64; 2],
    last_reload_failed: AtomicBool,
    failed_handshakes: AtomicU64,
}

/// The counters of this process; `None` while nobody wants them.
#[must_use]
pub(crate) fn metrics() -> Option<&'static Metrics> {
    METRICS.get()
}

/// Begins to count. Later calls change nothing.
pub(crate) fn start(lists: Lists) -> &'static Metrics {
    METRICS.get_or_init(|| Metrics::new(lists))
}

impl Metrics {
    /// Counters for values of these lists.
    #[must_use]
    pub(crate) fn new(lists: Lists) -> Self {
        let sites = Names::new(MOST_SITES);
        Self {
            of_sites: (0..sites.count()).map(|_| OnceLock::new()).collect(),
            durations: (0..lists.routes.len() * CLASSES.len()).map(|_| Histogram::default()).collect(),
            reasons: Table::new((sites.count() + 1) * lists.routes.len() * lists.reasons.len()),
            lists,
            sites,
            clients: Names::new(MOST_CLIENTS),
            reloads: [AtomicU64::new(0), AtomicU64::new(0)],
            last_reload_failed: AtomicBool::new(false),
            failed_handshakes: AtomicU64::new(0),
        }
    }

    /// Gives the sites and clients of a configuration counters of their own.
    pub(crate) fn learn<'a>(&self, sites: impl Iterator<Item = &'a str>, clients: impl Iterator<Item = &'a str>) {
        self.sites.learn(sites);
        self.clients.learn(clients);
    }

    /// Counts a request that has ended.
    pub(crate) fn count(&self, record: &RequestRecord<'_>) {
        let (route, site) = (record.route.number, record.site.map(|name| self.sites.number(name)));
        if let Some(durations) = self.durations.get(route * CLASSES.len() + class(record.status)) {
            durations.observe(record.duration);
        }
        if let Some(reason) = record.reason.filter(|reason| reason.number < self.lists.reasons.len()) {
            let row = site.unwrap_or(self.sites.count()) * self.lists.routes.len() + route;
            self.reasons.count(row * self.lists.reasons.len() + reason.number);
        }
        if let Some(of_site) = site.and_then(|site| self.of_sites.get(site)) {
            let counters = of_site.get_or_init(|| Box::new(SiteCounters::new(&self.lists, &self.clients)));
            counters.count(record, &self.lists, &self.clients);
        }
    }

    /// Counts a reload of the configuration.
    pub(crate) fn count_reload(&self, is_good: bool) {
        let [failed, good] = &self.reloads;
        (if is_good { good } else { failed }).fetch_add(1, Ordering::Relaxed);
        self.last_reload_failed.store(!is_good, Ordering::Relaxed);
    }

    /// Counts a TLS handshake with a client that failed.
    pub(crate) fn count_failed_handshake(&self) {
        self.failed_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been counted.
    #[must_use]
    pub(crate) fn samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        self.durations_into(&mut samples);
        self.reasons_into(&mut samples);
        for (number, counters) in self.of_sites.iter().enumerate() {
            if let Some(counters) = counters.get() {
                counters.samples(&self.sites.name(number), &self.lists, &self.clients, &mut samples);
            }
        }
        for (result, counter) in ["failed", "ok"].into_iter().zip(&self.reloads) {
            samples.push(Sample::count(Family::Reloads, vec![result.to_owned()], counter.load(Ordering::Relaxed)));
        }
        let is_good = !self.last_reload_failed.load(Ordering::Relaxed);
        samples.push(Sample::count(Family::LastReload, Vec::new(), u64::from(is_good)));
        let handshakes = self.failed_handshakes.load(Ordering::Relaxed);
        samples.push(Sample::count(Family::FailedHandshakes, Vec::new(), handshakes));
        samples
    }

    /// What has been counted, as sums over all sites.
    #[must_use]
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals {
            clients: vec![Default::default(); self.clients.count() + 1],
            reasons: vec![0; self.lists.reasons.len()],
            ..Totals::default()
        };
        let fhir = self.lists.routes.iter().position(|route| *route == "fhir").unwrap_or_default();
        for (class, durations) in self.durations.iter().skip(fhir * CLASSES.len()).take(CLASSES.len()).enumerate() {
            let mut counts = Default::default();
            durations.add_to(&mut counts);
            totals::add(&counts, &mut totals.durations);
            if let Some(requests) = totals.requests.get_mut(class) {
                *requests = counts.iter().sum();
            }
        }
        for (at, count) in self.reasons.counted() {
            if let Some(sum) = totals.reasons.get_mut(at % self.lists.reasons.len().max(1)) {
                *sum += count;
            }
        }
        for counters in self.of_sites.iter().filter_map(OnceLock::get) {
            counters.add_to(&mut totals, &self.lists);
        }
        totals
    }

    /// The name of the client with this number; `none` for requests without one.
    #[must_use]
    pub(crate) fn client_name(&self, number: usize) -> String {
        if number == self.clients.count() { "none".to_owned() } else { self.clients.name(number) }
    }

    /// The code of the reason with this number.
    #[must_use]
    pub(crate) fn reason(&self, number: usize) -> String {
        word(self.lists.reasons, number)
    }

    fn durations_into(&self, samples: &mut Vec<Sample>) {
        for (at, counted) in self.durations.iter().map(Histogram::counted).enumerate() {
            let labels = || vec![word(self.lists.routes, at / CLASSES.len()), word(&CLASSES, at % CLASSES.len())];
            samples.extend(counted.map(|counted| Sample::durations(Family::ServerDuration, labels(), counted)));
        }
    }

    fn reasons_into(&self, samples: &mut Vec<Sample>) {
        let (routes, reasons) = (self.lists.routes.len().max(1), self.lists.reasons.len().max(1));
        for (at, count) in self.reasons.counted() {
            let (row, reason) = (at / reasons, at % reasons);
            let (site, route) = (row / routes, row % routes);
            let site = if site == self.sites.count() { "none".to_owned() } else { self.sites.name(site) };
            let labels = vec![site, word(self.lists.routes, route), word(self.lists.reasons, reason)];
            samples.push(Sample::count(Family::Reasons, labels, count));
        }
    }
}

#[cfg(test)]
mod tests;
