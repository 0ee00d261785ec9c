//! The ceilings of clients' connections, over all and of one address: counted from the moment in which a connection is accepted,
//! before its TLS handshake.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::warn;
use parking_lot::Mutex;

use crate::config::{Limits, three_quarters};
use crate::http::forwarded::trusted_proxy::{TrustedProxy, proxy};
use crate::limits::subject::Network;

/// The least time between two lines in the log about refused connections.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// The part of all places, one in so many, that only clients on this machine get.
const LOCAL_PART: u32 = 16;
/// By how much the keep-alive time shortens while half of all places are taken.
const SHORTER: u32 = 10;

/// The open connections of clients.
#[derive(Debug)]
pub(crate) struct Connections {
    most: u32,
    most_of_an_address: u32,
    open: AtomicU32,
    by_address: Mutex<HashMap<Network, u32>>,
    refused: Mutex<Refused>,
    all_refused: AtomicU64,
}

/// One open connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    network: Network,
}

/// Connections that were refused and not told of yet.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

impl Connections {
    /// Ceilings for a process that may open so many files more, and sends so many requests to OpenEMR at once.
    #[must_use]
    pub(crate) fn new(limits: &Limits, free_files: u64, in_flight: u32) -> Self {
        let most = limits.connections.unwrap_or_else(|| {
            let for_others = (free_files / 2).min(u64::from(in_flight) + 64);
            u32::try_from(free_files - for_others).unwrap_or(u32::MAX).max(1)
        });
        Self {
            most,
            most_of_an_address: limits.connections_per_address.unwrap_or_else(|| three_quarters(most)).min(most),
            open: AtomicU32::new(0),
            by_address: Mutex::default(),
            refused: Mutex::default(),
            all_refused: AtomicU64::new(0),
        }
    }

    /// Takes a place for a connection from `peer`; a trusted proxy has many clients. `None`: there is none, and the connection is
    /// to be closed.
    #[must_use]
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr, trusted: &[TrustedProxy]) -> Option<Place> {
        let peer = peer.to_canonical();
        self.take_one(peer, proxy(peer, trusted).is_some())
    }

    fn take_one(self: &Arc<Self>, peer: IpAddr, is_proxy: bool) -> Option<Place> {
        let network = Network::of(Some(peer));
        let most = if peer.is_loopback() { self.most } else { self.most - self.most.div_ceil(LOCAL_PART).min(self.most - 1) };
        let mut by_address = self.by_address.lock();
        let of_address = by_address.entry(network).or_default();
        let is_full = self.open.load(Ordering::Relaxed) >= most || (!is_proxy && *of_address >= self.most_of_an_address);
        if is_full {
            if *of_address == 0 {
                by_address.remove(&network);
            }
            drop(by_address);
            self.tell_refused(Instant::now());
            return None;
        }
        *of_address += 1;
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Place { connections: Arc::clone(self), network })
    }

    /// How long an idle connection is kept: less while half of all places are taken.
    #[must_use]
    pub(crate) fn keepalive(&self, configured: Duration) -> Duration {
        if self.open.load(Ordering::Relaxed) > self.most / 2 { configured / SHORTER } else { configured }
    }

    /// How many are open, how many may be, and how many were refused since the start.
    #[must_use]
    pub(crate) fn counts(&self) -> (u32, u32, u64) {
        (self.open.load(Ordering::Relaxed), self.most, self.all_refused.load(Ordering::Relaxed))
    }

    fn tell_refused(&self, now: Instant) {
        self.all_refused.fetch_add(1, Ordering::Relaxed);
        let mut refused = self.refused.lock();
        refused.count += 1;
        if refused.told.is_none_or(|told| now.duration_since(told) >= BETWEEN_LINES) {
            warn!(
                "connections refused: {} ({} are open of limits.connections: {}, limits.connections_per_address: {})",
                refused.count,
                self.open.load(Ordering::Relaxed),
                self.most,
                self.most_of_an_address,
            );
            *refused = Refused { count: 0, told: Some(now) };
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self { connections, network } = self;
        let mut by_address = connections.by_address.lock();
        connections.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = by_address.get_mut(network) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(network);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connections(most: u32, of_an_address: u32) -> Arc<Connections> {
        let limits = Limits { connections: Some(most), connections_per_address: Some(of_an_address), ..Limits::default() };
        Arc::new(Connections::new(&limits, 0, 0))
    }

    #[test]
    fn files_are_left_for_openemr_and_the_rest() {
        let limits = Limits::default();
        for (free_files, most) in [(0, 1), (60, 30), (1000, 904), (1 << 40, u32::MAX)] {
            let connections = Connections::new(&limits, free_files, 32);
            assert_eq!(connections.most, most, "{free_files}");
            assert!(connections.most_of_an_address <= most);
        }
    }

    #[test]
    fn the_last_places_are_for_this_machine_and_a_proxy_has_many_clients() {
        let connections = connections(32, 4);
        let [proxy, local]: [IpAddr; 2] = ["10.0.0.1", "127.0.0.1"].map(|address| address.parse().unwrap());
        let taken: Vec<Place> = std::iter::from_fn(|| connections.take_one(proxy, true)).collect();
        assert_eq!(taken.len(), 30);
        let own: Vec<Place> = std::iter::from_fn(|| connections.take_one(local, false)).collect();
        assert_eq!(own.len(), 2);
        drop((taken, own));
        assert_eq!(std::iter::from_fn(|| connections.take_one(local, false)).take(9).collect::<Vec<_>>().len(), 4);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let connections = connections(8, 1);
        let _first = connections.take_one("2001:db8::1".parse().unwrap(), false).unwrap();
        assert!(connections.take_one("2001:db8::2".parse().unwrap(), false).is_none());
        assert!(connections.take_one("2001:db8:0:1::2".parse().unwrap(), false).is_some());
    }

    proptest! {
        #[test]
        fn no_ceiling_is_exceeded_and_no_place_is_lost(
            most in 1_u32..40, of_an_address in 1_u32..10, steps in proptest::collection::vec((0_u8..6, any::<bool>()), 0..200)
        ) {
            let connections = connections(most, of_an_address);
            let mut places: Vec<(u8, Place)> = Vec::new();
            for (last, is_open) in steps {
                if is_open {
                    places.extend(connections.take_one(IpAddr::from([10, 0, 0, last]), false).map(|place| (last, place)));
                } else if let Some(at) = places.iter().position(|(of, _)| *of == last) {
                    places.remove(at);
                }
                prop_assert!(places.len() <= most as usize);
                prop_assert_eq!(connections.open.load(Ordering::Relaxed) as usize, places.len());
                let of = places.iter().filter(|(of, _)| *of == last).count();
                prop_assert!(of <= of_an_address as usize);
            }
            places.clear();
            prop_assert!(connections.by_address.lock().is_empty());
        }
    }
}
