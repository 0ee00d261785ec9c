//! Names that the configuration gives, as numbers: a bounded list, so that no configuration makes the metrics grow without end.

use std::collections::HashMap;

use arc_swap::ArcSwap;

/// What stands for a name that has no number of its own.
pub(super) const OTHER: usize = 0;
/// The words that stand for such a name, and for none: whoever is called so is counted with the others.
const RESERVED: [&str; 2] = ["other", "none"];

/// The numbers of names. A name keeps its number, also when a reload drops the name.
#[derive(Debug)]
pub(super) struct Names {
    most: usize,
    known: ArcSwap<Known>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
}

impl Names {
    /// Room for `most` names besides `other`.
    pub(super) fn new(most: usize) -> Self {
        Self { most, known: ArcSwap::default() }
    }

    /// How many numbers there can be.
    pub(super) fn count(&self) -> usize {
        self.most + 1
    }

    /// Gives numbers to new names, as long as there is room.
    pub(super) fn learn<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut known = Known::clone(&self.known.load());
        for name in names {
            if known.names.len() >= self.most {
                break;
            }
            if !known.numbers.contains_key(name) && !RESERVED.contains(&name) {
                known.names.push(name.to_owned());
                known.numbers.insert(name.to_owned(), known.names.len());
            }
        }
        self.known.store(known.into());
    }

    /// The number of a name.
    pub(super) fn number(&self, name: &str) -> usize {
        self.known.load().numbers.get(name).copied().unwrap_or(OTHER)
    }

    /// The name of a number.
    pub(super) fn name(&self, number: usize) -> String {
        let known = self.known.load();
        let name = number.checked_sub(1).and_then(|at| known.names.get(at));
        name.map_or_else(|| "other".to_owned(), String::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_taken_for_none_or_for_others() {
        let names = Names::new(2);
        names.learn(["none", "other", "a"].into_iter());
        assert_eq!(["none", "other", "a"].map(|name| names.number(name)), [OTHER, OTHER, 1]);
    }

    #[test]
    fn a_name_keeps_its_number_and_there_is_no_more_than_the_most() {
        let names = Names::new(2);
        names.learn(["a"].into_iter());
        names.learn(["b", "a", "c"].into_iter());
        assert_eq!(["a", "b", "c", "d"].map(|name| names.number(name)), [1, 2, OTHER, OTHER]);
        assert_eq!([0, 1, 2, 3].map(|number| names.name(number)), ["other", "a", "b", "other"]);
        assert_eq!(names.count(), 3);
    }
}
