//! The limit on requests in flight at one site, and the wait queue in front of it: OpenEMR is PHP, each request occupies
//! one of a few dozen workers, and beyond those it only gets slower.
//!
//! What is here lets requests through and counts them. Whose turn is next is decided by the [`FairQueue`], how many there may be by the
//! [`Load`]. While nobody waits, a request passes with two atomic operations; only a request that has to wait, and one that ends while others
//! do, takes the lock of the queue.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use log::{Level, log};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::config::{InFlightLimit, three_quarters};
use crate::limits::class::Class;
use crate::limits::fair_queue::{Arrival, Bounds, Cost, FairQueue, Head};
use crate::limits::load::{Load, Probe};
use crate::limits::subject::Network;

/// The limit and the wait queue of one site.
#[derive(Debug)]
pub(crate) struct InFlight {
    site: String,
    limit: InFlightLimit,
    load: Load,
    counts: Counts,
    /// What each flow has in flight; clients that fall into the same place, by chance, have it together.
    shares: Box<[Share]>,
    clients: RandomState,
    queue: Mutex<FairQueue<Flow, Waiter>>,
    /// The limit that the log has told last.
    told: AtomicU32,
}

/// Who shares OpenEMR with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Flow {
    /// A client, by the hash of its name.
    Client(u64),
    /// A client of which nothing is known but its address, by the hash of that.
    Address(u64),
    /// Bulk exports.
    Exports,
    /// The gateway's own requests.
    Own,
}

/// What a flow has in flight.
#[derive(Debug, Default)]
struct Share {
    in_flight: AtomicU32,
    /// Those of them that have not been in the queue, where they would have been charged for.
    uncharged: AtomicU32,
}

/// How many are in flight, in the upper half, and how many wait: one number, since whoever enters must see both.
#[derive(Debug, Default)]
struct Counts(AtomicU64);

/// How many places there are for clients. Behind them are those of the exports and of the gateway's own requests.
const SHARES: usize = 256;

/// What became of a request that asked for a permit.
#[derive(Debug)]
pub(crate) enum Entry {
    /// It has one.
    Admitted(Permit),
    /// It waits in the queue.
    Queued(Ticket),
    /// The queue is full.
    Full,
}

/// How the wait of a request ended.
#[derive(Debug)]
pub(crate) enum Waited {
    /// It has a permit.
    Admitted(Permit),
    /// It was cut off: its client's queue stands, or is the longest while the queue is full.
    CutOff,
    /// `queue_timeout` is over.
    TimedOut,
}

/// What a request in the queue is told.
#[derive(Debug)]
enum Turn {
    Permit(Permit),
    CutOff,
}

/// A permit to be in flight, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    in_flight: Arc<InFlight>,
    share: usize,
    /// Who was charged how much for it in the queue, if it was there.
    charged: Option<(Flow, Duration)>,
    probe: Probe,
}

/// A place in the wait queue, left when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    in_flight: Arc<InFlight>,
    flow: Flow,
    id: u64,
    turn: oneshot::Receiver<Turn>,
    deadline: Instant,
}

impl InFlight {
    /// A limit with nothing in flight. `before`: that of the same OpenEMR until now, whose experience counts.
    #[must_use]
    pub(crate) fn new(site: &str, limit: InFlightLimit, before: Option<&Self>) -> Self {
        let load = Load::new(limit.most, limit.adaptive, before.map(|before| &before.load), Instant::now());
        Self {
            site: site.to_owned(),
            limit,
            counts: Counts::default(),
            shares: std::iter::repeat_with(Share::default).take(SHARES + 2).collect(),
            clients: RandomState::new(),
            queue: Mutex::default(),
            told: AtomicU32::new(load.limit()),
            load,
        }
    }

    /// What is configured.
    #[must_use]
    pub(crate) fn configured(&self) -> InFlightLimit {
        self.limit
    }

    /// The most requests in flight, as far as is known by now.
    #[must_use]
    pub(crate) fn limit(&self) -> u32 {
        self.load.limit()
    }

    /// How many are in flight, and how many wait.
    #[must_use]
    pub(crate) fn counts(&self) -> (u32, u32) {
        self.counts.read()
    }

    /// The flow of a client: by its name, or else by its address. One client has a whole network of IPv6, the first 64 bits; clients of
    /// whom neither is known are one.
    #[must_use]
    pub(crate) fn client(&self, name: Option<&str>, address: Option<IpAddr>) -> Flow {
        match name {
            Some(name) => Flow::Client(self.clients.hash_one(name)),
            None => Flow::Address(self.clients.hash_one(Network::of(address))),
        }
    }

    /// After how long a request of this flow that has found no room may find some: when what waits before it has been served, at the
    /// pace of now. If that has taken longer already, the pace is not what it was. After `queue_timeout` none of those that wait now does.
    #[must_use]
    pub(crate) fn free_in(&self, flow: Flow, now: Instant) -> Duration {
        let ahead = self.queue.lock().ahead(flow, now);
        let shared = self.load.time(ahead.of_all, self.limit());
        let own = self.load.time(ahead.own, self.most_of(flow));
        shared.max(own).max(ahead.waited).min(self.limit.queue_timeout)
    }

    /// Takes a permit for a request of this flow, or a place in the queue until `now` + `queue_timeout`.
    pub(crate) fn enter(self: &Arc<Self>, flow: Flow, class: Class, now: Instant) -> Entry {
        let longest_of_flow = match flow {
            Flow::Client(_) | Flow::Address(_) => self.limit.queue_of_a_client(),
            Flow::Exports | Flow::Own => self.limit.queue,
        };
        self.enter_queue(flow, class, [self.limit.queue, longest_of_flow], now)
    }

    /// The same for a request that was in flight before: for it the queue is never full. There are never more of these than
    /// may be in flight.
    pub(crate) fn return_to(self: &Arc<Self>, flow: Flow, class: Class, now: Instant) -> Entry {
        self.enter_queue(flow, class, [u32::MAX; 2], now)
    }

    fn enter_queue(self: &Arc<Self>, flow: Flow, class: Class, [longest, of_flow]: [u32; 2], now: Instant) -> Entry {
        if let Some(permit) = self.pass(flow, class) {
            return Entry::Admitted(permit);
        }
        // Short of that it is the share of its flow alone that it waits for.
        if self.counts().0 >= three_quarters(self.limit()) {
            self.load.note_reached();
        }
        let bounds = Bounds { longest: longest as usize, longest_of_flow: of_flow as usize, ..self.bounds() };
        let (sender, turn) = oneshot::channel();
        let cost = self.load.cost(class);
        let waiter = Waiter { sender, class, cost };
        let uncharged = self.shares.get(share(flow)).map_or(0, |share| share.uncharged.load(Ordering::Relaxed));
        let arrival = {
            let mut queue = self.queue.lock();
            let cost = Cost { own: cost, before: cost * uncharged, rank: u8::from(matches!(flow, Flow::Address(_))) };
            let arrival = queue.push(flow, waiter, cost, bounds, now);
            if let Arrival::Waits(_) = arrival {
                self.counts.joined();
            }
            arrival
        };
        let id = match arrival {
            Arrival::Waits(id) => id,
            Arrival::InPlaceOf(other, id) => {
                let _ = other.sender.send(Turn::CutOff);
                id
            }
            Arrival::NoRoom(_) => {
                // For a moment, this request had a place among those of its client, for which another one waits.
                self.let_through(now);
                return Entry::Full;
            }
        };
        let mut ticket = Ticket { in_flight: Arc::clone(self), flow, id, turn, deadline: now + self.limit.queue_timeout };
        // One may have ended since.
        self.let_through(now);
        match ticket.turn.try_recv() {
            Ok(Turn::Permit(permit)) => Entry::Admitted(permit),
            Ok(Turn::CutOff) => Entry::Full,
            Err(_) => Entry::Queued(ticket),
        }
    }

    /// A permit, if nobody waits and there is room.
    fn pass(self: &Arc<Self>, flow: Flow, class: Class) -> Option<Permit> {
        let (share, most) = (share(flow), self.most_of(flow));
        let of_flow = self.shares.get(share)?;
        let one_more = |in_flight: u32| (in_flight < most).then_some(in_flight + 1);
        of_flow.in_flight.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).ok()?;
        match self.counts.pass(self.limit()) {
            Some(at_once) => {
                of_flow.uncharged.fetch_add(1, Ordering::Relaxed);
                Some(self.permit(share, None, Probe { class, party: share, at_once }))
            }
            None => {
                of_flow.in_flight.fetch_sub(1, Ordering::AcqRel);
                None
            }
        }
    }

    fn permit(self: &Arc<Self>, share: usize, charged: Option<(Flow, Duration)>, probe: Probe) -> Permit {
        Permit { in_flight: Arc::clone(self), share, charged, probe }
    }

    /// Lets those through whose turn it is, as far as there is room.
    fn let_through(self: &Arc<Self>, now: Instant) {
        while let Some((sender, turn)) = self.next(now) {
            // One that has left while it was told has its permit dropped, and that lets the next one through.
            let _ = sender.send(turn);
        }
    }

    fn next(self: &Arc<Self>, now: Instant) -> Option<(oneshot::Sender<Turn>, Turn)> {
        let mut queue = self.queue.lock();
        if self.counts.read().0 >= self.limit() {
            return None;
        }
        match queue.pop(self.bounds(), now, |flow| self.has_share(flow))? {
            Head::Cut(waiter) => {
                self.counts.left();
                Some((waiter.sender, Turn::CutOff))
            }
            Head::Next(flow, waiter) => {
                let share = share(flow);
                self.shares.get(share)?.in_flight.fetch_add(1, Ordering::AcqRel);
                let Waiter { sender, class, cost } = waiter;
                let probe = Probe { class, party: share, at_once: self.counts.passed_from_queue() };
                Some((sender, Turn::Permit(self.permit(share, Some((flow, cost)), probe))))
            }
        }
    }

    fn has_share(&self, flow: Flow) -> bool {
        self.shares.get(share(flow)).is_some_and(|share| share.in_flight.load(Ordering::Acquire) < self.most_of(flow))
    }

    /// The most requests of a flow in flight.
    fn most_of(&self, flow: Flow) -> u32 {
        let limit = self.limit();
        match flow {
            Flow::Client(_) | Flow::Address(_) => self.limit.most_of_a_client_of(limit),
            Flow::Exports => self.limit.most_of_exports_of(limit),
            Flow::Own => limit,
        }
    }

    fn bounds(&self) -> Bounds {
        let longest = self.limit.queue as usize;
        Bounds { longest, longest_of_flow: longest, target: self.limit.queue_target }
    }

    fn give_back(self: &Arc<Self>, share: usize, is_charged: bool) {
        if let Some(of_flow) = self.shares.get(share) {
            of_flow.in_flight.fetch_sub(1, Ordering::AcqRel);
            of_flow.uncharged.fetch_sub(u32::from(!is_charged), Ordering::Relaxed);
        }
        if self.counts.ended() > 0 {
            self.let_through(Instant::now());
        }
    }

    /// Tells the log when the limit has become half of what it was, or twice.
    fn tell_limit(&self) {
        let (limit, told) = (self.limit(), self.told.load(Ordering::Relaxed));
        if (limit > told / 2 && limit < told.saturating_mul(2)) || self.told.swap(limit, Ordering::Relaxed) != told {
            return;
        }
        let level = if limit < told { Level::Info } else { Level::Debug };
        let most = self.limit.most;
        log!(level, "site {}: OpenEMR gets {limit} requests at once at most, after {told} (in_flight.most: {most})", self.site);
    }
}

/// A request in the queue.
#[derive(Debug)]
struct Waiter {
    sender: oneshot::Sender<Turn>,
    class: Class,
    /// What its flow is charged.
    cost: Duration,
}

/// The place of a flow's count.
fn share(flow: Flow) -> usize {
    match flow {
        Flow::Client(client) | Flow::Address(client) => client as usize % SHARES,
        Flow::Exports => SHARES,
        Flow::Own => SHARES + 1,
    }
}

impl Counts {
    const ONE_IN_FLIGHT: u64 = 1 << 32;

    fn split(both: u64) -> (u32, u32) {
        ((both >> 32) as u32, both as u32)
    }

    fn read(&self) -> (u32, u32) {
        Self::split(self.0.load(Ordering::Acquire))
    }

    /// One more in flight, if nobody waits and there are fewer than `limit`; gives how many there are then.
    fn pass(&self, limit: u32) -> Option<u32> {
        let one_more = |both: u64| match Self::split(both) {
            (in_flight, 0) if in_flight < limit => Some(both + Self::ONE_IN_FLIGHT),
            _ => None,
        };
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Self::split(before).0 + 1)
    }

    /// One of those that wait is in flight; gives how many are then. With the queue locked.
    fn passed_from_queue(&self) -> u32 {
        Self::split(self.0.fetch_add(Self::ONE_IN_FLIGHT - 1, Ordering::AcqRel)).0 + 1
    }

    /// One more waits. With the queue locked.
    fn joined(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// One of those that wait has left. With the queue locked.
    fn left(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// One in flight has ended; gives how many wait.
    fn ended(&self) -> u32 {
        Self::split(self.0.fetch_sub(Self::ONE_IN_FLIGHT, Ordering::AcqRel)).1
    }
}

impl Permit {
    /// The head of OpenEMR's answer came so long after the request was sent.
    pub(crate) fn answered(&self, after: Duration, status: StatusCode) {
        // A part of an export takes minutes, and tells nothing.
        if self.share == SHARES {
            return;
        }
        self.charge(after);
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => self.overloaded(),
            // An error is quickly found.
            status if status.is_success() => {
                self.in_flight.load.answered(self.probe, after, Instant::now());
                self.in_flight.tell_limit();
            }
            _ => {}
        }
    }

    /// OpenEMR did not answer in time: this long.
    pub(crate) fn timed_out(&self, after: Duration) {
        self.charge(after);
        self.overloaded();
    }

    /// The request was at OpenEMR this long, for which OpenEMR is not to blame.
    pub(crate) fn kept(&self, after: Duration) {
        self.charge(after);
    }

    /// Another request like this one is sent with the same permit.
    pub(crate) fn sent_again(&self) {
        if let Some((flow, cost)) = self.charged {
            self.in_flight.queue.lock().charge_more(flow, cost);
        }
    }

    /// Charges the flow for what its request took beyond what it was taken for.
    fn charge(&self, took: Duration) {
        let Some((flow, cost)) = self.charged else { return };
        let surplus = self.in_flight.load.surplus(cost, took);
        if !surplus.is_zero() {
            self.in_flight.queue.lock().charge_more(flow, surplus);
        }
    }

    fn overloaded(&self) {
        self.in_flight.load.overloaded(self.probe, Instant::now());
        self.in_flight.tell_limit();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.in_flight.give_back(self.share, self.charged.is_some());
    }
}

impl Ticket {
    /// Waits for a permit, until `queue_timeout` is over at the latest. Dropping it leaves the queue.
    pub(crate) async fn wait(mut self) -> Waited {
        match tokio::time::timeout_at(self.deadline.into(), &mut self.turn).await {
            Ok(Ok(turn)) => self.accept(turn, Instant::now()),
            Ok(Err(_)) | Err(_) => Waited::TimedOut,
        }
    }

    /// A permit that came too late, because a timer was late, goes to the next in the queue.
    fn accept(&self, turn: Turn, now: Instant) -> Waited {
        match turn {
            Turn::CutOff => Waited::CutOff,
            Turn::Permit(permit) if now < self.deadline => Waited::Admitted(permit),
            Turn::Permit(_) => Waited::TimedOut,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queue = self.in_flight.queue.lock();
        if queue.remove(self.flow, self.id).is_some() {
            self.in_flight.counts.left();
        }
    }
}

#[cfg(test)]
mod tests;
