//! Whether there is room for one more export of a site: nobody's exports keep others' out, finished or not. Pure.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use std::collections::HashMap;

use uuid::Uuid;

use crate::openemr::export::owner::Owner;

/// The most unfinished exports, of one owner and of all.
const UNFINISHED: Most = Most { of_one: 8, of_all: 32 };
/// The most exports that are kept, finished ones included.
const KEPT: Most = Most { of_one: 250, of_all: 1000 };
/// The most deleted exports that wait for the worker.
const DELETED: Most = Most { of_one: 250, of_all: 1000 };

struct Most {
    of_one: usize,
    of_all: usize,
}

/// An export that has a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) job: Uuid,
    pub(super) owner: Owner,
    pub(super) state: State,
}

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It waits, or is under way.
    Unfinished,
    /// It ended at this time, in milliseconds since 1970.
    Finished(i64),
    /// It is to be deleted.
    Deleted,
}

/// Whether one more export is taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// It is.
    Free,
    /// It is, after this finished one is forgotten.
    InPlaceOf(Uuid),
    /// It is not.
    Full,
}

impl Room {
    /// Decides whether `owner` can have one more export besides those that are known.
    #[must_use]
    pub(super) fn among(known: &[Known], owner: &Owner) -> Self {
        let is_beyond = |most: &Most, is: fn(State) -> bool| {
            let counted = || known.iter().filter(|one| is(one.state));
            counted().count() >= most.of_all || counted().filter(|one| one.owner == *owner).count() >= most.of_one
        };
        if is_beyond(&UNFINISHED, |state| state == State::Unfinished) || is_beyond(&DELETED, |state| state == State::Deleted) {
            return Self::Full;
        }
        let kept = || known.iter().filter(|one| one.state != State::Deleted);
        if kept().filter(|one| one.owner == *owner).count() >= KEPT.of_one {
            return Self::in_place_of_oldest(kept().filter(|one| one.owner == *owner));
        }
        if kept().count() < KEPT.of_all {
            return Self::Free;
        }
        let mut counts: HashMap<&Owner, usize> = HashMap::new();
        for one in kept().filter(|one| matches!(one.state, State::Finished(_))) {
            *counts.entry(&one.owner).or_default() += 1;
        }
        // Whoever has the most gives one up.
        let most = counts.values().copied().max().unwrap_or_default();
        Self::in_place_of_oldest(kept().filter(|one| counts.get(&one.owner) == Some(&most)))
    }

    fn in_place_of_oldest<'a>(known: impl Iterator<Item = &'a Known>) -> Self {
        let finished = known.filter_map(|one| match one.state {
            State::Finished(at) => Some((at, one.job)),
            State::Unfinished | State::Deleted => None,
        });
        finished.min().map_or(Self::Full, |(_, job)| Self::InPlaceOf(job))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Half of them are clients.
    fn owner(number: u8) -> Owner {
        if number.is_multiple_of(2) { Owner::at(Some([10, 0, 0, number].into())) } else { Owner::named(&number.to_string()) }
    }

    fn known(owner_number: u8, states: impl IntoIterator<Item = State>, first: u128) -> Vec<Known> {
        let of = |(job, state)| Known { job: Uuid::from_u128(job), owner: owner(owner_number), state };
        (first..).zip(states).map(of).collect()
    }

    fn finished(owner_number: u8, count: usize, first: u128) -> Vec<Known> {
        known(
            owner_number,
            (0..count).map(|at| State::Finished(i64::try_from(at).unwrap() + i64::try_from(first).unwrap())),
            first,
        )
    }

    #[test]
    fn nobody_fills_the_list_for_others() {
        assert_eq!(Room::among(&[], &owner(1)), Room::Free);
        let eight = known(1, [State::Unfinished; 8], 0);
        assert_eq!((Room::among(&eight, &owner(1)), Room::among(&eight, &owner(2))), (Room::Full, Room::Free));
        let many = finished(1, 250, 100);
        assert_eq!((Room::among(&many, &owner(1)), Room::among(&many, &owner(2))), (Room::InPlaceOf(many[0].job), Room::Free));
        let deleted = known(1, [State::Deleted; 250], 0);
        assert_eq!((Room::among(&deleted, &owner(1)), Room::among(&deleted, &owner(2))), (Room::Full, Room::Free));
    }

    #[test]
    fn a_full_list_forgets_the_oldest_of_whoever_has_the_most() {
        let mut all = finished(1, 5, 0);
        for number in 2..6 {
            all.extend(finished(number, 249, 1000 * u128::from(number)));
        }
        assert_eq!(all.len(), 1001);
        assert_eq!(
            Room::among(&all, &owner(9)),
            Room::InPlaceOf(Uuid::from_u128(2000)),
            "not the oldest of all, which is another's"
        );
    }

    proptest! {
        #[test]
        fn a_newcomer_is_kept_out_by_unfinished_ones_alone(
            jobs in proptest::collection::vec((1_u8..40, 0_i64..1_000, any::<bool>()), 0..1_500),
        ) {
            // Each owner keeps to its own bound, as it had to.
            let mut all: Vec<Known> = Vec::new();
            for (number, (who, at, done)) in (0..).zip(jobs) {
                let state = if done { State::Finished(at) } else { State::Unfinished };
                match Room::among(&all, &owner(who)) {
                    Room::Free => {}
                    Room::InPlaceOf(job) => all.retain(|one| one.job != job),
                    Room::Full => continue,
                }
                all.push(Known { job: Uuid::from_u128(number), owner: owner(who), state });
                prop_assert!(all.len() <= KEPT.of_all);
            }
            let unfinished = all.iter().filter(|one| one.state == State::Unfinished).count();
            prop_assert_eq!(Room::among(&all, &owner(200)) == Room::Full, unfinished >= UNFINISHED.of_all);
        }
    }
}
