//! A simulated OpenEMR: workers that take requests in the order of their arrival, and clients that ask again as soon as they are
//! answered. No clock, no sleep: the same seed gives the same run.

use super::*;
use crate::fhir::interaction::Interaction;
use http::Method;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::LazyLock;

#[path = "../../../tests/it/support/random.rs"]
mod random;
use random::Random;

/// What OpenEMR takes on an idle machine, in ms, and how often it is asked for.
const MIX: [(&str, f64, f64); 3] = [("/Patient/1", 30.0, 0.6), ("/Observation", 650.0, 0.25), ("/Encounter", 890.0, 0.15)];
const READS: [(&str, f64, f64); 1] = [("/Patient/1", 30.0, 1.0)];

/// When every run begins.
fn epoch() -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    *START
}

fn load(most: u32) -> Load {
    Load::new(most, true, None, epoch())
}

fn class(path: &str) -> Class {
    Class::of(Interaction::of(&Method::GET, path.as_bytes()), b"")
}

/// What the simulated OpenEMR is.
#[derive(Clone, Copy)]
struct OpenEmr {
    workers: usize,
    mix: &'static [(&'static str, f64, f64)],
    /// Times as long as in the mix.
    slowness: f64,
    /// How far a request's time may be from the usual, as a part of it.
    spread: f64,
}

/// A run: clients that ask all the time, the limit, and OpenEMR's workers. Times in microseconds.
struct Simulation {
    load: Load,
    openemr: OpenEmr,
    random: Random,
    now: u64,
    busy: usize,
    backlog: VecDeque<(u64, u64, Probe)>,
    running: BinaryHeap<Reverse<(u64, u64, usize)>>,
    probes: Vec<Probe>,
    flying: u32,
    clients: u32,
    /// Worker time of what was answered.
    work: u64,
}

impl Simulation {
    fn new(load: Load, clients: u32, openemr: OpenEmr, seed: u64) -> Self {
        Self {
            load,
            openemr,
            random: Random(seed * 2 + 1),
            now: 0,
            busy: 0,
            backlog: VecDeque::new(),
            running: BinaryHeap::new(),
            probes: Vec::new(),
            flying: 0,
            clients,
            work: 0,
        }
    }

    /// Goes on for so many seconds; gives the part of the workers' time that was used, and the mean limit.
    fn run(&mut self, seconds: u64) -> (f64, f64) {
        let (start, work) = (self.now, self.work);
        let end = start + seconds * 1_000_000;
        let mut limit_time = 0.0;
        while self.now < end {
            self.send();
            let before = self.now;
            let limit = self.load.limit();
            let Some(Reverse((at, sent, probe))) = self.running.pop() else { panic!("nothing runs") };
            self.now = at;
            limit_time += f64::from(limit) * (at - before) as f64;
            self.busy -= 1;
            self.flying -= 1;
            self.load.answered(self.probes[probe], Duration::from_micros(at - sent), epoch() + Duration::from_micros(at));
            self.start();
        }
        let span = (self.now - start) as f64;
        ((self.work - work) as f64 / span / self.openemr.workers as f64, limit_time / span)
    }

    /// Sends what the limit lets through.
    fn send(&mut self) {
        while self.flying < self.clients.min(self.load.limit()) {
            let (mut at, mut chosen) = (self.random.next(), self.openemr.mix[0]);
            for one in self.openemr.mix {
                chosen = *one;
                at -= one.2;
                if at < 0.0 {
                    break;
                }
            }
            let spread = 1.0 + self.openemr.spread * (2.0 * self.random.next() - 1.0);
            let took = (chosen.1 * self.openemr.slowness * spread * 1000.0) as u64;
            self.flying += 1;
            let party = (self.random.next() * 64.0) as usize;
            let probe = Probe { class: class(chosen.0), party, at_once: self.flying };
            self.backlog.push_back((self.now, took, probe));
        }
        if self.clients > self.load.limit() {
            self.load.note_reached();
        }
        self.start();
    }

    fn start(&mut self) {
        while self.busy < self.openemr.workers
            && let Some((sent, took, probe)) = self.backlog.pop_front()
        {
            self.busy += 1;
            self.work += took;
            self.probes.push(probe);
            self.running.push(Reverse((self.now + took, sent, self.probes.len() - 1)));
        }
    }
}

fn usual(workers: usize, mix: &'static [(&'static str, f64, f64)]) -> OpenEmr {
    OpenEmr { workers, mix, slowness: 1.0, spread: 0.4 }
}

#[test]
fn finds_what_the_workers_can_do_and_keeps_them_busy() {
    for (workers, mix, most_limit) in
        [(5, &MIX[..], 9.5), (5, &READS[..], 10.5), (16, &MIX[..], 26.0), (16, &READS[..], 30.0), (50, &MIX[..], 75.0)]
    {
        for seed in 1..=4 {
            let mut run = Simulation::new(load(100), 200, usual(workers, mix), seed);
            run.run(20);
            let (used, limit) = run.run(60);
            assert!(used > 0.95, "{workers} workers, seed {seed}: {used} used at a limit of {limit}");
            assert!(limit < most_limit, "{workers} workers, seed {seed}: a limit of {limit}");
        }
    }
}

/// In the first seconds the limit goes too far, and what is too much shows late: it comes back to what the workers can do, and no further.
#[test]
fn finds_it_within_seconds_after_a_start() {
    for seed in 1..=40 {
        for spread in [0.0, 0.15, 0.4] {
            let mut run = Simulation::new(load(32), 88, OpenEmr { spread, ..usual(16, &MIX) }, seed);
            run.run(8);
            let (used, limit) = run.run(50);
            assert!(used > 0.95, "spread {spread}, seed {seed}: {used} used at a limit of {limit}");
        }
    }
}

#[test]
fn follows_when_workers_go_and_come_back() {
    for seed in 1..=4 {
        let mut run = Simulation::new(load(32), 64, usual(16, &MIX), seed);
        run.run(30);
        run.openemr.workers = 4;
        run.run(20);
        let (used, limit) = run.run(60);
        assert!(used > 0.95 && limit < 8.0, "seed {seed}: {used} used at a limit of {limit}");
        run.openemr.workers = 16;
        run.run(60);
        let (used, limit) = run.run(60);
        assert!(used > 0.95 && limit < 28.0, "seed {seed}: {used} used at a limit of {limit}");
    }
}

/// It is not overload that OpenEMR's data have grown.
#[test]
fn an_openemr_that_has_become_slower_keeps_its_workers_busy() {
    for (slowness, seed) in [(1.25, 1), (1.5, 2), (2.0, 3), (4.0, 4)] {
        let mut run = Simulation::new(load(100), 200, usual(16, &MIX), seed);
        run.run(30);
        run.openemr.slowness = slowness;
        run.run(120);
        let (used, _) = run.run(120);
        assert!(used > 0.8, "{slowness} times as slow: {used} used");
        quiet_moment(&mut run);
        let (used, limit) = run.run(120);
        assert!(used > 0.95 && limit < 40.0, "{slowness} times as slow, known: {used} used at a limit of {limit}");
        run.openemr.slowness = 1.0;
        run.run(120);
        let (used, limit) = run.run(120);
        assert!(used > 0.95 && limit < 64.0, "as fast as before: {used} used at a limit of {limit}");
        quiet_moment(&mut run);
        let (used, limit) = run.run(120);
        assert!(used > 0.95 && limit < 28.0, "as fast as before, known: {used} used at a limit of {limit}");
    }
}

/// Four clients ask one after the other, for half a minute.
fn quiet_moment(run: &mut Simulation) {
    let clients = std::mem::replace(&mut run.clients, 4);
    run.run(30);
    run.clients = clients;
    run.run(30);
}

/// Whatever was learnt in the meantime, an hour at the limit does not make a longer queue at OpenEMR usual.
#[test]
fn does_not_creep_up_in_an_hour_at_the_limit() {
    for seed in 1..=3 {
        let mut run = Simulation::new(load(200), 300, usual(5, &MIX), seed);
        run.run(3600);
        let (used, limit) = run.run(300);
        assert!(used > 0.95 && limit < 9.0, "seed {seed}: {used} used at a limit of {limit}");
    }
}

#[test]
fn a_fixed_limit_stays_where_it_is() {
    let mut run = Simulation::new(Load::new(32, false, None, epoch()), 64, usual(4, &MIX), 1);
    let (_, limit) = run.run(30);
    assert!((limit - 32.0).abs() < 1e-6, "{limit}");
    for _ in 0..1000 {
        run.load.overloaded(probe("/Patient/1", 1, 32), epoch() + Duration::from_secs(40));
    }
    assert_eq!(run.load.limit(), 32);
    assert!(run.load.cost(class("/Encounter")) > run.load.cost(class("/Patient/1")), "but costs are learnt");
}

/// A request of this party, as one of so many.
fn probe(path: &str, party: usize, at_once: u32) -> Probe {
    Probe { class: class(path), party, at_once }
}

/// A run that has found its limit, and that limit.
fn found(workers: usize) -> (Load, u32) {
    let mut run = Simulation::new(load(100), 200, usual(workers, &MIX), 1);
    run.run(60);
    let limit = run.load.limit();
    (run.load, limit)
}

/// When answers count again, after a run of [`found`].
fn later(seconds: u64) -> Instant {
    epoch() + Duration::from_secs(100 + seconds)
}

#[test]
fn silence_of_what_was_never_answered_is_no_overload() {
    let (load, limit) = found(16);
    for turn in 0..1000 {
        load.overloaded(probe("/Provenance", turn, limit), later(turn as u64));
    }
    assert_eq!(load.limit(), limit);
}

#[test]
fn failures_of_all_are_overload_and_those_of_one_party_are_not() {
    for (parties, is_overload) in [(1, false), (16, true)] {
        let (load, limit) = found(16);
        for turn in 0..200 {
            let (of, now) = (probe("/Patient/1", turn % parties, limit), later(turn as u64));
            load.overloaded(of, now);
            load.answered(probe("/Patient/1", 1 + turn % 15, limit), Duration::from_millis(31), now);
        }
        assert_eq!(load.limit() < limit, is_overload, "{parties}");
    }
}

/// A client that asks for what is dear, under the name of what is cheap, is slow by itself.
#[test]
fn one_party_that_is_slow_says_nothing_about_openemr() {
    for (parties, is_overload) in [(1, false), (16, true)] {
        let (load, limit) = found(16);
        for turn in 0..200 {
            let now = later(turn as u64);
            for again in 0..10 {
                load.answered(probe("/Patient/1", (turn + again) % parties, limit), Duration::from_millis(300), now);
            }
            for other in 0..6 {
                let took = Duration::from_millis(if parties == 1 { 900 } else { 2000 });
                load.answered(probe("/Encounter", 1 + (turn + other) % 15, limit), took, now);
            }
        }
        assert_eq!(load.limit() < limit, is_overload, "{parties}");
    }
}

/// And one that asks for what is cheap under the name of what is dear does not make it usual.
#[test]
fn one_party_that_is_quick_does_not_make_others_slow() {
    let (load, _) = found(16);
    let usual = load.cost(class("/Encounter"));
    for turn in 0..200 {
        let now = later(turn as u64);
        for _ in 0..10 {
            load.answered(probe("/Observation", 0, 20), Duration::from_millis(30), now);
        }
        for other in 0..6 {
            load.answered(probe("/Encounter", 1 + (turn + other) % 15, 20), Duration::from_millis(890), now);
        }
    }
    assert!(load.cost(class("/Encounter")) > usual.mul_f64(0.8));
}

#[test]
fn what_took_longer_than_it_was_taken_for_is_told() {
    let load = load(100);
    let ms = Duration::from_millis;
    assert_eq!(load.surplus(ms(57), ms(650)), ms(536));
    assert_eq!(load.surplus(ms(57), ms(100)), ms(0));
}
