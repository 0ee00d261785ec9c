//! The load of one OpenEMR: what its answers take, and the limit that follows from it. Shared by all threads; an answer is taken in with
//! a few atomic operations, and one in some dozens draws the conclusion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::adaptive::{FLOOR, Finding, Search, Window, counted};
use crate::limits::class::Class;
use crate::limits::parties::{Parties, Sums};
use crate::limits::usual::UsualTimes;

/// Answers that take less than this part of the usual time tell that OpenEMR has become faster.
const FASTER: f64 = 0.85;

/// What is known of the load, and the limit on requests at once.
#[derive(Debug)]
pub(crate) struct Load {
    times: Arc<UsualTimes>,
    limit: AtomicU32,
    created: Instant,
    /// From when on answers are counted, in microseconds since `created`: those that come soon after a change of the limit are of before,
    /// or the quick ones alone.
    counted_from: AtomicU64,
    /// The usual time of the dearest requests of late, in microseconds.
    longest: AtomicU64,
    answers: AtomicU32,
    parties: Parties,
    most: AtomicU32,
    is_reached: AtomicBool,
    /// How many times as long as usual answers take, smoothed, as the bits of an f32.
    ratio: AtomicU32,
    /// How much longer than usual they take, in microseconds.
    wait: AtomicU64,
    search: Option<Mutex<Search>>,
}

/// A request that was let through, as far as its answer tells about the load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// What it asks for.
    pub(crate) class: Class,
    /// Who asks for it, as a number: clients are told apart by it.
    pub(crate) party: usize,
    /// How many requests there were with it.
    pub(crate) at_once: u32,
}

impl Load {
    /// A limit that follows the load, up to `most`; or one that stays there. What was learnt of the same OpenEMR before is kept.
    #[must_use]
    pub(crate) fn new(most: u32, is_adaptive: bool, before: Option<&Self>, now: Instant) -> Self {
        let known_good = before.filter(|before| before.search.is_some()).map(Self::limit);
        let search = is_adaptive.then(|| Search::new(most, known_good));
        Self {
            times: before.map(|before| Arc::clone(&before.times)).unwrap_or_default(),
            limit: AtomicU32::new(search.as_ref().map_or(most, Search::limit)),
            created: now,
            counted_from: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            answers: AtomicU32::new(0),
            parties: Parties::default(),
            most: AtomicU32::new(0),
            is_reached: AtomicBool::new(false),
            ratio: AtomicU32::new(1.0_f32.to_bits()),
            wait: AtomicU64::new(0),
            search: search.map(Mutex::new),
        }
    }

    /// The most requests at once.
    #[must_use]
    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// What a request of this class costs, in OpenEMR's time.
    #[must_use]
    pub(crate) fn cost(&self, class: Class) -> Duration {
        self.times.cost(class)
    }

    /// How long requests that cost so much together take, when as many of them are at OpenEMR at once.
    #[must_use]
    pub(crate) fn time(&self, cost: Duration, at_once: u32) -> Duration {
        let seconds = cost.as_secs_f64() * f64::from(self.ratio().max(1.0)) / f64::from(at_once.max(1));
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// A request has to wait for the limit.
    pub(crate) fn note_reached(&self) {
        if !self.is_reached.load(Ordering::Relaxed) {
            self.is_reached.store(true, Ordering::Relaxed);
        }
    }

    /// The head of an answer came so long after its request was sent.
    pub(crate) fn answered(&self, probe: Probe, took: Duration, now: Instant) {
        let known = self.times.known(probe.class);
        if probe.at_once <= FLOOR {
            self.times.learn(probe.class, took);
        } else if self.times.is_new(probe.class) {
            self.times.learn(probe.class, took.div_f32(self.ratio().max(1.0)));
        }
        if self.counts(probe, now) {
            if let Some(usual) = known {
                self.note_longest(usual);
            }
            let compared = known.map(|usual| {
                let (took, usual) = (took.as_secs_f64() * 1e3, usual.as_secs_f64() * 1e3);
                (counted(took, usual), usual)
            });
            self.parties.answered(probe.party, compared);
            self.conclude(now);
        }
    }

    /// OpenEMR did not answer in time, or said that it is overloaded.
    pub(crate) fn overloaded(&self, probe: Probe, now: Instant) {
        // Of a class that was never answered, silence is what is usual.
        if self.times.known(probe.class).is_some() && self.counts(probe, now) {
            self.parties.failed(probe.party);
            self.conclude(now);
        }
    }

    /// By how much longer an answer took than could be expected of what it was taken for.
    #[must_use]
    pub(crate) fn surplus(&self, cost: Duration, took: Duration) -> Duration {
        let expected = (cost + Duration::from_micros(self.wait.load(Ordering::Relaxed))) * 2;
        took.saturating_sub(expected)
    }

    /// Whether an answer that comes now counts.
    fn counts(&self, probe: Probe, now: Instant) -> bool {
        let counts = self.search.is_some() && self.micros(now) >= self.counted_from.load(Ordering::Relaxed);
        if counts {
            self.most.fetch_max(probe.at_once, Ordering::Relaxed);
        }
        counts
    }

    fn ratio(&self) -> f32 {
        f32::from_bits(self.ratio.load(Ordering::Relaxed))
    }

    /// Draws the conclusion from what was seen, if it is enough and nobody else does.
    fn conclude(&self, now: Instant) {
        let (answers, at) = (self.answers.fetch_add(1, Ordering::Relaxed) + 1, self.micros(now));
        if answers < self.limit() || at < self.counted_from.load(Ordering::Relaxed) + self.pause() / 2 {
            return;
        }
        let Some(mut search) = self.search.as_ref().and_then(Mutex::try_lock) else { return };
        let mut window = self.window();
        if !window.is_full(search.limit()) {
            return;
        }
        let mut ratio = f64::from(self.ratio()) * 0.7 + window.ratio() * 0.3;
        let others = self.parties.without_the_worst(|sums| -sums.surplus()).map_or(0.0, Sums::ratio);
        if ratio.max(others) < FASTER {
            // A part of the way, in case that it is luck; nothing grows until that is found out.
            window.is_reached = false;
            let step = 1.0 - (1.0 - ratio.max(others)) / 3.0;
            self.times.stretch(step);
            ratio /= step;
        }
        let finding = search.conclude(&window);
        if let Finding::Slower(factor) = finding {
            self.times.stretch((1.0 + factor) / 2.0);
            ratio = 1.0;
        }
        self.ratio.store((ratio as f32).to_bits(), Ordering::Relaxed);
        let wait = (window.took - window.usual).max(0.0) * 1e3 / f64::from(window.compared.max(1));
        self.wait.store(wait as u64, Ordering::Relaxed);
        match finding {
            Finding::Same => self.begin_window(at),
            Finding::Changed | Finding::Slower(_) => self.put(&search, at),
        }
    }

    /// What was seen by all, or without the party that had to wait longest, where that looks better: what a single party meets can be
    /// its own doing.
    fn window(&self) -> Window {
        let all = self.parties.all();
        let of_others = self.parties.without_the_worst(Sums::surplus);
        let slow = of_others.filter(|others| others.ratio() < all.ratio()).unwrap_or(all);
        Window {
            answers: all.answers,
            is_failing: self.parties.most_fail(),
            comparable: slow.answers.saturating_sub(slow.failed),
            compared: slow.compared,
            took: slow.took,
            usual: slow.usual,
            most: self.most.load(Ordering::Relaxed),
            is_reached: self.is_reached.load(Ordering::Relaxed),
        }
    }

    fn put(&self, search: &Search, at: u64) {
        self.limit.store(search.limit(), Ordering::Relaxed);
        self.begin_window(at + self.pause());
    }

    /// The time in which what was under way at a change of the limit is answered, in microseconds.
    fn pause(&self) -> u64 {
        const LONGEST: f32 = 5e6;
        (self.longest.load(Ordering::Relaxed) as f32 * self.ratio().clamp(1.0, 4.0)).min(LONGEST) as u64
    }

    fn note_longest(&self, usual: Duration) {
        let usual = u64::try_from(usual.as_micros()).unwrap_or(u64::MAX);
        // What is not asked for any more is forgotten, after some hundred answers.
        let longest = self.longest.load(Ordering::Relaxed);
        self.longest.store(usual.max(longest - longest / 256), Ordering::Relaxed);
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.created).as_micros()).unwrap_or(u64::MAX)
    }

    fn begin_window(&self, from: u64) {
        self.counted_from.store(from, Ordering::Relaxed);
        self.answers.store(0, Ordering::Relaxed);
        self.most.store(0, Ordering::Relaxed);
        self.parties.clear();
        self.is_reached.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
