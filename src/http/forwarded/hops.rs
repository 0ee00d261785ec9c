//! The way of a request to the gateway.

use std::net::IpAddr;

use http::{HeaderMap, Version};

use super::client::Client;
use super::element::Elements;
use super::trusted_proxy::{Family, TrustedProxy, proxy};
use super::{spelling, traces};

/// The most addresses on the way of a request, the client's included.
const MOST_HOPS: usize = 16;

/// The way of a request to the gateway: the addresses that it came by, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hops {
    /// The connected peer first; a known client last.
    addresses: [IpAddr; MOST_HOPS],
    count: usize,
    client: Client,
    is_local: bool,
    asks_itself: bool,
    /// What the proxies that are trusted write; `None` where the connected peer is not trusted, or an entry is unreadable.
    pub(super) believed: Option<Believed>,
}

/// The fields that are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Believed {
    pub(super) family: Family,
    pub(super) host: bool,
}

impl Hops {
    /// A request that did not come by IP.
    #[must_use]
    pub(crate) fn unknown() -> Self {
        Self {
            addresses: [IpAddr::from([0; 4]); MOST_HOPS],
            count: 0,
            client: Client::Stranger,
            is_local: false,
            asks_itself: false,
            believed: None,
        }
    }

    /// A request that came from `peer`, without proxies.
    #[must_use]
    pub(crate) fn direct(peer: IpAddr) -> Self {
        Self {
            addresses: [peer; MOST_HOPS],
            count: 1,
            client: Client::At(peer),
            is_local: peer.is_loopback(),
            asks_itself: false,
            believed: None,
        }
    }

    /// Follows the lists of a request that `peer` sent in this version of HTTP.
    #[must_use]
    pub(crate) fn of(fields: &HeaderMap, version: Version, peer: IpAddr, trusted: &[TrustedProxy]) -> Self {
        let mut hops = Self::direct(peer);
        match proxy(peer, trusted) {
            Some(first) => {
                hops.follow(fields, *first, trusted);
                hops.asks_itself = hops.count == 1 && !traces::are_in(fields, Version::HTTP_11);
            }
            None => hops.is_local = hops.is_local && !traces::are_in(fields, version),
        }
        hops
    }

    /// Follows the list that the proxy `first` sent.
    fn follow(&mut self, fields: &HeaderMap, first: TrustedProxy, trusted: &[TrustedProxy]) {
        self.client = Client::Stranger;
        self.is_local = false;
        let mut believed = Believed { family: first.family, host: first.host };
        let Some(elements) = Elements::of(fields, believed.family) else { return };
        for element in elements.last_first() {
            let Some(address) = spelling::address(element, believed.family) else { return };
            let Some(place) = self.addresses.get_mut(self.count) else { return };
            *place = address;
            self.count += 1;
            match proxy(address, trusted) {
                None => {
                    self.client = Client::At(address);
                    let is_local = self.peer_first().all(|address| address.is_loopback());
                    self.is_local = is_local;
                    self.believed = Some(believed);
                    return;
                }
                // It has passed on this family as the client sent it.
                Some(proxy) if proxy.family != believed.family => return,
                Some(proxy) => believed.host &= proxy.host,
            }
        }
    }

    /// The client, as far as trusted proxies report it.
    #[must_use]
    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Whether the client is on this machine, and all proxies are.
    #[must_use]
    pub(crate) fn are_local(&self) -> bool {
        self.is_local
    }

    /// The address of a trusted proxy that has sent this request without a trace of a client, such as its health checks.
    #[must_use]
    pub(crate) fn proxy_itself(&self) -> Option<IpAddr> {
        self.peer_first().next().filter(|_| self.asks_itself)
    }

    /// Writes the value of `X-Forwarded-For`: the client first, the connected peer last; `None` where nothing is known.
    #[must_use]
    pub(crate) fn list(&self) -> Option<String> {
        let mut list = String::new();
        if self.client == Client::Stranger && self.count > 0 {
            list.push_str("unknown");
        }
        for address in self.peer_first().rev() {
            list.push_str(if list.is_empty() { "" } else { ", " });
            list.push_str(&address.to_string());
        }
        (!list.is_empty()).then_some(list)
    }

    /// How many trusted proxies the request came by, where the client is known.
    pub(super) fn proxies(&self) -> usize {
        self.count.saturating_sub(1)
    }

    fn peer_first(&self) -> impl DoubleEndedIterator<Item = IpAddr> {
        self.addresses.iter().take(self.count).copied()
    }
}
