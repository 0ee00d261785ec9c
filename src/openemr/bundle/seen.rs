//! The resources that a Bundle has had: OpenEMR lists some of them twice, with the same type and id.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use crate::openemr::bundle::page::Mode;

/// The most resources that are remembered, for a few megabytes of memory. Doubles of further ones are not noticed.
const MOST: usize = 100_000;

/// Remembers resources by a fingerprint of 64 bits, whose key nobody else knows. That two of 100,000 resources have the same one
/// happens in one Bundle of four thousand million.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    hasher: RandomState,
    resources: HashMap<u64, Roles>,
}

/// What a resource has been in the Bundle.
#[derive(Debug, Clone, Copy, Default)]
struct Roles {
    is_match: bool,
    is_sent: bool,
}

/// The fingerprint of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

impl Seen {
    /// The fingerprint of a resource; `None` where it has no type or no id.
    #[must_use]
    pub(crate) fn fingerprint(&self, resource_type: &str, id: &str) -> Option<Fingerprint> {
        let is_identified = !resource_type.is_empty() && !id.is_empty();
        is_identified.then(|| Fingerprint(self.hasher.hash_one((resource_type, id))))
    }

    /// Whether an entry of this mode with this resource says nothing new. Another match is new on whatever page the first one is; what
    /// is included must be on the page of its match.
    #[must_use]
    pub(crate) fn is_double(&self, resource: Fingerprint, mode: Mode) -> bool {
        self.resources.get(&resource.0).is_some_and(|roles| match mode {
            Mode::Match => roles.is_match,
            Mode::Include | Mode::Outcome => roles.is_sent,
        })
    }

    /// Whether a resource has been a match, and was sent.
    #[must_use]
    pub(crate) fn is_sent_match(&self, resource: Fingerprint) -> bool {
        self.resources.get(&resource.0).is_some_and(|roles| roles.is_match && roles.is_sent)
    }

    /// Whether no more resources can be remembered.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.resources.len() >= MOST
    }

    /// Remembers an entry.
    pub(crate) fn add(&mut self, resource: Fingerprint, mode: Mode, is_sent: bool) {
        if self.resources.len() >= MOST && !self.resources.contains_key(&resource.0) {
            return;
        }
        let roles = self.resources.entry(resource.0).or_default();
        roles.is_match |= mode == Mode::Match;
        roles.is_sent |= is_sent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_is_counted_once_and_an_include_sent_once() {
        let mut seen = Seen::default();
        let of = |seen: &Seen, id: &str| seen.fingerprint("Patient", id).unwrap();
        let (one, other) = (of(&seen, "1"), of(&seen, "2"));
        assert_ne!(one, other);
        assert_ne!(seen.fingerprint("Person", "1"), Some(one));
        assert_eq!((seen.fingerprint("", "1"), seen.fingerprint("Patient", "")), (None, None));
        assert!(!seen.is_double(one, Mode::Match) && !seen.is_double(one, Mode::Include));
        seen.add(one, Mode::Match, false);
        assert!(seen.is_double(one, Mode::Match) && !seen.is_double(one, Mode::Include));
        seen.add(other, Mode::Include, true);
        assert!(!seen.is_double(other, Mode::Match) && seen.is_double(other, Mode::Include));
    }

    #[test]
    fn memory_has_a_limit() {
        let mut seen = Seen::default();
        for number in 0..MOST + 10 {
            seen.add(Fingerprint(number as u64), Mode::Match, true);
        }
        assert_eq!(seen.resources.len(), MOST);
        assert!(seen.is_double(Fingerprint(0), Mode::Match));
    }
}
