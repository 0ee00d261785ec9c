//! The rotation of a signing key as a state machine without a clock or a file: from state, time and event to the next state.
//!
//! Released versions of OpenEMR verify with the *first* RSA key of a client's JWK Set, whatever its `kid`; newer ones and other
//! servers choose by `kid` and may keep a copy of the set. The new key is therefore published in second place at first, and
//! moves to the first place at the moment when it begins to sign. Where the client is registered with a copy of the set,
//! OpenEMR never sees what is published: there the old key signs until OpenEMR has accepted the new one, and is retired only
//! then.
//!
//! Decision: `docs/decisions/07-key-rotation.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::jwk_set::{Jwk, JwkSet};

/// One of the two keys of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The key that signed before the rotation.
    Old,
    /// The key that replaces it.
    New,
}

impl Which {
    /// Returns the other key.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// The stage of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The new key is published second; the old one signs.
    Published,
    /// The new key is first and signs, except where OpenEMR still rejects it.
    Switched {
        /// When it became first.
        at: Timestamp,
    },
    /// The new key is alone; its file is about to replace that of the old one.
    Retiring,
}

/// The progress of one site. A site without an entry follows the [`Stage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The key that signs its assertions.
    pub signs: Which,
    /// When OpenEMR first accepted the new key.
    pub accepted_at: Option<Timestamp>,
}

/// A rotation in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The public half of the old key.
    pub old: Jwk,
    /// The public half of the new key.
    pub new: Jwk,
    /// When the new key was published.
    pub published_at: Timestamp,
    /// When the new key becomes first and signs.
    pub switch_at: Timestamp,
    /// How long the old key stays after OpenEMR has accepted the new one.
    pub retire_after: Duration,
    /// The stage.
    pub stage: Stage,
    /// When a running gateway noticed the rotation.
    pub noticed_at: Option<Timestamp>,
    /// When OpenEMR first fetched the set after the new key was published.
    pub fetched_at: Option<Timestamp>,
    /// The sites that differ from the stage.
    pub sites: BTreeMap<String, Standing>,
}

/// The last completed rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// The `kid` of the key that signs since then.
    pub kid: String,
    /// When the old key was retired.
    pub retired_at: Timestamp,
}

/// The state of the rotation of one key. Without a rotation in progress the configured key signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// The rotation in progress.
    pub rotation: Option<Rotation>,
    /// The last completed one.
    pub last: Option<Finished>,
}

/// An event in a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A running gateway serves the set.
    Noticed,
    /// OpenEMR fetched the set.
    Fetched,
    /// OpenEMR accepted an assertion of this site signed by the new key.
    NewAccepted(String),
    /// OpenEMR rejected an assertion of this site signed by the new key, and then accepted one signed by the old key.
    OldPreferred(String),
    /// Time has passed. Holds the sites that sign with this key: for all of them the new key must have been accepted before the
    /// old one is retired.
    Clock(Vec<String>),
}

impl State {
    /// Begins a rotation.
    ///
    /// # Errors
    /// The rotation that is already in progress.
    pub(crate) fn begin(
        self,
        (old, new): (Jwk, Jwk),
        now: Timestamp,
        publish_for: Duration,
        retire_after: Duration,
    ) -> Result<Self, Box<Rotation>> {
        if let Some(rotation) = self.rotation {
            return Err(Box::new(rotation));
        }
        let rotation = Rotation {
            old,
            new,
            published_at: now,
            switch_at: later(now, publish_for),
            retire_after,
            stage: Stage::Published,
            noticed_at: None,
            fetched_at: None,
            sites: BTreeMap::new(),
        };
        Ok(Self { rotation: Some(rotation), last: self.last })
    }

    /// Returns the state after an event.
    #[must_use]
    pub(crate) fn after(mut self, now: Timestamp, event: &Event) -> Self {
        if let Some(rotation) = &mut self.rotation {
            rotation.handle(now, event);
        }
        self
    }

    /// Returns the state without the rotation, once the files are as [`Stage::Retiring`] requires.
    #[must_use]
    pub(crate) fn finished(self, now: Timestamp) -> Self {
        match self.rotation {
            Some(Rotation { stage: Stage::Retiring, new, .. }) => {
                let kid = new.kid().unwrap_or_default().to_owned();
                Self { rotation: None, last: Some(Finished { kid, retired_at: now }) }
            }
            _ => self,
        }
    }
}

impl Rotation {
    fn handle(&mut self, now: Timestamp, event: &Event) {
        match (event, self.stage) {
            (Event::Noticed, _) => self.noticed_at = self.noticed_at.or(Some(now)),
            (Event::Fetched, _) => self.fetched_at = self.fetched_at.or(Some(now)),
            (_, Stage::Retiring) => {}
            (Event::NewAccepted(site), Stage::Published | Stage::Switched { .. }) => {
                let since = self.sites.get(site).and_then(|standing| standing.accepted_at).unwrap_or(now);
                self.sites.insert(site.clone(), Standing { signs: Which::New, accepted_at: Some(since) });
            }
            (Event::OldPreferred(site), Stage::Published | Stage::Switched { .. }) => {
                self.sites.insert(site.clone(), Standing { signs: Which::Old, accepted_at: None });
            }
            (Event::Clock(_), Stage::Published) => {
                if now >= self.switch_at {
                    self.stage = Stage::Switched { at: now };
                    self.sites.retain(|_, standing| standing.accepted_at.is_some());
                }
            }
            (Event::Clock(sites), Stage::Switched { .. }) => {
                if self.retire_at(sites).is_some_and(|at| now >= at) {
                    self.stage = Stage::Retiring;
                }
            }
        }
    }

    /// Returns the key that signs a site's assertions.
    #[must_use]
    pub fn signs(&self, site: &str) -> Which {
        match (self.stage, self.sites.get(site)) {
            (Stage::Retiring, _) | (Stage::Switched { .. }, None) => Which::New,
            (Stage::Published, None) => Which::Old,
            (Stage::Published | Stage::Switched { .. }, Some(standing)) => standing.signs,
        }
    }

    /// Returns those of these sites for which the new key has not been accepted yet.
    pub fn waiting<'a>(&'a self, sites: &'a [String]) -> impl Iterator<Item = &'a str> {
        let accepted = |site: &&String| self.sites.get(*site).is_some_and(|standing| standing.accepted_at.is_some());
        sites.iter().filter(move |site| !accepted(site)).map(String::as_str)
    }

    /// Returns when the old key is retired; `None` before the switch, and until OpenEMR has accepted the new key for all these
    /// sites.
    #[must_use]
    pub fn retire_at(&self, sites: &[String]) -> Option<Timestamp> {
        if !matches!(self.stage, Stage::Switched { .. }) || self.waiting(sites).next().is_some() {
            return None;
        }
        let last = sites.iter().filter_map(|site| self.sites.get(site)?.accepted_at).max()?;
        Some(later(last, self.retire_after))
    }

    /// Returns one of the two keys.
    #[must_use]
    pub fn jwk(&self, which: Which) -> &Jwk {
        match which {
            Which::Old => &self.old,
            Which::New => &self.new,
        }
    }

    /// Returns the `kid` of one of the two keys.
    #[must_use]
    pub fn kid(&self, which: Which) -> &str {
        self.jwk(which).kid().unwrap_or_default()
    }

    /// Returns the set to publish when `first` signs. The keys that have no part in the rotation are taken from `set`.
    #[must_use]
    pub fn set(&self, set: &JwkSet, first: Which) -> JwkSet {
        match self.stage {
            Stage::Published | Stage::Switched { .. } => set.rearranged(&[self.jwk(first), self.jwk(first.other())], None),
            Stage::Retiring => self.set_after(set),
        }
    }

    /// Returns the set to publish after the rotation.
    #[must_use]
    pub fn set_after(&self, set: &JwkSet) -> JwkSet {
        set.rearranged(&[&self.new], Some(&self.old))
    }

    /// Returns the key that is first in the JWK Set's file. Where sites differ, it is the key that all of them accept.
    #[must_use]
    pub fn first_in_file(&self) -> Which {
        let any = |which| self.sites.values().any(|standing| standing.signs == which);
        match self.stage {
            Stage::Published if any(Which::New) && !any(Which::Old) => Which::New,
            Stage::Switched { .. } if any(Which::Old) => Which::Old,
            Stage::Published => Which::Old,
            Stage::Switched { .. } | Stage::Retiring => Which::New,
        }
    }
}

/// Returns `from` plus `by`, at most the greatest timestamp.
fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}
