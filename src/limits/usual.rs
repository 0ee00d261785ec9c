//! How long OpenEMR usually takes for requests of each class, learnt from its answers.
//!
//! Single numbers, read and written without a lock: of two answers that come at the same moment one may be forgotten.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::limits::class::Class;

/// What a request of a class costs of which nothing is known, in ms.
const UNKNOWN: f32 = 100.0;
/// How many answers tell what is usual.
const ENOUGH: u32 = 4;
/// The part of an answer in what is usual, one in so many, once many are known.
const MEMORY: u32 = 32;

/// The usual times of all classes.
#[derive(Debug)]
pub(crate) struct UsualTimes {
    /// Answers in the upper half; milliseconds in the lower half.
    classes: Box<[AtomicU64]>,
    /// What all of them have become longer by.
    factor: AtomicU32,
}

impl Default for UsualTimes {
    fn default() -> Self {
        let classes = std::iter::repeat_with(AtomicU64::default).take(Class::COUNT).collect();
        Self { classes, factor: AtomicU32::new(1.0_f32.to_bits()) }
    }
}

impl UsualTimes {
    /// The usual time; `None` while too little is known.
    #[must_use]
    pub(crate) fn known(&self, class: Class) -> Option<Duration> {
        let (answers, ms) = self.of(class);
        (answers >= ENOUGH).then(|| duration(ms * self.factor()))
    }

    /// Whether answers are few so far.
    pub(super) fn is_new(&self, class: Class) -> bool {
        self.of(class).0 < MEMORY
    }

    /// What a request costs in a queue: the usual time, or a guess.
    #[must_use]
    pub(crate) fn cost(&self, class: Class) -> Duration {
        let (answers, ms) = self.of(class);
        duration(if answers == 0 { UNKNOWN } else { ms * self.factor() })
    }

    /// Learns from an answer that took this long.
    pub(super) fn learn(&self, class: Class, took: Duration) {
        let (Some(place), (answers, ms)) = (self.classes.get(class.index()), self.of(class)) else { return };
        let took = took.as_secs_f32() * 1000.0 / self.factor();
        let answers = answers.saturating_add(1);
        let ms = ms + (took - ms) / (answers.min(MEMORY) as f32);
        place.store(u64::from(answers) << 32 | u64::from(ms.to_bits()), Ordering::Relaxed);
    }

    /// Learns that everything takes `factor` times as long.
    pub(super) fn stretch(&self, factor: f64) {
        let factor = (f64::from(self.factor()) * factor).clamp(1e-3, 1e3) as f32;
        self.factor.store(factor.to_bits(), Ordering::Relaxed);
    }

    fn of(&self, class: Class) -> (u32, f32) {
        let known = self.classes.get(class.index()).map_or(0, |class| class.load(Ordering::Relaxed));
        ((known >> 32) as u32, f32::from_bits(known as u32))
    }

    fn factor(&self) -> f32 {
        f32::from_bits(self.factor.load(Ordering::Relaxed))
    }
}

fn duration(ms: f32) -> Duration {
    Duration::from_secs_f32((ms / 1000.0).clamp(0.0, 3600.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::interaction::Interaction;
    use http::Method;
    use proptest::prelude::*;

    fn class(path: &str) -> Class {
        Class::of(Interaction::of(&Method::GET, path.as_bytes()), b"")
    }

    #[test]
    fn a_few_answers_tell_what_is_usual_for_their_class_alone() {
        let (times, patient, encounter) = (UsualTimes::default(), class("/Patient/1"), class("/Encounter"));
        assert_eq!(times.cost(patient).as_millis(), 100);
        for _ in 0..4 {
            assert_eq!(times.known(patient), None);
            times.learn(patient, Duration::from_millis(30));
        }
        assert_eq!(times.known(patient).unwrap().as_micros().div_ceil(1000), 30);
        assert_eq!(times.known(encounter), None);
        times.stretch(2.0);
        assert_eq!(times.known(patient).unwrap().as_micros().div_ceil(1000), 60);
    }

    proptest! {
        #[test]
        fn what_is_usual_lies_between_what_was_seen(took in proptest::collection::vec(0_u64..100_000, 4..200)) {
            let (times, patient) = (UsualTimes::default(), class("/Patient/1"));
            for ms in &took {
                times.learn(patient, Duration::from_millis(*ms));
            }
            let usual = times.known(patient).unwrap().as_secs_f64() * 1000.0;
            prop_assert!(usual >= *took.iter().min().unwrap() as f64 * 0.999 - 0.1);
            prop_assert!(usual <= *took.iter().max().unwrap() as f64 * 1.001 + 0.1);
        }
    }
}
