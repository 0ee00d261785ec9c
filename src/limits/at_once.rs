//! Requests at work at once, by key. An entry is there as long as a request of its key is: what callers can make it grow to is bounded
//! by the requests that are served at all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::limits::subject::Key;

/// In how many parts the counts are kept, each with a lock of its own.
const PARTS: usize = 16;

/// How many requests of each key are at work.
#[derive(Debug, Default)]
pub(crate) struct AtOnce {
    parts: [Mutex<HashMap<Key, u32>>; PARTS],
}

/// The place of one request at work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    at_once: Arc<AtOnce>,
    key: Key,
}

impl AtOnce {
    /// Takes a place for a request of a key that may have `most`. `None`: they are taken.
    #[must_use]
    pub(crate) fn enter(self: &Arc<Self>, key: Key, most: u32) -> Option<Place> {
        let mut counts = self.part(key)?.lock();
        let count = counts.get(&key).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        counts.insert(key, count + 1);
        Some(Place { at_once: Arc::clone(self), key })
    }

    fn part(&self, key: Key) -> Option<&Mutex<HashMap<Key, u32>>> {
        self.parts.get(usize::try_from(key.number() % PARTS as u64).unwrap_or_default())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(part) = self.at_once.part(self.key) else { return };
        if let Entry::Occupied(mut entry) = part.lock().entry(self.key) {
            match entry.get().checked_sub(1) {
                None | Some(0) => drop(entry.remove()),
                Some(left) => *entry.get_mut() = left,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(at_once: &AtOnce) -> usize {
        at_once.parts.iter().map(|part| part.lock().len()).sum()
    }

    #[test]
    fn threads_never_have_more_than_they_may_and_leave_nothing() {
        const MOST: u32 = 3;
        let at_once = Arc::new(AtOnce::default());
        let inside: Vec<std::sync::atomic::AtomicU32> = std::iter::repeat_with(Default::default).take(4).collect();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for turn in 0..2000_u64 {
                        let key = turn % 4;
                        let Some(place) = at_once.enter(Key::from(key + 1), MOST) else { continue };
                        let counter = &inside[usize::try_from(key).unwrap_or_default()];
                        let now = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert!(now < MOST, "{now}");
                        counter.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(count(&at_once), 0);
    }

    proptest! {
        #[test]
        fn keys_are_counted_by_themselves(
            most in 1_u32..5, steps in proptest::collection::vec((1_u64..40, any::<bool>()), 0..200)
        ) {
            let at_once = Arc::new(AtOnce::default());
            let mut places: Vec<(u64, Place)> = Vec::new();
            for (key, enters) in steps {
                let held = places.iter().filter(|(of, _)| *of == key).count();
                if enters {
                    let place = at_once.enter(Key::from(key), most);
                    prop_assert_eq!(place.is_some(), held < most as usize);
                    places.extend(place.map(|place| (key, place)));
                } else if let Some(at) = places.iter().position(|(of, _)| *of == key) {
                    places.swap_remove(at);
                }
                let keys: std::collections::HashSet<u64> = places.iter().map(|(of, _)| *of).collect();
                prop_assert_eq!(count(&at_once), keys.len());
            }
        }
    }
}
