//! The rotation of a signing key, as a state machine without a clock or a file: `(state, now, event)` to a state.
//!
//! Released OpenEMRs verify with the *first* RSA key of a client's JWK Set, whatever the `kid`; newer ones and other servers go by
//! `kid` and may keep a copy of the set. So the new key is published second first, and later comes to the front in the very
//! instant in which it begins to sign. Where the client is registered with a copy of the set, nothing that is published
//! reaches OpenEMR: there the old key signs on until OpenEMR has accepted the new one, and only then is it retired.
//!
//! What a state means for the files beside it is in [`rotation_files`](super::rotation_files), how it is written in
//! [`rotation_state`](super::rotation_state).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Jwk, JwkSet};

/// One of the two keys of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that signed before.
    Old,
    /// The one that takes its place.
    New,
}

impl Which {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Old => Self::New,
            Self::New => Self::Old,
        }
    }
}

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The new key is published second; the old one signs.
    Published,
    /// The new key is first and signs, save where OpenEMR still refuses it.
    Switched {
        /// When that happened.
        at: Timestamp,
    },
    /// The new key is alone; its file is on its way to the place of the old one.
    Retiring,
}

/// Where one site stands; a site without an entry stands where the [`Stage`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which key signs its assertions.
    pub signs: Which,
    /// Since when OpenEMR accepts the new key.
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
    /// When it comes to the front and signs.
    pub switch_at: Timestamp,
    /// How long after OpenEMR's acceptance of the new key the old one stays.
    pub retire_after: Duration,
    /// How far it is.
    pub stage: Stage,
    /// When a running gateway took it up.
    pub noticed_at: Option<Timestamp>,
    /// When OpenEMR first fetched the set since it was published.
    pub fetched_at: Option<Timestamp>,
    /// The sites that differ from the stage's rule.
    pub sites: BTreeMap<String, Standing>,
}

/// The last rotation that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The `kid` of the key that has signed since.
    pub kid: String,
    /// When the old key was retired.
    pub retired_at: Timestamp,
}

/// What is known about the rotation of one key. Without a rotation in progress the configured key signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The rotation in progress.
    pub rotation: Option<Rotation>,
    /// The one before.
    pub last: Option<Finished>,
}

/// What happens to a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A running gateway serves the set.
    Noticed,
    /// OpenEMR fetched the set.
    Fetched,
    /// OpenEMR accepted an assertion of this site that the new key had signed.
    NewAccepted(String),
    /// OpenEMR refused an assertion of this site by the new key, and accepted one by the old key right after.
    OldPreferred(String),
    /// Time has passed. Holds the sites that sign with this key: all of them must have accepted the new one before the old one goes.
    Clock(Vec<String>),
}

impl State {
    /// Begins a rotation.
    ///
    /// # Errors
    /// The rotation that is in progress already.
    pub fn begin(
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

    /// The state after an event.
    #[must_use]
    pub fn after(mut self, now: Timestamp, event: &Event) -> Self {
        if let Some(rotation) = &mut self.rotation {
            rotation.take(now, event);
        }
        self
    }

    /// The state once the files are as [`Stage::Retiring`] wants them.
    #[must_use]
    pub fn finished(self, now: Timestamp) -> Self {
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
    fn take(&mut self, now: Timestamp, event: &Event) {
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

    /// The key that signs a site's assertions.
    #[must_use]
    pub fn signs(&self, site: &str) -> Which {
        match (self.stage, self.sites.get(site)) {
            (Stage::Retiring, _) | (Stage::Switched { .. }, None) => Which::New,
            (Stage::Published, None) => Which::Old,
            (Stage::Published | Stage::Switched { .. }, Some(standing)) => standing.signs,
        }
    }

    /// The sites of these that have yet to see the new key accepted.
    pub fn waiting<'a>(&'a self, sites: &'a [String]) -> impl Iterator<Item = &'a str> {
        let accepted = |site: &&String| self.sites.get(*site).is_some_and(|standing| standing.accepted_at.is_some());
        sites.iter().filter(move |site| !accepted(site)).map(String::as_str)
    }

    /// When the old key goes; `None` before the switch, and until OpenEMR has accepted the new key for all these sites.
    #[must_use]
    pub fn retire_at(&self, sites: &[String]) -> Option<Timestamp> {
        if !matches!(self.stage, Stage::Switched { .. }) || self.waiting(sites).next().is_some() {
            return None;
        }
        let last = sites.iter().filter_map(|site| self.sites.get(site)?.accepted_at).max()?;
        Some(later(last, self.retire_after))
    }

    /// One of the two keys.
    #[must_use]
    pub fn jwk(&self, which: Which) -> &Jwk {
        match which {
            Which::Old => &self.old,
            Which::New => &self.new,
        }
    }

    /// The `kid` of one of the two keys.
    #[must_use]
    pub fn kid(&self, which: Which) -> &str {
        self.jwk(which).kid().unwrap_or_default()
    }

    /// The set that goes with `first` as the signing key; `set` brings the keys that have no part in the rotation.
    #[must_use]
    pub fn set(&self, set: &JwkSet, first: Which) -> JwkSet {
        match self.stage {
            Stage::Published | Stage::Switched { .. } => set.rearranged(&[self.jwk(first), self.jwk(first.other())], None),
            Stage::Retiring => self.set_after(set),
        }
    }

    /// The set that is left when the rotation is over.
    #[must_use]
    pub fn set_after(&self, set: &JwkSet) -> JwkSet {
        set.rearranged(&[&self.new], Some(&self.old))
    }

    /// The key that comes first in the JWK Set's file. With several sites that differ, the one that all of them take.
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

/// `from` plus `by`, or the end of time.
fn later(from: Timestamp, by: Duration) -> Timestamp {
    from.checked_add(by).unwrap_or(Timestamp::MAX)
}
