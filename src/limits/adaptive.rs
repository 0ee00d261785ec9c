//! The limit that finds itself: how many requests OpenEMR is given at once.
//!
//! Additive increase while the limit was reached and answers take what they usually take; multiplicative decrease when they take longer,
//! or OpenEMR says that it is overloaded. What answers take is compared class by class and summed over a window of them, so that
//! the sum tells how many requests stand in a queue of OpenEMR's own: with twice as many requests as workers, it is twice the usual.
//!
//! Nothing is ever slowed down to find out. What is usual is what answers take while there are few requests, no more than the floor of the
//! limit: in a quiet hour, or because the limit has come down to it. Where even then they take longer than they used to, OpenEMR has become
//! slower, and that is what is usual from then on.
//!
//! Decision: `docs/decisions/03-concurrency-limit.md`.

/// The least limit, unless the ceiling is lower: what the smallest OpenEMR can work on at once.
pub(crate) const FLOOR: u32 = 4;
/// By what factor answers may take longer than usual before there are too many requests.
const TOLERANCE: f64 = 1.3;
/// What an answer may take besides, in ms: below that, a queue is not worth a limit.
const SLACK_MS: f64 = 3.0;
/// An answer that took longer than so many times what it may counts as if it had taken that.
const OUTLIER: f64 = 4.0;
/// The most that is taken away at once: a part of so many.
const STEEPEST: f64 = 0.5;
/// What is left after OpenEMR said that it is overloaded.
const AFTER_ERROR: f64 = 0.7;
/// A decrease to this part, after which answers take as long as they did but for this part, has not helped.
const DECREASED: f64 = 0.7;
const UNCHANGED: f64 = 0.95;
/// The least answers in a window.
const LEAST_ANSWERS: u32 = 16;
/// What was seen since the limit was changed last, or looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Window {
    /// Answers, those that say that OpenEMR is overloaded among them.
    pub(crate) answers: u32,
    /// Whether that is a part of them which is no accident.
    pub(crate) is_failing: bool,
    /// Those that tell how long OpenEMR takes.
    pub(crate) comparable: u32,
    /// Those of them of whose class it is known what is usual.
    pub(crate) compared: u32,
    /// What these took, together, in ms.
    pub(crate) took: f64,
    /// What is usual for them, together, in ms.
    pub(crate) usual: f64,
    /// The most requests at once.
    pub(crate) most: u32,
    /// Whether a request had to wait for the limit.
    pub(crate) is_reached: bool,
}

/// What a window has led to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Finding {
    /// The limit stays.
    Same,
    /// The limit has changed.
    Changed,
    /// OpenEMR takes so many times what was usual, however few requests there are.
    Slower(f64),
}

/// The search for the limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    limit: f64,
    ceiling: f64,
    /// Up to here the limit grows fast: it held before.
    known_good: f64,
    /// While the limit decreases: the requests at once with which that began, and how much longer than usual answers took.
    decreasing_from: Option<(f64, f64)>,
    /// Whether OpenEMR has said that it is overloaded, and nothing better since.
    is_failing: bool,
}

/// What one answer counts for in a window, in ms. `usual`: for its class.
#[must_use]
pub(super) fn counted(took: f64, usual: f64) -> f64 {
    took.min(OUTLIER * (TOLERANCE * usual + SLACK_MS))
}

impl Window {
    /// Whether enough was seen to judge by.
    #[must_use]
    pub(super) fn is_full(&self, limit: u32) -> bool {
        self.answers >= limit.max(LEAST_ANSWERS)
    }

    /// How many times as long as usual answers took.
    #[must_use]
    pub(super) fn ratio(&self) -> f64 {
        if self.usual > 0.0 { self.took / self.usual } else { 1.0 }
    }

    /// How many times as long as they may.
    fn excess(&self) -> f64 {
        let may = TOLERANCE * self.usual + SLACK_MS * f64::from(self.compared);
        if may > 0.0 { self.took / may } else { 0.0 }
    }
}

impl Search {
    /// Begins at the floor, or where a limit for the same OpenEMR is.
    #[must_use]
    pub(super) fn new(ceiling: u32, limit: Option<u32>) -> Self {
        let ceiling = f64::from(ceiling.max(1));
        let limit = f64::from(limit.unwrap_or(FLOOR)).min(ceiling);
        Self { limit, ceiling, known_good: ceiling, decreasing_from: None, is_failing: false }
    }

    /// The most requests at once.
    #[must_use]
    pub(super) fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Draws the conclusion from a window.
    pub(super) fn conclude(&mut self, window: &Window) -> Finding {
        if window.is_failing {
            return self.overloaded(window.most);
        }
        // Too many of classes that were never seen before.
        if window.compared * 2 < window.comparable {
            return Finding::Same;
        }
        let (excess, ratio, at_once) = (window.excess(), window.ratio(), self.limit.min(f64::from(window.most.max(1))));
        if excess > 1.0 {
            return self.too_many(excess, ratio, at_once);
        }
        self.decreasing_from = None;
        self.is_failing = false;
        let before = self.limit();
        if window.is_reached {
            let grown = match self.limit < self.known_good {
                true => (self.limit * 2.0).min(self.known_good.max(self.limit + 1.0)),
                false => self.limit + 1.0,
            };
            self.limit = grown.min(self.ceiling);
        }
        if self.limit() == before { Finding::Same } else { Finding::Changed }
    }

    fn too_many(&mut self, excess: f64, ratio: f64, at_once: f64) -> Finding {
        if at_once <= f64::from(FLOOR) {
            // So few are never too many. If it has come down to that: what held before may hold still.
            self.known_good = self.decreasing_from.take().map_or(self.known_good, |(from, _)| from).min(self.ceiling);
            return Finding::Slower(ratio);
        }
        // What was longest by then: the first answers with too many at once are quick, because those before them were few.
        let (from, before) = self.decreasing_from.filter(|(_, before)| ratio <= *before).unwrap_or((at_once, ratio));
        self.decreasing_from = Some((from, before));
        if at_once <= from * DECREASED && ratio >= before * UNCHANGED {
            // It has not helped: they do not wait for each other. What they take is found out with few of them; if it was an
            // accident, the way back is short.
            self.decrease_to(f64::from(FLOOR));
            self.known_good = at_once * DECREASED;
            return Finding::Changed;
        }
        self.decrease_to(at_once * (1.0 / excess).clamp(STEEPEST, 0.95));
        Finding::Changed
    }

    /// OpenEMR has said that it is overloaded, while there were `most` requests at once. So few as always are let through are not
    /// the cause. An OpenEMR that was away comes back as it was: what held before it failed is not forgotten.
    fn overloaded(&mut self, most: u32) -> Finding {
        if most <= FLOOR {
            return Finding::Same;
        }
        let good = if self.is_failing { self.known_good } else { self.limit * AFTER_ERROR };
        self.decrease_to(self.limit.min(f64::from(most)) * AFTER_ERROR);
        self.known_good = good.clamp(self.limit, self.ceiling);
        self.is_failing = true;
        Finding::Changed
    }

    fn decrease_to(&mut self, limit: f64) {
        self.limit = limit.max(f64::from(FLOOR)).min(self.ceiling);
        self.known_good = self.limit;
    }
}

#[cfg(test)]
mod tests;
