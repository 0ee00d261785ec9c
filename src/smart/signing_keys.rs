//! The keys of a site at one moment: the signing key, the JWK Set that is published with it and, in a rotation, the other key
//! and the set that is published while that one signs.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::SiteKeys;
use crate::keys::rotation::{Stage, Which};
use crate::keys::{JwkSet, SigningKey};

/// The keys of a site at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    signing: Named,
    /// The set, ready to be sent.
    published: Bytes,
    /// In a rotation: the other key, and what is published while it signs.
    other: Option<(Named, Bytes)>,
    rotation: Option<InRotation>,
}

#[derive(Debug, Clone)]
struct Named {
    key: Arc<SigningKey>,
    kid: String,
}

#[derive(Debug, Clone, Copy)]
struct InRotation {
    stage: Stage,
    signs: Which,
    /// Whether OpenEMR has accepted the new key.
    accepted: bool,
    /// Whether OpenEMR has fetched the set with the new key.
    fetched: bool,
}

impl Keys {
    /// The keys that were read, for a site of that name.
    #[must_use]
    pub(crate) fn of(read: SiteKeys, site: &str) -> Self {
        let set = |jwks: JwkSet| Bytes::from(jwks.to_json());
        let (rotation, other) = read.rotating.map_or((None, None), |rotating| {
            let accepted = rotating.rotation.sites.get(site).is_some_and(|standing| standing.accepted_at.is_some());
            let other = rotating.other.map(|(key, kid, jwks)| (Named { key, kid }, set(jwks)));
            let rotation = rotating.rotation;
            let fetched = rotation.fetched_at.is_some();
            (Some(InRotation { stage: rotation.stage, signs: rotating.signs, accepted, fetched }), other)
        });
        Self { signing: Named { key: read.key, kid: read.kid }, published: set(read.jwks), other, rotation }
    }

    /// The signing key.
    #[must_use]
    pub(crate) fn key(&self) -> &SigningKey {
        &self.signing.key
    }

    /// Its `kid`.
    #[must_use]
    pub(crate) fn kid(&self) -> &str {
        &self.signing.kid
    }

    /// The `kid` of the other key of the rotation.
    #[must_use]
    pub(crate) fn other_kid(&self) -> Option<&str> {
        self.other.as_ref().map(|(other, _)| other.kid.as_str())
    }

    /// The JWK Set that is published while this key signs.
    #[must_use]
    pub(crate) fn published(&self) -> Published {
        Published { jwk_set: self.published.clone(), may_change: self.rotation.is_some() }
    }

    /// The same with the two keys of a rotation exchanged; `None` outside a rotation.
    #[must_use]
    pub(crate) fn swapped(&self) -> Option<Self> {
        let (other, published) = self.other.clone()?;
        let rotation = self.rotation.map(|rotation| InRotation { signs: rotation.signs.other(), ..rotation });
        Some(Self { signing: other, published, other: Some((self.signing.clone(), self.published.clone())), rotation })
    }

    /// The same, now that OpenEMR is known to accept the new key.
    #[must_use]
    pub(crate) fn with_acceptance(&self) -> Self {
        let rotation = self.rotation.map(|rotation| InRotation { accepted: true, ..rotation });
        Self { rotation, ..self.clone() }
    }

    /// Whether the new key of a rotation signs.
    #[must_use]
    pub(crate) fn signs_new(&self) -> bool {
        self.rotation.is_some_and(|rotation| rotation.signs == Which::New)
    }

    /// Whether OpenEMR is known to accept the new key of the rotation.
    #[must_use]
    pub(crate) fn is_accepted(&self) -> bool {
        self.rotation.is_some_and(|rotation| rotation.accepted)
    }

    /// Whether OpenEMR is known to have fetched the set with the new key.
    #[must_use]
    pub(crate) fn is_fetched(&self) -> bool {
        self.rotation.is_some_and(|rotation| rotation.fetched)
    }

    /// Whether the old key signs although the time of the new one has come.
    #[must_use]
    pub(crate) fn prefers_old(&self) -> bool {
        self.rotation.is_some_and(|rotation| matches!(rotation.stage, Stage::Switched { .. }) && rotation.signs == Which::Old)
    }
}

/// The JWK Set as it is published.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// The set.
    pub jwk_set: Bytes,
    /// Whether its order may change at any moment, so that no copy should be kept.
    pub may_change: bool,
}
