//! Which nodes of a site are in, and the circuit breaker that opens when none is. Pure: what happened and when is
//! passed in, what changed comes out.
//!
//! ```text
//! a node:      In ──failures in a row──▶ Out ──a good check, or a trial that was answered──▶ In
//!               └──checks answered with 5xx──▶ Sick (used only when no other is in) ──a good check──▶ In
//! the circuit: Closed ──the last node goes out──▶ Open ──its pause is over──▶ one trial ──answered──▶ Closed
//!                                                  ▲                              └─not──┐
//!                                                  └──────── a longer pause ─────────────┘
//! ```
//! Only connections that do not come about, and checks that nothing answers, count as failures: an HTTP status of
//! OpenEMR's never opens the circuit.

use std::time::{Duration, Instant};

/// Failures in a row that leave out the only node: what it costs to be wrong is the whole site.
const ALONE: u32 = 5;
/// Failures in a row that leave out one of several.
const ONE_OF_SEVERAL: u32 = 3;
/// How long an open circuit waits for its first trial.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long it waits at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// What those are told who come during a trial.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It gets requests.
    In,
    /// It answers its checks with errors: it gets requests only when no node is in.
    Sick,
    /// It cannot be reached.
    Out,
}

/// What an active check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finding {
    /// An answer below 500.
    Good,
    /// An answer from 500 up.
    Sick,
    /// No connection, or no answer in time.
    Dead,
}

/// Whether a request may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// To a node that is in, or at least answers.
    Pass,
    /// Although all are out: it finds out whether one is back.
    Trial(Trial),
    /// Not for this long.
    Refuse(Duration),
}

/// The one request that may go out while the circuit is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial(u64);

/// What an event changed, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A node stands otherwise now.
    Node(usize, Standing),
    /// The circuit opened: every request is refused until a trial or a check succeeds.
    Opened,
    /// The circuit closed.
    Closed,
}

/// The nodes of one site and their circuit.
#[derive(Debug)]
pub struct Breaker {
    nodes: Vec<Node>,
    circuit: Circuit,
    trials: u64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    standing: Standing,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
enum Circuit {
    Closed,
    Open { until: Instant, pause: Duration },
    Trying { trial: Trial, pause: Duration },
}

impl Breaker {
    /// For `count` nodes, all of them in until something else is known.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let node = Node { standing: Standing::In, failures: 0 };
        Self { nodes: vec![node; count], circuit: Circuit::Closed, trials: 0 }
    }

    /// How a node stands.
    #[must_use]
    pub fn standing(&self, node: usize) -> Standing {
        self.nodes.get(node).map_or(Standing::Out, |node| node.standing)
    }

    /// Failures of a node in a row.
    #[must_use]
    pub fn failures(&self, node: usize) -> u32 {
        self.nodes.get(node).map_or(0, |node| node.failures)
    }

    /// Whether requests are refused at `now`, and for how long; unlike [`Breaker::admit`] it starts no trial.
    #[must_use]
    pub fn refusal(&self, now: Instant) -> Option<Duration> {
        match self.circuit {
            Circuit::Closed => None,
            Circuit::Open { until, .. } => Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero()),
            Circuit::Trying { .. } => Some(TRIAL_PATIENCE),
        }
    }

    /// May a request go out?
    pub fn admit(&mut self, now: Instant) -> Admission {
        match (self.circuit, self.refusal(now)) {
            (Circuit::Closed, _) => Admission::Pass,
            (_, Some(wait)) => Admission::Refuse(wait),
            (Circuit::Open { pause, .. } | Circuit::Trying { pause, .. }, None) => {
                self.trials += 1;
                let trial = Trial(self.trials);
                self.circuit = Circuit::Trying { trial, pause };
                Admission::Trial(trial)
            }
        }
    }

    /// A connection to none of the node's addresses came about, or nothing answered a check.
    pub fn failed(&mut self, index: usize, now: Instant) -> Vec<Change> {
        let patience = if self.nodes.len() == 1 { ALONE } else { ONE_OF_SEVERAL };
        let Some(node) = self.nodes.get_mut(index) else { return Vec::new() };
        node.failures = node.failures.saturating_add(1);
        if node.standing == Standing::Out || node.failures < patience {
            return Vec::new();
        }
        node.standing = Standing::Out;
        let mut changes = vec![Change::Node(index, Standing::Out)];
        if self.nodes.iter().all(|node| node.standing == Standing::Out) {
            self.circuit = Circuit::Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE };
            changes.push(Change::Opened);
        }
        changes
    }

    /// The head of an answer came, whatever its status. A node that is out is only believed in a trial: an answer
    /// may have been on its way when the node died.
    pub fn answered(&mut self, index: usize, trial: Option<Trial>) -> Vec<Change> {
        let is_the_trial = matches!((self.circuit, trial), (Circuit::Trying { trial, .. }, Some(this)) if trial == this);
        let Some(node) = self.nodes.get_mut(index) else { return Vec::new() };
        if node.standing != Standing::Out {
            node.failures = 0;
            return Vec::new();
        }
        if is_the_trial { self.bring_back(index, Standing::In) } else { Vec::new() }
    }

    /// An active check came to an end.
    pub fn checked(&mut self, index: usize, finding: Finding, now: Instant) -> Vec<Change> {
        let patience = if self.nodes.len() == 1 { ALONE } else { ONE_OF_SEVERAL };
        let Some(node) = self.nodes.get_mut(index) else { return Vec::new() };
        match (finding, node.standing) {
            (Finding::Dead, _) => self.failed(index, now),
            (Finding::Good, Standing::In) => {
                node.failures = 0;
                Vec::new()
            }
            (Finding::Good, Standing::Sick | Standing::Out) => self.bring_back(index, Standing::In),
            (Finding::Sick, Standing::Out) => self.bring_back(index, Standing::Sick),
            (Finding::Sick, Standing::Sick) => Vec::new(),
            (Finding::Sick, Standing::In) => {
                node.failures = node.failures.saturating_add(1);
                if node.failures < patience {
                    return Vec::new();
                }
                *node = Node { standing: Standing::Sick, failures: 0 };
                vec![Change::Node(index, Standing::Sick)]
            }
        }
    }

    /// A trial found no node that takes a connection.
    pub fn trial_failed(&mut self, trial: Trial, now: Instant) {
        self.reopen(trial, now, |pause| (pause * 2).min(LONGEST_PAUSE));
    }

    /// A trial ended and nobody knows how: its caller left, or the connection broke. Ends that were told before are
    /// not told again.
    pub fn trial_abandoned(&mut self, trial: Trial, now: Instant) {
        self.reopen(trial, now, |pause| pause);
    }

    fn reopen(&mut self, ended: Trial, now: Instant, next: impl Fn(Duration) -> Duration) {
        if let Circuit::Trying { trial, pause } = self.circuit
            && trial == ended
        {
            let pause = next(pause);
            self.circuit = Circuit::Open { until: now + pause, pause };
        }
    }

    fn bring_back(&mut self, index: usize, standing: Standing) -> Vec<Change> {
        if let Some(node) = self.nodes.get_mut(index) {
            *node = Node { standing, failures: 0 };
        }
        let mut changes = vec![Change::Node(index, standing)];
        if !matches!(self.circuit, Circuit::Closed) {
            self.circuit = Circuit::Closed;
            changes.push(Change::Closed);
        }
        changes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn down(count: usize, now: Instant) -> Breaker {
        let mut breaker = Breaker::new(count);
        for node in 0..count {
            for _ in 0..ALONE {
                breaker.failed(node, now);
            }
        }
        breaker
    }

    fn trial(breaker: &mut Breaker, now: Instant) -> Trial {
        match breaker.admit(now) {
            Admission::Trial(trial) => trial,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_only_node_is_out_after_five_failures_in_a_row() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1);
        for _ in 0..4 {
            assert_eq!(breaker.failed(0, now), []);
        }
        breaker.answered(0, None);
        for _ in 0..4 {
            assert_eq!(breaker.failed(0, now), []);
            assert_eq!(breaker.admit(now), Admission::Pass);
        }
        assert_eq!(breaker.failed(0, now), [Change::Node(0, Standing::Out), Change::Opened]);
        assert_eq!(breaker.failed(0, now), [], "said once");
        assert_eq!(breaker.admit(now), Admission::Refuse(seconds(1)));
    }

    #[test]
    fn one_of_two_is_out_after_three_and_the_circuit_stays_closed() {
        let now = Instant::now();
        let mut breaker = Breaker::new(2);
        breaker.failed(1, now);
        breaker.failed(1, now);
        assert_eq!(breaker.failed(1, now), [Change::Node(1, Standing::Out)]);
        assert_eq!(breaker.admit(now), Admission::Pass);
        assert_eq!(breaker.answered(1, None), [], "an answer that was on its way proves nothing");
        assert_eq!(breaker.standing(1), Standing::Out);
        assert_eq!(breaker.checked(1, Finding::Good, now), [Change::Node(1, Standing::In)]);
    }

    #[test]
    fn after_its_pause_an_open_circuit_lets_one_request_try() {
        let now = Instant::now();
        let mut breaker = down(2, now);
        let later = now + seconds(1);
        let first = trial(&mut breaker, later);
        assert_eq!(breaker.admit(later), Admission::Refuse(TRIAL_PATIENCE));
        assert_eq!(breaker.answered(1, Some(first)), [Change::Node(1, Standing::In), Change::Closed]);
        assert_eq!((breaker.standing(0), breaker.standing(1)), (Standing::Out, Standing::In));
        assert_eq!(breaker.admit(later), Admission::Pass);
    }

    #[test]
    fn the_pause_doubles_up_to_ten_seconds_and_starts_anew() {
        let mut now = Instant::now();
        let mut breaker = down(1, now);
        for pause in [1, 2, 4, 8, 10, 10] {
            assert_eq!(breaker.admit(now), Admission::Refuse(seconds(pause)));
            now += seconds(pause);
            let trial = trial(&mut breaker, now);
            breaker.trial_failed(trial, now);
        }
        breaker.checked(0, Finding::Good, now);
        for _ in 0..ALONE {
            breaker.failed(0, now);
        }
        assert_eq!(breaker.admit(now), Admission::Refuse(FIRST_PAUSE));
    }

    #[test]
    fn an_abandoned_trial_makes_room_for_the_next() {
        let now = Instant::now() + seconds(1);
        let mut breaker = down(1, now - seconds(1));
        let first = trial(&mut breaker, now);
        breaker.trial_abandoned(first, now);
        let second = trial(&mut breaker, now + seconds(1));
        breaker.trial_abandoned(first, now + seconds(1));
        breaker.trial_failed(first, now + seconds(1));
        assert_eq!(breaker.answered(0, Some(first)), [], "a trial that is over decides nothing");
        assert_eq!(breaker.answered(0, Some(second)).len(), 2);
    }

    #[test]
    fn errors_of_openemrs_never_open_the_circuit() {
        let now = Instant::now();
        let mut breaker = Breaker::new(2);
        for node in [0, 1] {
            for _ in 0..10 {
                breaker.checked(node, Finding::Sick, now);
            }
            assert_eq!(breaker.standing(node), Standing::Sick);
        }
        assert_eq!(breaker.admit(now), Admission::Pass);
        assert_eq!(breaker.checked(0, Finding::Good, now), [Change::Node(0, Standing::In)]);
        // And they close it: somebody answers.
        let mut breaker = down(2, now);
        assert_eq!(breaker.checked(1, Finding::Sick, now), [Change::Node(1, Standing::Sick), Change::Closed]);
    }

    #[derive(Debug, Clone)]
    enum Event {
        Failed(usize),
        Answered(usize),
        Checked(usize, Finding),
        Admit,
        TrialAnswered(usize),
        TrialFailed,
        TrialAbandoned,
        Pass(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let node = 0_usize..3;
        prop_oneof![
            4 => node.clone().prop_map(Event::Failed),
            1 => node.clone().prop_map(Event::Answered),
            2 => (node.clone(), prop_oneof![Just(Finding::Good), Just(Finding::Sick), Just(Finding::Dead)])
                .prop_map(|(node, finding)| Event::Checked(node, finding)),
            3 => Just(Event::Admit),
            1 => node.prop_map(Event::TrialAnswered),
            1 => Just(Event::TrialFailed),
            1 => Just(Event::TrialAbandoned),
            3 => (0_u64..3_000).prop_map(Event::Pass),
        ]
    }

    proptest! {
        #[test]
        fn requests_are_refused_when_and_only_when_all_are_out(count in 1_usize..4, events in proptest::collection::vec(event(), 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(count);
            let mut trials: Vec<Trial> = Vec::new();
            let mut is_open = false;
            for event in events {
                let changes = match event {
                    Event::Failed(node) => breaker.failed(node, now),
                    Event::Answered(node) => breaker.answered(node, None),
                    Event::Checked(node, finding) => breaker.checked(node, finding, now),
                    Event::TrialAnswered(node) => breaker.answered(node, trials.last().copied()),
                    Event::TrialFailed => { trials.last().into_iter().for_each(|trial| breaker.trial_failed(*trial, now)); Vec::new() }
                    Event::TrialAbandoned => { trials.last().into_iter().for_each(|trial| breaker.trial_abandoned(*trial, now)); Vec::new() }
                    Event::Pass(ms) => { now += Duration::from_millis(ms); Vec::new() }
                    Event::Admit => {
                        match breaker.admit(now) {
                            Admission::Pass => prop_assert!(!is_open),
                            Admission::Refuse(wait) => prop_assert!(is_open && !wait.is_zero() && wait <= LONGEST_PAUSE),
                            Admission::Trial(trial) => {
                                prop_assert!(is_open);
                                prop_assert!(matches!(breaker.admit(now), Admission::Refuse(_)), "one at a time");
                                trials.push(trial);
                            }
                        }
                        Vec::new()
                    }
                };
                for change in changes {
                    match change {
                        Change::Opened => { prop_assert!(!is_open); is_open = true; }
                        Change::Closed => { prop_assert!(is_open); is_open = false; }
                        Change::Node(node, standing) => prop_assert_eq!(breaker.standing(node), standing),
                    }
                }
                let all_out = (0..count).all(|node| breaker.standing(node) == Standing::Out);
                prop_assert_eq!(all_out, is_open);
            }
            // However it got here: when the trial in flight ends, another is due within the longest pause.
            if is_open {
                trials.last().into_iter().for_each(|trial| breaker.trial_abandoned(*trial, now));
                prop_assert!(matches!(breaker.admit(now + LONGEST_PAUSE), Admission::Trial(_)));
            }
        }
    }
}
