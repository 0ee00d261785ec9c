//! The load of one OpenEMR: what its answers take, and the limit that follows from it. Shared by all threads; an answer is taken in with
//! a few atomic operations, and one in some dozens draws the conclusion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::limits::adaptive::{FASTER, FLOOR, Finding, Search, Window, counted};
use crate::limits::class::Class;
use crate::limits::usual::UsualTimes;

/// What is known of the load, and the limit on requests at once.
#[derive(Debug)]
pub(crate) struct Load {
    times: Arc<UsualTimes>,
    limit: AtomicU32,
    /// Counts the changes of the limit: of requests from before one, no other decreases it again.
    epoch: AtomicU32,
    created: Instant,
    /// From when on answers are counted, in microseconds since `created`: those that come soon after a change of the limit are of before,
    /// or the quick ones alone.
    counted_from: AtomicU64,
    /// The usual time of the dearest requests of late, in microseconds.
    longest: AtomicU64,
    answers: AtomicU32,
    compared: AtomicU32,
    /// In microseconds.
    took: AtomicU64,
    usual: AtomicU64,
    most: AtomicU32,
    is_reached: AtomicBool,
    /// How many times as long as usual answers take, smoothed, as the bits of an f32.
    ratio: AtomicU32,
    search: Option<Mutex<Search>>,
}

/// A request that was let through, as far as its answer tells about the load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// What it asks for.
    pub(crate) class: Class,
    /// How many requests there were with it.
    pub(crate) at_once: u32,
    epoch: u32,
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
            epoch: AtomicU32::new(0),
            created: now,
            counted_from: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            answers: AtomicU32::new(0),
            compared: AtomicU32::new(0),
            took: AtomicU64::new(0),
            usual: AtomicU64::new(0),
            most: AtomicU32::new(0),
            is_reached: AtomicBool::new(false),
            ratio: AtomicU32::new(1.0_f32.to_bits()),
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

    /// A request of this class is let through, as one of so many.
    #[must_use]
    pub(crate) fn begin(&self, class: Class, at_once: u32) -> Probe {
        Probe { class, at_once, epoch: self.epoch.load(Ordering::Relaxed) }
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
        let at = self.micros(now);
        if self.search.is_none() || at < self.counted_from.load(Ordering::Relaxed) {
            return;
        }
        self.most.fetch_max(probe.at_once, Ordering::Relaxed);
        if let Some(usual) = known {
            self.note_longest(usual);
            let (took, usual) = (took.as_secs_f64() * 1e3, usual.as_secs_f64() * 1e3);
            self.took.fetch_add((counted(took, usual) * 1e3) as u64, Ordering::Relaxed);
            self.usual.fetch_add((usual * 1e3) as u64, Ordering::Relaxed);
            self.compared.fetch_add(1, Ordering::Relaxed);
        }
        let answers = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        if answers >= self.limit() && at >= self.counted_from.load(Ordering::Relaxed) + self.pause() / 2 {
            self.conclude(at);
        }
    }

    /// OpenEMR did not answer in time, or said that it is overloaded, while there are so many requests.
    pub(crate) fn overloaded(&self, probe: Probe, at_once: u32, now: Instant) {
        // Of a class that was never answered, silence is what is usual.
        let Some(search) = self.search.as_ref().filter(|_| self.times.known(probe.class).is_some()) else { return };
        let mut search = search.lock();
        // Of all requests that were under way, the first one tells it.
        if probe.epoch == self.epoch.load(Ordering::Relaxed) {
            search.overloaded(at_once);
            self.put(&search, self.micros(now));
        }
    }

    fn ratio(&self) -> f32 {
        f32::from_bits(self.ratio.load(Ordering::Relaxed))
    }

    /// Draws the conclusion from what was seen, if it is enough and nobody else does.
    fn conclude(&self, at: u64) {
        let Some(mut search) = self.search.as_ref().and_then(Mutex::try_lock) else { return };
        let window = Window {
            answers: self.answers.load(Ordering::Relaxed),
            compared: self.compared.load(Ordering::Relaxed),
            took: self.took.load(Ordering::Relaxed) as f64 / 1e3,
            usual: self.usual.load(Ordering::Relaxed) as f64 / 1e3,
            most: self.most.load(Ordering::Relaxed),
            is_reached: self.is_reached.load(Ordering::Relaxed),
        };
        if !window.is_full(search.limit()) {
            return;
        }
        let mut ratio = f64::from(self.ratio()) * 0.7 + window.ratio() * 0.3;
        if ratio < FASTER {
            // A part of the way, in case that it is luck.
            let step = 1.0 - (1.0 - ratio) / 3.0;
            self.times.stretch(step);
            ratio /= step;
        }
        let finding = search.conclude(&window);
        if let Finding::Slower(factor) = finding {
            self.times.stretch((1.0 + factor) / 2.0);
            ratio = 1.0;
        }
        self.ratio.store((ratio as f32).to_bits(), Ordering::Relaxed);
        match finding {
            Finding::Same => self.begin_window(at),
            Finding::Changed | Finding::Slower(_) => self.put(&search, at),
        }
    }

    fn put(&self, search: &Search, at: u64) {
        self.limit.store(search.limit(), Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Relaxed);
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
        for count in [&self.answers, &self.compared, &self.most] {
            count.store(0, Ordering::Relaxed);
        }
        for sum in [&self.took, &self.usual] {
            sum.store(0, Ordering::Relaxed);
        }
        self.is_reached.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
