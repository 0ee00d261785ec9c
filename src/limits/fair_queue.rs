//! A queue that its flows share fairly: each flow, which is a client, has requests of its own in the order of their arrival, and gets as
//! much of OpenEMR's time as any other.
//!
//! It is a deficit round robin whose rounds are as short as can be, as start-time fair queueing has it. What a flow has been given so far
//! is counted in OpenEMR's time; next is the flow that has been given least. One that comes back after a pause starts where the
//! others are: it has saved nothing up, and it does not wait for a round of all the others, as it would with a deficit for each round. One
//! that sends dear requests is charged for them, whether it waits for each or not.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::limits::standing::Standing;

/// How many flows are remembered that have no request here, for what they have been given.
const MOST_IDLE: usize = 1024;

/// The most newcomers that are served in a row while others wait.
const MOST_NEWCOMERS: u32 = 8;

/// How long the queue may be, and how long a request may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The most requests.
    pub(crate) longest: usize,
    /// The most requests of one flow.
    pub(crate) longest_of_flow: usize,
    /// The wait that may last for a flow with more than one request here.
    pub(crate) target: Duration,
}

/// What a request costs, in OpenEMR's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    /// The request itself.
    pub(crate) own: Duration,
    /// What its flow has been given without a queue, and is charged for when it joins one.
    pub(crate) before: Duration,
    /// Newcomers of a lower rank are served before others.
    pub(crate) rank: u8,
}

/// The requests that wait.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    flows: HashMap<K, Flow<T>>,
    /// The flows with requests here, by what they have been given.
    order: BTreeSet<(Place, K)>,
    /// What the flow had been given that was served last: where newcomers start.
    given: u64,
    latest: u64,
    waiting: usize,
    /// How many newcomers were served in a row.
    newcomers: u32,
}

/// The place of a flow in the order: the one that has been given least is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// In microseconds of OpenEMR's time.
    given: u64,
    /// Whether it has come so far by what it was given. Of those that have been given as much, newcomers are first, who had less; or all
    /// of a round would be before them.
    is_earned: bool,
    /// Of newcomers, those of a lower rank are first.
    rank: u8,
    /// The one that came first is first.
    number: u64,
}

#[derive(Debug)]
struct Flow<T> {
    requests: VecDeque<Request<T>>,
    /// Its place in the order, while it has requests here.
    place: Place,
    /// What its requests here cost together.
    cost: u64,
    standing: Standing,
}

#[derive(Debug)]
struct Request<T> {
    id: u64,
    item: T,
    cost: u64,
    arrived: Instant,
}

/// What became of a request that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<T> {
    /// It waits, by this id.
    Waits(u64),
    /// It waits in the place of this one, from the flow whose requests would be served last.
    InPlaceOf(T, u64),
    /// There is no room for it.
    NoRoom(T),
}

/// What is ahead of a request, in OpenEMR's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// What the requests of its flow cost that wait.
    pub(crate) own: Duration,
    /// The same with those of others that are served before.
    pub(crate) of_all: Duration,
    /// How long the first one of its flow has waited already.
    pub(crate) waited: Duration,
}

/// What comes out at the head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head<K, T> {
    /// The next to be served.
    Next(K, T),
    /// One that is cut off, because the queue of its flow stands.
    Cut(T),
}

impl<K, T> Default for FairQueue<K, T> {
    fn default() -> Self {
        Self { flows: HashMap::new(), order: BTreeSet::new(), given: 0, latest: 0, waiting: 0, newcomers: 0 }
    }
}

impl<K: Copy + Ord + Hash, T> FairQueue<K, T> {
    /// Takes a request.
    pub(crate) fn push(&mut self, key: K, item: T, cost: Cost, bounds: Bounds, now: Instant) -> Arrival<T> {
        let (cost, before, rank) = (micros(cost.own).max(1), micros(cost.before), cost.rank);
        let flow = self.flows.get(&key);
        if flow.map_or(0, |flow| flow.requests.len()) >= bounds.longest_of_flow {
            return Arrival::NoRoom(item);
        }
        let mut instead = None;
        if self.waiting >= bounds.longest {
            let given = flow.map_or(0, |flow| flow.place.given + flow.cost).max(self.given) + before;
            match self.furthest(given) {
                Some(furthest) => instead = self.take_head(furthest).map(|request| request.item),
                None => return Arrival::NoRoom(item),
            }
        }
        let id = self.join(key, Request { id: self.latest, item, cost, arrived: now }, before, rank);
        match instead {
            Some(instead) => Arrival::InPlaceOf(instead, id),
            None => Arrival::Waits(id),
        }
    }

    /// The flow whose last request is served last of all: when it has been given more than this.
    fn furthest(&self, given: u64) -> Option<K> {
        let last = |flow: &Flow<T>| Some(flow.place.given + flow.cost - flow.requests.back()?.cost);
        let flows = self.flows.iter().filter_map(|(key, flow)| Some((last(flow)?, *key)));
        flows.max().filter(|(last, _)| *last > given).map(|(_, key)| key)
    }

    fn join(&mut self, key: K, mut request: Request<T>, before: u64, rank: u8) -> u64 {
        self.latest += 1;
        self.waiting += 1;
        request.id = self.latest;
        let (given, latest) = (self.given, self.latest);
        let flow = self.flows.entry(key).or_insert_with(|| Flow {
            requests: VecDeque::new(),
            place: Place { given: 0, is_earned: false, rank, number: latest },
            cost: 0,
            standing: Standing::default(),
        });
        if flow.requests.is_empty() {
            let is_earned = flow.place.given > given || before > 0;
            flow.place = Place { given: flow.place.given.max(given) + before, is_earned, rank, number: latest };
            self.order.insert((flow.place, key));
        }
        flow.cost += request.cost;
        flow.requests.push_back(request);
        latest
    }

    /// Takes out what is at the head: of the flows that may have a request served now, the one that has been given least. Newcomers, of
    /// whom there may be ever more, do not have every turn.
    pub(crate) fn pop(&mut self, bounds: Bounds, now: Instant, may: impl Fn(K) -> bool) -> Option<Head<K, T>> {
        let mut waiting = self.order.iter().filter(|(_, key)| may(*key));
        let first = *waiting.next()?;
        let are_enough = self.newcomers >= MOST_NEWCOMERS && !first.0.is_earned;
        let (place, key) = waiting.find(|(place, _)| are_enough && place.is_earned).copied().unwrap_or(first);
        let flow = self.flows.get_mut(&key)?;
        let waited = now.saturating_duration_since(flow.requests.front()?.arrived);
        // The only request of a flow is no queue.
        let is_cut = match flow.requests.len() {
            1 => {
                flow.standing.rest();
                false
            }
            _ => flow.standing.cuts(waited, bounds.target, now),
        };
        let request = self.take_head(key)?;
        if is_cut {
            return Some(Head::Cut(request.item));
        }
        self.newcomers = if place.is_earned { 0 } else { self.newcomers.saturating_add(1) };
        // Out of its turn, a flow is not charged, and newcomers still start where those are that were passed over.
        let cost = if place == first.0 { request.cost } else { 0 };
        self.given = self.given.max(first.0.given);
        self.charge(key, place.given + cost);
        self.forget_idle();
        Some(Head::Next(key, request.item))
    }

    /// Takes a request out before its turn; `None` when it is not here any more.
    pub(crate) fn remove(&mut self, key: K, id: u64) -> Option<T> {
        let index = self.flows.get(&key)?.requests.iter().position(|request| request.id == id)?;
        self.take(key, index).map(|request| request.item)
    }

    fn take_head(&mut self, key: K) -> Option<Request<T>> {
        self.take(key, 0)
    }

    fn take(&mut self, key: K, index: usize) -> Option<Request<T>> {
        let flow = self.flows.get_mut(&key)?;
        let request = flow.requests.remove(index)?;
        flow.cost -= request.cost;
        self.waiting -= 1;
        if flow.requests.is_empty() {
            self.order.remove(&(flow.place, key));
        }
        Some(request)
    }

    /// Charges a flow for what a request of its has taken beyond its cost. What is forgotten of a flow that is away is forgotten.
    pub(crate) fn charge_more(&mut self, key: K, cost: Duration) {
        if let Some(given) = self.flows.get(&key).map(|flow| flow.place.given) {
            self.charge(key, given.saturating_add(micros(cost)));
        }
    }

    /// Charges a flow for a request that is served.
    fn charge(&mut self, key: K, given: u64) {
        let Some(flow) = self.flows.get_mut(&key) else { return };
        self.latest += 1;
        let new = Place { given, is_earned: true, number: self.latest, ..flow.place };
        let old = std::mem::replace(&mut flow.place, new);
        if !flow.requests.is_empty() {
            self.order.remove(&(old, key));
            self.order.insert((flow.place, key));
        }
    }

    /// Forgets flows that have no request here and have been given no more than where newcomers start; all of them when there are
    /// many.
    fn forget_idle(&mut self) {
        if self.flows.len() - self.order.len() <= MOST_IDLE {
            return;
        }
        let given = self.given;
        self.flows.retain(|_, flow| !flow.requests.is_empty() || flow.place.given > given);
        if self.flows.len() - self.order.len() > MOST_IDLE {
            self.flows.retain(|_, flow| !flow.requests.is_empty());
        }
    }

    /// What is ahead of a request of this flow that comes now.
    pub(crate) fn ahead(&self, key: K, now: Instant) -> Ahead {
        let own = self.flows.get(&key).filter(|flow| !flow.requests.is_empty());
        let flows = self.order.iter().filter_map(|(_, key)| self.flows.get(key));
        // Until the last request of its flow is served, each other flow is given as much. One that has nothing here and finds no room
        // has been given more than all that wait.
        let most = own.map_or(u64::MAX, |own| own.cost);
        let cost: u64 = flows.map(|flow| flow.cost.min(most)).fold(0, u64::saturating_add);
        let oldest = own.and_then(|own| own.requests.front()).map(|request| request.arrived);
        Ahead {
            own: Duration::from_micros(own.map_or(0, |own| own.cost)),
            of_all: Duration::from_micros(cost),
            waited: oldest.map_or(Duration::ZERO, |arrived| now.saturating_duration_since(arrived)),
        }
    }

    /// How many requests wait.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.waiting
    }
}

/// At most an hour.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(3_600_000_000)
}

#[cfg(test)]
mod tests;
