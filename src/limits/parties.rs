//! What was seen in a window, by party: so many groups of clients. What one party alone sees is its own matter; what OpenEMR can do shows
//! with all of them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// How many parties there are. Clients that fall together count as one.
pub(super) const PARTIES: usize = 16;
/// The fewest answers by which the others can speak for all, and the part of the usual time that these take, one in so many.
const LEAST_OTHERS: u32 = 4;
const LEAST_PART: f64 = 4.0;
/// The part of a party's answers that may say that OpenEMR is overloaded, or not come in time, one in so many.
const FAILED_PART: u32 = 10;

/// The sums of one window.
#[derive(Debug, Default)]
pub(super) struct Parties([Party; PARTIES]);

#[derive(Debug, Default)]
struct Party {
    answers: AtomicU32,
    failed: AtomicU32,
    compared: AtomicU32,
    /// In microseconds.
    took: AtomicU64,
    usual: AtomicU64,
}

/// Sums of several parties. Times in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) answers: u32,
    pub(super) failed: u32,
    pub(super) compared: u32,
    pub(super) took: f64,
    pub(super) usual: f64,
}

impl Parties {
    /// Takes in an answer, and what was usual for it, if that is known: in ms.
    pub(super) fn answered(&self, party: usize, compared: Option<(f64, f64)>) {
        let Some(party) = self.0.get(party % PARTIES) else { return };
        if let Some((took, usual)) = compared {
            party.took.fetch_add((took * 1e3) as u64, Ordering::Relaxed);
            party.usual.fetch_add((usual * 1e3) as u64, Ordering::Relaxed);
            party.compared.fetch_add(1, Ordering::Relaxed);
        }
        party.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes in an answer that says that OpenEMR is overloaded, or did not come in time.
    pub(super) fn failed(&self, party: usize) {
        if let Some(party) = self.0.get(party % PARTIES) {
            party.failed.fetch_add(1, Ordering::Relaxed);
            party.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Sums {
        self.0.iter().map(Party::sums).fold(Sums::default(), Sums::and)
    }

    /// All but the party that stands out most, as `weight` says; `None` where the others are too few to speak for all.
    pub(super) fn without_the_worst(&self, weight: impl Fn(Sums) -> f64) -> Option<Sums> {
        let worst = self.0.iter().map(Party::sums).max_by(|one, other| weight(*one).total_cmp(&weight(*other)));
        let all = self.all();
        let others = all.without(worst.unwrap_or_default());
        (others.compared >= LEAST_OTHERS && others.usual * LEAST_PART >= all.usual).then_some(others)
    }

    /// Whether most parties meet failures.
    pub(super) fn most_fail(&self) -> bool {
        let (mut all, mut failing) = (0, 0);
        for Sums { answers, failed, .. } in self.0.iter().map(Party::sums) {
            all += u32::from(answers > 0);
            failing += u32::from(failed * FAILED_PART > answers);
        }
        failing * 2 > all
    }

    /// Begins a new window.
    pub(super) fn clear(&self) {
        for party in &self.0 {
            for count in [&party.answers, &party.failed, &party.compared] {
                count.store(0, Ordering::Relaxed);
            }
            for sum in [&party.took, &party.usual] {
                sum.store(0, Ordering::Relaxed);
            }
        }
    }
}

impl Party {
    fn sums(&self) -> Sums {
        let ms = |sum: &AtomicU64| sum.load(Ordering::Relaxed) as f64 / 1e3;
        let count = |count: &AtomicU32| count.load(Ordering::Relaxed);
        let Self { answers, failed, compared, took, usual } = self;
        Sums { answers: count(answers), failed: count(failed), compared: count(compared), took: ms(took), usual: ms(usual) }
    }
}

impl Sums {
    /// How many times as long as usual answers took.
    pub(super) fn ratio(self) -> f64 {
        if self.usual > 0.0 { self.took / self.usual } else { 1.0 }
    }

    /// By how much longer they took, in ms.
    pub(super) fn surplus(self) -> f64 {
        self.took - self.usual
    }

    fn and(self, other: Self) -> Self {
        Self {
            answers: self.answers + other.answers,
            failed: self.failed + other.failed,
            compared: self.compared + other.compared,
            took: self.took + other.took,
            usual: self.usual + other.usual,
        }
    }

    fn without(self, other: Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(other.answers),
            failed: self.failed.saturating_sub(other.failed),
            compared: self.compared.saturating_sub(other.compared),
            took: (self.took - other.took).max(0.0),
            usual: (self.usual - other.usual).max(0.0),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_one_party_sees_alone_is_left_out_and_what_all_see_is_not() {
        let parties = Parties::default();
        for _ in 0..30 {
            parties.answered(1, Some((650.0, 57.0)));
        }
        for party in 2..18 {
            parties.answered(party, Some((910.0, 890.0)));
            parties.answered(party, None);
        }
        let others = parties.without_the_worst(Sums::surplus).unwrap();
        assert!(others.ratio() < 1.1 && parties.all().ratio() > 2.0);
        parties.clear();
        assert_eq!(parties.all(), Sums::default());
    }

    #[test]
    fn where_there_is_one_party_there_are_no_others() {
        let parties = Parties::default();
        for _ in 0..30 {
            parties.answered(1, Some((650.0, 57.0)));
        }
        parties.answered(2, Some((1.0, 57.0)));
        assert_eq!(parties.without_the_worst(Sums::surplus), None, "few quick answers do not speak for all");
    }

    #[test]
    fn failures_count_where_most_parties_meet_them() {
        let parties = Parties::default();
        assert!(!parties.most_fail());
        for _ in 0..100 {
            parties.failed(1);
        }
        assert!(parties.most_fail(), "it is the only one");
        parties.answered(2, None);
        assert!(!parties.most_fail());
        parties.failed(3);
        assert!(parties.most_fail());
    }
}
