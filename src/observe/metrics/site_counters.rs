//! The counters of one site. They are made when its first request ends, and never grow.

use std::sync::atomic::{AtomicU64, Ordering};

use super::family::Family;
use super::histogram::{Counted, Histogram};
use super::lists::Lists;
use super::names::Names;
use super::sample::Sample;
use super::table::{CLASSES, Table, class, word};
use super::totals::Totals;
use crate::observe::request_record::RequestRecord;

/// The counters of one site.
#[derive(Debug)]
pub(super) struct SiteCounters {
    /// By client, interaction and class.
    requests: Table,
    /// By type and class.
    types: Table,
    upstream: Histogram,
    added: Histogram,
    queued: Histogram,
    token_wait: Histogram,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
    retries: AtomicU64,
    reused: AtomicU64,
    connected: AtomicU64,
    shared: AtomicU64,
    left_out: AtomicU64,
}

impl SiteCounters {
    /// Counters for values of these lists.
    pub(super) fn new(lists: &Lists, clients: &Names) -> Self {
        // One client more: who has no name.
        let requests = (clients.count() + 1) * lists.interactions.len() * CLASSES.len();
        Self {
            requests: Table::new(requests),
            types: Table::new((lists.types.len() + 1) * CLASSES.len()),
            upstream: Histogram::default(),
            added: Histogram::default(),
            queued: Histogram::default(),
            token_wait: Histogram::default(),
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
        }
    }

    /// Counts a request.
    pub(super) fn count(&self, record: &RequestRecord<'_>, lists: &Lists, clients: &Names) {
        let class = class(record.status);
        let client = record.client.map_or(clients.count(), |name| clients.number(name));
        if let Some(interaction) = record.interaction {
            self.requests.count((client * lists.interactions.len() + interaction.number) * CLASSES.len() + class);
        }
        let resource_type = record.resource_type.map_or(lists.types.len(), |of| of.number.min(lists.types.len()));
        self.types.count(resource_type * CLASSES.len() + class);
        if let Some(upstream) = record.upstream {
            self.upstream.observe(upstream);
            self.added.observe(record.duration.saturating_sub(upstream));
        }
        if !record.queued.is_zero() {
            self.queued.observe(record.queued);
        }
        if !record.token_wait.is_zero() {
            self.token_wait.observe(record.token_wait);
        }
        match record.reused {
            Some(true) => add(&self.reused, 1),
            Some(false) => add(&self.connected, 1),
            None => {}
        }
        add(&self.request_bytes, record.bytes_in as u64);
        add(&self.response_bytes, record.bytes as u64);
        add(&self.retries, u64::from(record.retries));
        add(&self.shared, u64::from(record.shared));
        add(&self.left_out, record.left_out);
    }

    /// Adds what has been counted to sums over all sites.
    pub(super) fn add_to(&self, totals: &mut Totals, lists: &Lists) {
        self.upstream.add_to(&mut totals.upstream);
        for (at, count) in self.requests.counted() {
            let client = at / (lists.interactions.len() * CLASSES.len()).max(1);
            if let Some(sum) = totals.clients.get_mut(client).and_then(|classes| classes.get_mut(at % CLASSES.len())) {
                *sum += count;
            }
        }
    }

    /// What has been counted.
    pub(super) fn samples(&self, site: &str, lists: &Lists, clients: &Names, into: &mut Vec<Sample>) {
        let site = || site.to_owned();
        for (at, count) in self.requests.counted() {
            let (row, class) = (at / CLASSES.len(), at % CLASSES.len());
            let (client, interaction) = (row / lists.interactions.len().max(1), row % lists.interactions.len().max(1));
            let client = if client == clients.count() { "none".to_owned() } else { clients.name(client) };
            let labels = vec![site(), client, word(&lists.interactions, interaction), word(&CLASSES, class)];
            into.push(Sample::count(Family::Requests, labels, count));
        }
        for (at, count) in self.types.counted() {
            let (row, class) = (at / CLASSES.len(), at % CLASSES.len());
            let resource_type = if row == lists.types.len() { "none".to_owned() } else { word(lists.types, row) };
            into.push(Sample::count(Family::RequestsByType, vec![site(), resource_type, word(&CLASSES, class)], count));
        }
        let mut histogram = |family, counted: Option<Counted>| {
            into.extend(counted.map(|counted| Sample::durations(family, vec![site()], counted)));
        };
        histogram(Family::ClientDuration, self.upstream.counted());
        histogram(Family::AddedDuration, self.added.counted());
        histogram(Family::QueueDuration, self.queued.counted());
        histogram(Family::TokenWait, self.token_wait.counted());
        for (family, counter) in [
            (Family::RequestBytes, &self.request_bytes),
            (Family::ResponseBytes, &self.response_bytes),
            (Family::Retries, &self.retries),
            (Family::Shared, &self.shared),
            (Family::LeftOut, &self.left_out),
        ] {
            into.push(Sample::count(family, vec![site()], counter.load(Ordering::Relaxed)));
        }
        for (reused, counter) in [("true", &self.reused), ("false", &self.connected)] {
            let labels = vec![site(), reused.to_owned()];
            into.push(Sample::count(Family::Connections, labels, counter.load(Ordering::Relaxed)));
        }
    }
}

/// Adds to a counter; most have nothing to add, which costs no shared write.
fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}
