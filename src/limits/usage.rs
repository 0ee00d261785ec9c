//! What callers have used of their limits. It lives as long as the process: a reload changes limits, not what has been used of them.
//!
//! A table is made when the first request is counted in it. Callers with many addresses can only crowd each other out: clients and
//! sites, whose number the operator decides on, have tables of their own.

use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::limits::admission::Admission;
use crate::limits::at_once::{AtOnce, Place};
use crate::limits::rate::Quota;
use crate::limits::rate_table::RateTable;
use crate::limits::subject::{Key, Subject};

/// The slots of each table, 16 bytes each.
const LOCAL_SLOTS: usize = 4 * 1024;
const ADDRESS_SLOTS: usize = 64 * 1024;
const CLIENT_SLOTS: usize = 16 * 1024;
const SITE_SLOTS: usize = 1024;
/// The least time between two lines in the log about evicted states.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// What callers have used of their limits.
#[derive(Debug)]
pub(crate) struct Usage {
    began: Instant,
    hasher: RandomState,
    local: OnceLock<RateTable>,
    addresses: OnceLock<RateTable>,
    clients: OnceLock<RateTable>,
    sites: OnceLock<RateTable>,
    at_once: Arc<AtOnce>,
    told: Told,
}

/// What the log was told of evicted states.
#[derive(Debug, Default)]
struct Told {
    count: AtomicU64,
    /// From when on it may be told again, in nanoseconds since the beginning.
    again_at: AtomicU64,
}

impl Usage {
    /// Nothing has been used. `now`: a time that is not after that of any request.
    #[must_use]
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: now,
            hasher: RandomState::new(),
            local: OnceLock::new(),
            addresses: OnceLock::new(),
            clients: OnceLock::new(),
            sites: OnceLock::new(),
            at_once: Arc::default(),
            told: Told::default(),
        }
    }

    /// Decides on a request, and counts it if it is within the rate.
    #[must_use]
    pub(crate) fn admit(&self, subject: Subject<'_>, quota: Quota, now: Instant) -> Admission {
        let (table, key, now) = self.place(subject, now);
        table.admit(key, quota, now)
    }

    /// What [`Usage::admit`] would decide, without counting the request.
    #[must_use]
    pub(crate) fn look(&self, subject: Subject<'_>, quota: Quota, now: Instant) -> Admission {
        let (table, key, now) = self.place(subject, now);
        table.look(key, quota, now)
    }

    /// Where a subject is counted, by which key, and since when.
    fn place(&self, subject: Subject<'_>, now: Instant) -> (&RateTable, Key, Duration) {
        let (table, slots) = match subject {
            Subject::LocalRoutes(_) => (&self.local, LOCAL_SLOTS),
            Subject::Address(_) | Subject::Anonymous(_) => (&self.addresses, ADDRESS_SLOTS),
            Subject::Client(_) => (&self.clients, CLIENT_SLOTS),
            Subject::Site(_) => (&self.sites, SITE_SLOTS),
        };
        let table = table.get_or_init(|| RateTable::new(slots));
        (table, Key::of(subject, &self.hasher), now.saturating_duration_since(self.began))
    }

    /// Takes a place among the requests that are at work at once, of which there may be `most`. `None`: they are taken.
    #[must_use]
    pub(crate) fn enter(&self, subject: Subject<'_>, most: u32) -> Option<Place> {
        self.at_once.enter(Key::of(subject, &self.hasher), most)
    }

    /// How many states were evicted although something had been used of their limit.
    #[must_use]
    pub(crate) fn evicted(&self) -> u64 {
        let tables = [&self.local, &self.addresses, &self.clients, &self.sites];
        tables.iter().filter_map(|table| table.get()).map(RateTable::evicted).sum()
    }

    /// How many of these the log was not told of, when it is time to tell it.
    #[must_use]
    pub(crate) fn evicted_untold(&self, now: Instant) -> Option<u64> {
        let (evicted, told) = (self.evicted(), self.told.count.load(Ordering::Relaxed));
        if evicted <= told {
            return None;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now.saturating_duration_since(self.began));
        let is_due = |again_at: u64| (again_at <= now).then_some(now.saturating_add(nanos(BETWEEN_LINES)));
        self.told.again_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_due).ok()?;
        Some(evicted.saturating_sub(self.told.count.swap(evicted, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::rate::{Period, Rate};
    use crate::limits::subject::Network;
    use std::net::IpAddr;

    fn address(number: u32) -> Network {
        Network::of(Some(IpAddr::from(number.to_be_bytes())))
    }

    #[test]
    fn a_flood_of_addresses_crowds_out_no_client_and_no_site() {
        let now = Instant::now();
        let usage = Usage::new(now);
        let quota = Rate::new(1, Period::Hour).quota(Some(2));
        let admitted = |subject| usage.admit(subject, quota, now).is_admitted;
        for subject in [Subject::Client("lab"), Subject::Site("default"), Subject::LocalRoutes(address(1))] {
            assert!(admitted(subject) && admitted(subject) && !admitted(subject), "{subject:?}");
        }
        let flood = 2 * u32::try_from(ADDRESS_SLOTS).unwrap_or(u32::MAX);
        assert!((0..flood).all(|number| admitted(Subject::Address(address(number)))));
        for subject in [Subject::Client("lab"), Subject::Site("default"), Subject::LocalRoutes(address(1))] {
            assert!(!admitted(subject), "{subject:?}");
        }
        assert!(usage.evicted() >= u64::from(flood) - ADDRESS_SLOTS as u64);
    }

    #[test]
    fn evicted_states_are_told_of_once_in_ten_seconds_and_each_once() {
        let now = Instant::now();
        let usage = Usage::new(now);
        let quota = Rate::new(1, Period::Hour).quota(None);
        let mut next = 0;
        let mut flood = |count: u32| {
            for number in next..next + count {
                let _ = usage.admit(Subject::Site(&number.to_string()), quota, now);
            }
            next += count;
        };
        assert_eq!(usage.evicted_untold(now), None);
        flood(5000);
        let first = usage.evicted();
        assert!(first > 3000, "{first}");
        assert_eq!(usage.evicted_untold(now), Some(first));
        flood(100);
        assert_eq!(usage.evicted_untold(now + BETWEEN_LINES / 2), None);
        assert_eq!(usage.evicted_untold(now + BETWEEN_LINES), Some(usage.evicted() - first));
        assert_eq!(usage.evicted_untold(now + 3 * BETWEEN_LINES), None);
    }

    #[test]
    fn places_are_counted_by_subject() {
        let usage = Usage::new(Instant::now());
        let first = usage.enter(Subject::Client("lab"), 1);
        assert!(first.is_some());
        assert!(usage.enter(Subject::Client("lab"), 1).is_none());
        assert!(usage.enter(Subject::Client("app"), 1).is_some());
        assert!(usage.enter(Subject::Anonymous(address(1)), 1).is_some());
        drop(first);
        assert!(usage.enter(Subject::Client("lab"), 1).is_some());
    }
}
