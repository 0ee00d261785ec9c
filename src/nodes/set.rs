//! The nodes of one site: how each of them stands, and which one a request goes to.
//!
//! A choice is a few atomic loads. What changes a node's health (a failed connection, a check) takes a lock, and then writes
//! the atomics that choices read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::{self, Balance, Upstream};
use crate::nodes::balance;
use crate::nodes::breaker::{Admission, Breaker, Change, CheckResult, Health, Trial};
use crate::nodes::in_flight::InFlight;
use crate::nodes::node::Node;
use crate::nodes::tried::Tried;

/// The nodes of one site.
pub(crate) struct Nodes {
    site: String,
    upstream: Upstream,
    nodes: Vec<Node>,
    next: AtomicUsize,
    breaker: Mutex<Breaker>,
    in_flight: Arc<InFlight>,
    created: Instant,
    /// Tells the background tasks that a node's health has changed; dropped with this, which ends them.
    changes: watch::Sender<()>,
}

/// Why there is no node for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoNode {
    /// All are ejected, and it is worth trying again after this long.
    AllOut(Duration),
    /// The request has tried each that could be tried.
    NoneLeft,
}

impl Nodes {
    /// The nodes of a site, all of them healthy until something else is known.
    #[must_use]
    pub(crate) fn new(site: &config::Site) -> Self {
        Self::with(site.name.as_str(), site.upstream.clone())
    }

    /// The nodes of a site that had others until now. Where these are the same servers, what OpenEMR can do is known.
    #[must_use]
    pub(crate) fn after(site: &config::Site, before: &Self) -> Self {
        let mut nodes = Self::new(site);
        if before.upstream.nodes == nodes.upstream.nodes {
            nodes.in_flight = Arc::new(InFlight::new(&nodes.site, nodes.upstream.in_flight_here(), Some(&before.in_flight)));
        }
        nodes
    }

    /// The nodes of an OpenEMR, which the log calls `site`.
    #[must_use]
    pub(crate) fn with(site: &str, upstream: Upstream) -> Self {
        let nodes: Vec<Node> = upstream.nodes.iter().map(|node| Node::new(node, &upstream)).collect();
        Self {
            site: site.to_owned(),
            next: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(nodes.len())),
            in_flight: Arc::new(InFlight::new(site, upstream.in_flight_here(), None)),
            created: Instant::now(),
            changes: watch::Sender::new(()),
            nodes,
            upstream,
        }
    }

    /// What they were made from.
    #[must_use]
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The limit on requests in flight, over all of them.
    #[must_use]
    pub(crate) fn in_flight(&self) -> &Arc<InFlight> {
        &self.in_flight
    }

    /// Whether requests are rejected at the moment, because every node is ejected, and for how long.
    #[must_use]
    pub(crate) fn rejects_for(&self, now: Instant) -> Option<Duration> {
        if self.nodes.iter().any(|node| node.health() != Health::Ejected) { None } else { self.breaker.lock().rejects_for(now) }
    }

    /// Whether a request that has given up those in `tried` would find another that is not ejected.
    #[must_use]
    pub(crate) fn has_another(&self, tried: Tried) -> bool {
        self.nodes.iter().enumerate().any(|(index, node)| !tried.has(index) && node.health() != Health::Ejected)
    }

    /// The nodes in the order in which a token should be asked for: healthy ones come first, and among those of the same
    /// health the one at `first`, counted round.
    pub(crate) fn by_health(&self, first: usize) -> impl Iterator<Item = &Node> {
        let start = first.checked_rem(self.nodes.len()).unwrap_or(0);
        let round = move || self.nodes.iter().cycle().skip(start).take(self.nodes.len());
        [Health::Healthy, Health::Degraded, Health::Ejected]
            .into_iter()
            .flat_map(move |health| round().filter(move |node| node.health() == health))
    }

    /// Looks up all names, those of different nodes at the same time; known addresses stay where that fails.
    pub(crate) async fn resolve(self: &Arc<Self>) {
        self.resolve_those(|_| true).await;
    }

    /// Looks up the names that have no address yet.
    pub(crate) async fn resolve_new(self: &Arc<Self>) {
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

    /// Chooses the node of a request that has given up those in `tried`: a healthy one, or else a degraded one. When all are
    /// ejected, one request at a time finds out whether they are back.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn choose(&self, tried: Tried, now: Instant) -> Result<(usize, Option<Trial>), NoNode> {
        if let Some(index) = self.available(tried, now) {
            return Ok((index, None));
        }
        if tried != Tried::default() {
            return Err(NoNode::NoneLeft);
        }
        let admission = self.breaker.lock().admit(now);
        match admission {
            Admission::Reject(wait) => Err(NoNode::AllOut(wait)),
            // One has come back since.
            Admission::Pass => self.available(tried, now).map(|index| (index, None)).ok_or(NoNode::NoneLeft),
            Admission::Trial(trial) => {
                let next = self.next.fetch_add(1, Ordering::Relaxed);
                let index = balance::in_turn(next, self.nodes.len(), |_| true).ok_or(NoNode::NoneLeft)?;
                Ok((index, Some(trial)))
            }
        }
    }

    /// A healthy node below its share of the limit, or else any healthy one, or else a degraded one. The share keeps a node
    /// that hangs from holding every request that may be in flight, before its checks find it out.
    fn available(&self, tried: Tried, now: Instant) -> Option<usize> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let is =
            |index: usize, health: Health| !tried.has(index) && self.nodes.get(index).is_some_and(|node| node.health() == health);
        let healthy = self.nodes.iter().filter(|node| node.health() == Health::Healthy).count().max(1);
        let share = (self.in_flight.limit() as usize).div_ceil(healthy);
        let has_room = |index: usize| self.nodes.get(index).is_some_and(|node| node.load.load(Ordering::Relaxed) < share);
        self.pick(next, now, |index| is(index, Health::Healthy) && has_room(index))
            .or_else(|| self.pick(next, now, |index| is(index, Health::Healthy)))
            .or_else(|| self.pick(next, now, |index| is(index, Health::Degraded)))
    }

    fn pick(&self, next: usize, now: Instant, may: impl Fn(usize) -> bool) -> Option<usize> {
        match self.upstream.balance {
            Balance::RoundRobin => balance::in_turn(next, self.nodes.len(), may),
            Balance::LeastLatency => {
                let age = now.saturating_duration_since(self.created);
                let cost = |index: usize| self.nodes.get(index).map_or(u64::MAX, |node| node.cost(age));
                balance::cheaper_of_two(next, self.nodes.len(), may, cost)
            }
        }
    }

    /// The node at an index that a lease gave.
    #[must_use]
    pub(crate) fn get(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The node at an index below [`Nodes::len`].
    pub(super) fn node(&self, index: usize) -> &Node {
        self.nodes.get(index).expect("the index was made from this list, which never changes")
    }

    pub(super) fn site(&self) -> &str {
        &self.site
    }

    /// A receiver that hears of changes of health, and of the end of these nodes.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// A node's health, how often in a row it failed, and whether it is the only one.
    pub(super) fn state(&self, index: usize) -> (Health, u32, bool) {
        let breaker = self.breaker.lock();
        (breaker.health(index), breaker.failures(index), self.nodes.len() == 1)
    }

    /// When a node answered last; `None` before its first answer.
    pub(super) fn heard_at(&self, index: usize) -> Option<Instant> {
        self.get(index).and_then(Node::heard).and_then(|age| self.created.checked_add(age))
    }

    /// Records the result of an active check, with the cause for the log where it is no good one.
    pub(super) fn checked(&self, index: usize, result: CheckResult, cause: Option<&str>) {
        if result == CheckResult::Good {
            self.node(index).note_answer(self.created.elapsed());
        }
        self.update(cause, |breaker| breaker.checked(index, result, Instant::now()));
    }

    /// Records an answer: `after` so long, unless it is not to be measured; within a trial.
    pub(super) fn answered(&self, index: usize, after: Option<Duration>, trial: Option<Trial>) {
        let (node, age) = (self.node(index), self.created.elapsed());
        node.note_answer(age);
        if let (Balance::LeastLatency, Some(after)) = (self.upstream.balance, after) {
            node.measure(age, after);
        }
        if trial.is_some() || node.has_failures() {
            self.update(None, |breaker| breaker.answered(index, trial));
        }
    }

    /// Records that a node took no connection.
    pub(super) fn failed(&self, index: usize, now: Instant) {
        self.update(None, |breaker| breaker.failed(index, now));
    }

    /// Records that a trial found no node that takes a connection.
    pub(super) fn trial_failed(&self, trial: Trial, now: Instant) {
        self.breaker.lock().trial_failed(trial, now);
    }

    /// Records that a trial ended without a result.
    pub(super) fn trial_abandoned(&self, trial: Trial) {
        self.breaker.lock().trial_abandoned(trial, Instant::now());
    }

    /// Lets an event change the nodes' health, and logs what it changed, with its cause where that is not logged elsewhere.
    fn update(&self, cause: Option<&str>, event: impl FnOnce(&mut Breaker) -> Vec<Change>) {
        let mut breaker = self.breaker.lock();
        let changes = event(&mut breaker);
        let mut has_changed = !changes.is_empty();
        for (index, node) in self.nodes.iter().enumerate() {
            node.set_health(breaker.health(index));
            let has_failures = breaker.failures(index) > 0;
            has_changed |= node.set_has_failures(has_failures);
        }
        // Under the lock, so that the log has changes in their order.
        for change in changes {
            self.log(change, cause);
        }
        drop(breaker);
        if has_changed {
            self.changes.send_replace(());
        }
    }

    fn log(&self, change: Change, cause: Option<&str>) {
        let site = &self.site;
        let because = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        let url = |index| self.node(index).fhir.url();
        match change {
            Change::Node(index, Health::Healthy) => info!("site {site}: node {} is back", url(index)),
            Change::Node(index, Health::Degraded) if self.nodes.len() == 1 => {
                warn!("site {site}: node {} answers its checks with errors, or not in time{because}", url(index));
            }
            Change::Node(index, Health::Degraded) => {
                warn!("site {site}: node {} answers its checks with errors, others go first{because}", url(index));
            }
            Change::Node(index, Health::Ejected) => {
                warn!("site {site}: node {} cannot be reached and is left out{because}", url(index));
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
