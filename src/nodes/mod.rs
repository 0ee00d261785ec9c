//! The nodes of one site: the servers that together are one OpenEMR. Which of them a request goes to, which are left
//! out, and how many requests may be at work there.
//!
//! | File | Idea |
//! |---|---|
//! | [`node`] | one node: its origins, and what choices read of it |
//! | `on_node` | a request on its node: [`OnNode`] |
//! | [`origin`] | a base URL turned into peers that can be dialled |
//! | [`balance`] | whose turn it is: pure |
//! | [`breaker`] | which nodes are in, and when requests are refused at once: pure |
//! | [`in_flight`] | the ceiling on requests in flight, and the queue in front of it |
//! | [`health`] | active checks and name lookups, in the background |
//!
//! A choice is a few atomic loads. What changes how a node stands (a failed connection, a check) takes a lock, and
//! then writes the atomics that choices read.

pub mod balance;
pub mod breaker;
pub mod health;
pub mod in_flight;
mod line;
pub mod node;
mod on_node;
pub mod origin;
pub mod token_origin;

pub use on_node::{OnNode, Tried};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::header::InvalidHeaderValue;
use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{self, Balance, CaFile, Connections, HealthCheck, InFlightLimit, Timeouts};
use crate::nodes::breaker::{Admission, Breaker, Change, Finding, Standing, Trial};
use crate::nodes::in_flight::InFlight;
use crate::nodes::node::Node;

/// All that is known of one site's nodes.
pub struct Nodes {
    site: String,
    terms: Terms,
    nodes: Vec<Node>,
    turn: AtomicUsize,
    breaker: Mutex<Breaker>,
    in_flight: Arc<InFlight>,
    born: Instant,
    /// Tells the background tasks that a node stands otherwise; dropped with this, which ends them.
    news: watch::Sender<()>,
}

/// What nodes are made from: while it is the same, a reload can go on with the same nodes and what is known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    nodes: Vec<config::Node>,
    ca_file: Option<CaFile>,
    timeouts: Timeouts,
    connections: Connections,
    balance: Balance,
    health_check: HealthCheck,
    in_flight: InFlightLimit,
}

impl Terms {
    /// The terms of a site.
    #[must_use]
    pub fn of(site: &config::Site) -> Self {
        Self {
            nodes: site.nodes.clone(),
            ca_file: site.ca_file.clone(),
            timeouts: site.timeouts,
            connections: site.connections,
            balance: site.balance,
            health_check: site.health_check,
            in_flight: site.in_flight,
        }
    }
}

/// Why there is no node for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoNode {
    /// All are out, and it is worth trying again after this long.
    AllOut(Duration),
    /// It has tried each that could be tried.
    NoneLeft,
}

impl Nodes {
    /// The nodes of a site, all taken to be in until something else is known.
    ///
    /// # Errors
    /// A host name that no Host field can hold.
    pub fn new(site: &config::Site) -> Result<Self, InvalidHeaderValue> {
        Self::with(site.name.as_str(), Terms::of(site))
    }

    fn with(site: &str, terms: Terms) -> Result<Self, InvalidHeaderValue> {
        let nodes: Vec<Node> = terms.nodes.iter().map(|node| Node::new(node, &terms)).collect::<Result<_, _>>()?;
        Ok(Self {
            site: site.to_owned(),
            turn: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(nodes.len())),
            in_flight: Arc::new(InFlight::new(terms.in_flight)),
            born: Instant::now(),
            news: watch::Sender::new(()),
            nodes,
            terms,
        })
    }

    /// What they were made from.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The ceiling on requests in flight, over all of them.
    #[must_use]
    pub fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// A node by its index, as [`OnNode::index`] gives it.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    /// Whether requests are refused at the moment, and for how long: every node is out.
    #[must_use]
    pub fn refusal(&self, now: Instant) -> Option<Duration> {
        if self.nodes.iter().any(|node| node.standing() != Standing::Out) { None } else { self.breaker.lock().refusal(now) }
    }

    /// A node for a request that has given up those in `tried`: one that is in, or else one that is sick. When all are
    /// out, one request at a time finds out whether they are back.
    ///
    /// # Errors
    /// When there is none.
    pub fn choose(self: &Arc<Self>, tried: Tried, now: Instant) -> Result<OnNode, NoNode> {
        if let Some(index) = self.able(tried, now) {
            return Ok(self.on(index, None));
        }
        if tried != Tried::default() {
            return Err(NoNode::NoneLeft);
        }
        let admission = self.breaker.lock().admit(now);
        match admission {
            Admission::Refuse(wait) => Err(NoNode::AllOut(wait)),
            // One has come back since.
            Admission::Pass => self.able(tried, now).map(|index| self.on(index, None)).ok_or(NoNode::NoneLeft),
            Admission::Trial(trial) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let index = balance::in_turn(turn, self.nodes.len(), |_| true).ok_or(NoNode::NoneLeft)?;
                Ok(self.on(index, Some(trial)))
            }
        }
    }

    /// Whether a request that has given up those in `tried` would find another that is in or sick.
    #[must_use]
    pub fn has_another(&self, tried: Tried) -> bool {
        self.nodes.iter().enumerate().any(|(index, node)| !tried.has(index) && node.standing() != Standing::Out)
    }

    /// The nodes in the order in which a token should be asked for: those that are in come first, and among those that
    /// stand alike the one at `first`, counted round.
    pub fn by_standing(&self, first: usize) -> impl Iterator<Item = &Node> {
        let start = first.checked_rem(self.nodes.len()).unwrap_or(0);
        let round = move || self.nodes.iter().cycle().skip(start).take(self.nodes.len());
        [Standing::In, Standing::Sick, Standing::Out]
            .into_iter()
            .flat_map(move |standing| round().filter(move |node| node.standing() == standing))
    }

    /// Looks up all names, those of different nodes at the same time; what is known stays where that fails.
    pub async fn resolve(self: &Arc<Self>) {
        self.resolve_those(|_| true).await;
    }

    /// Looks up the names that have no address yet.
    pub async fn resolve_new(self: &Arc<Self>) {
        self.resolve_those(|node| node.fhir.address_count() == 0 || node.has_lost_token_endpoint()).await;
    }

    async fn resolve_those(self: &Arc<Self>, are_meant: impl Fn(&Node) -> bool) {
        let mut lookups = JoinSet::new();
        for index in (0..self.nodes.len()).filter(|index| are_meant(self.node(*index))) {
            let nodes = Arc::clone(self);
            lookups.spawn(async move { nodes.node(index).resolve().await });
        }
        while lookups.join_next().await.is_some() {}
    }

    /// How a node stands, how often in a row it failed, and whether it is the only one; for the active checks.
    fn state(&self, index: usize) -> (Standing, u32, bool) {
        let breaker = self.breaker.lock();
        (breaker.standing(index), breaker.failures(index), self.nodes.len() == 1)
    }

    /// An active check came to an end.
    fn checked(&self, index: usize, finding: Finding) {
        self.update(|breaker| breaker.checked(index, finding, Instant::now()));
    }

    /// One that is in and below its share of the ceiling, or else any that is in, or else one that is sick. The share
    /// keeps a node that hangs from holding every request that may be in flight, before its checks find it out.
    fn able(&self, tried: Tried, now: Instant) -> Option<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let stands = |index: usize, standing: Standing| {
            !tried.has(index) && self.nodes.get(index).is_some_and(|node| node.standing() == standing)
        };
        let in_count = self.nodes.iter().filter(|node| node.standing() == Standing::In).count().max(1);
        let share = (self.terms.in_flight.most as usize).div_ceil(in_count);
        let has_room = |index: usize| self.nodes.get(index).is_some_and(|node| node.load.load(Ordering::Relaxed) < share);
        self.pick(turn, now, |index| stands(index, Standing::In) && has_room(index))
            .or_else(|| self.pick(turn, now, |index| stands(index, Standing::In)))
            .or_else(|| self.pick(turn, now, |index| stands(index, Standing::Sick)))
    }

    fn pick(&self, turn: usize, now: Instant, may: impl Fn(usize) -> bool) -> Option<usize> {
        match self.terms.balance {
            Balance::RoundRobin => balance::in_turn(turn, self.nodes.len(), may),
            Balance::LeastLatency => {
                let age = now.saturating_duration_since(self.born);
                let cost = |index: usize| self.nodes.get(index).map_or(u64::MAX, |node| node.cost(age));
                balance::cheaper_of_two(turn, self.nodes.len(), may, cost)
            }
        }
    }

    fn on(self: &Arc<Self>, index: usize, trial: Option<Trial>) -> OnNode {
        let on = OnNode { nodes: Arc::clone(self), index, trial };
        on.node().load.fetch_add(1, Ordering::Relaxed);
        on
    }

    fn node(&self, index: usize) -> &Node {
        self.nodes.get(index).expect("the index was made from this list, which never changes")
    }

    /// Lets an event change how nodes stand, and says what it changed.
    fn update(&self, event: impl FnOnce(&mut Breaker) -> Vec<Change>) {
        let mut breaker = self.breaker.lock();
        let changes = event(&mut breaker);
        let mut is_news = !changes.is_empty();
        for (index, node) in self.nodes.iter().enumerate() {
            node.standing.store(breaker.standing(index) as u8, Ordering::Relaxed);
            let has_failures = breaker.failures(index) > 0;
            is_news |= node.has_failures.swap(has_failures, Ordering::Relaxed) != has_failures;
        }
        // Under the lock, so that the log tells changes in their order.
        for change in changes {
            self.say(change);
        }
        drop(breaker);
        if is_news {
            self.news.send_replace(());
        }
    }

    fn say(&self, change: Change) {
        let site = &self.site;
        match change {
            Change::Node(index, Standing::In) => info!("site {site}: node {} is back", self.node(index).fhir.url()),
            Change::Node(index, Standing::Sick) => {
                warn!("site {site}: node {} answers its checks with errors, others go first", self.node(index).fhir.url());
            }
            Change::Node(index, Standing::Out) => {
                warn!("site {site}: node {} cannot be reached and is left out", self.node(index).fhir.url());
            }
            Change::Opened => warn!("site {site}: no node can be reached, requests are refused at once until one can"),
            Change::Closed => info!("site {site}: requests go out again"),
        }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nodes").field("site", &self.site).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::config::{BaseUrl, defaults};

    fn nodes(count: usize, balance: Balance) -> Arc<Nodes> {
        let url = |index: usize| BaseUrl::parse(&format!("https://emr{index}.example.org")).unwrap();
        let terms = Terms {
            nodes: (0..count).map(|index| config::Node { fhir_base: url(index), token_url: Some(url(index)) }).collect(),
            ca_file: None,
            timeouts: defaults::TIMEOUTS,
            connections: defaults::CONNECTIONS,
            balance,
            health_check: defaults::HEALTH_CHECK,
            in_flight: defaults::IN_FLIGHT,
        };
        Arc::new(Nodes::with("default", terms).unwrap())
    }

    fn chosen(nodes: &Arc<Nodes>, tried: Tried) -> usize {
        nodes.choose(tried, Instant::now()).unwrap().index()
    }

    #[test]
    fn a_failed_connect_moves_on_to_each_node_once() {
        let nodes = nodes(3, Balance::RoundRobin);
        let mut tried = Tried::default();
        let mut on = nodes.choose(tried, Instant::now()).unwrap();
        let mut met = vec![on.index()];
        while let Some(next) = on.unreachable(true, &mut tried, Instant::now()) {
            met.push(next.index());
            on = next;
        }
        met.sort_unstable();
        assert_eq!(met, [0, 1, 2]);
        assert_eq!(nodes.choose(tried, Instant::now()).unwrap_err(), NoNode::NoneLeft);
    }

    #[test]
    fn a_node_that_failed_three_times_is_left_out_until_a_good_check() {
        let nodes = nodes(2, Balance::RoundRobin);
        for _ in 0..3 {
            nodes.update(|breaker| breaker.failed(0, Instant::now()));
        }
        assert!((0..6).all(|_| chosen(&nodes, Tried::default()) == 1));
        let mut only = Tried::default();
        only.add(1);
        assert!(!nodes.has_another(only), "one that is out is not worth a second try");
        assert!(nodes.by_standing(0).map(|node| node.fhir.url().host.as_str()).eq(["emr1.example.org", "emr0.example.org"]));
        nodes.checked(0, Finding::Good);
        assert!((0..6).any(|_| chosen(&nodes, Tried::default()) == 0));
        assert!(nodes.by_standing(3).map(|node| node.fhir.url().host.as_str()).eq(["emr1.example.org", "emr0.example.org"]));
    }

    #[test]
    fn a_sick_node_is_better_than_none() {
        let nodes = nodes(2, Balance::LeastLatency);
        for _ in 0..3 {
            nodes.checked(0, Finding::Sick);
        }
        assert!((0..6).all(|_| chosen(&nodes, Tried::default()) == 1));
        for _ in 0..3 {
            nodes.checked(1, Finding::Dead);
        }
        assert_eq!(chosen(&nodes, Tried::default()), 0);
        assert_eq!(nodes.refusal(Instant::now()), None);
    }

    #[test]
    fn a_trial_goes_to_every_node_and_its_answer_lets_all_through() {
        let nodes = nodes(2, Balance::RoundRobin);
        let start = Instant::now();
        for index in [0, 1] {
            for _ in 0..3 {
                nodes.update(|breaker| breaker.failed(index, start));
            }
        }
        assert!(matches!(nodes.choose(Tried::default(), start), Err(NoNode::AllOut(_))));
        let later = start + Duration::from_secs(1);
        let mut tried = Tried::default();
        let first = nodes.choose(tried, later).unwrap();
        assert!(matches!(nodes.choose(Tried::default(), later), Err(NoNode::AllOut(_))), "one at a time");
        let index = first.index();
        let mut second = first.unreachable(true, &mut tried, later).unwrap();
        assert_ne!(second.index(), index);
        second.answered(None, false);
        assert_eq!(nodes.refusal(later), None);
        assert_eq!(chosen(&nodes, Tried::default()), second.index());
    }

    #[test]
    fn a_request_that_ends_makes_room_for_the_next_trial() {
        let nodes = nodes(1, Balance::RoundRobin);
        let start = Instant::now();
        for _ in 0..5 {
            nodes.update(|breaker| breaker.failed(0, start));
        }
        drop(nodes.choose(Tried::default(), start + Duration::from_secs(1)).unwrap());
        let wait = nodes.refusal(Instant::now()).unwrap();
        assert!(nodes.choose(Tried::default(), Instant::now() + wait).is_ok());
    }

    #[test]
    fn the_quicker_node_gets_more_and_a_quick_error_does_not_make_quick() {
        let nodes = nodes(2, Balance::LeastLatency);
        let answer = |index: usize, ms, is_error| nodes.on(index, None).answered(Some(Duration::from_millis(ms)), is_error);
        for _ in 0..10 {
            answer(0, 200, false);
            answer(1, 20, false);
            answer(0, 1, true);
        }
        assert!((0..10).all(|_| chosen(&nodes, Tried::default()) == 1));
        let busy: Vec<OnNode> = (0..20).map(|_| nodes.on(1, None)).collect();
        assert_eq!(chosen(&nodes, Tried::default()), 0, "twenty in flight there outweigh it");
        drop(busy);
        assert_eq!(chosen(&nodes, Tried::default()), 1);
    }

    #[test]
    fn a_node_that_hangs_holds_its_share_of_the_ceiling_and_no_more() {
        let nodes = nodes(2, Balance::RoundRobin);
        let stuck: Vec<OnNode> = (0..16).map(|_| nodes.on(0, None)).collect();
        assert!((0..6).all(|_| chosen(&nodes, Tried::default()) == 1));
        for _ in 0..3 {
            nodes.update(|breaker| breaker.failed(1, Instant::now()));
        }
        assert_eq!(chosen(&nodes, Tried::default()), 0, "the share of the only node is all of it");
        drop(stuck);
    }

    #[test]
    fn sixty_four_nodes_are_told_apart() {
        let mut tried = Tried::default();
        tried.add(0);
        tried.add(63);
        assert!(tried.has(0) && tried.has(63) && !tried.has(1) && !tried.has(62));
    }
}
