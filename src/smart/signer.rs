//! The signer of a site's assertions: with one key, or in a rotation with the one of two that OpenEMR accepts.
//!
//! The signing key and the order of the published set are one value, changed by one store.
//!
//! Decision: `docs/decisions/07-key-rotation.md`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use log::{info, warn};
use parking_lot::Mutex;

use crate::config::{self, SiteKeys};
use crate::keys::key_files::KeyFiles;
use crate::keys::rotation::Event;
use crate::keys::rotation_files::KeyFile;
use crate::smart::exchanged::{Exchange, ExchangeError, Exchanged};
use crate::smart::key_ring::KeyRing;
use crate::smart::signing_keys::{Keys, Published};
use crate::smart::token_response::{Grant, TokenError};

/// How often a refusal of the new key is logged.
const REMIND_EVERY: Duration = Duration::from_secs(60 * 60);

/// The signer of one site's assertions.
#[derive(Debug)]
pub(crate) struct Signer {
    ring: Arc<KeyRing>,
    name: String,
    pub(super) config: ArcSwap<config::Site>,
    keys: ArcSwap<Keys>,
    /// Whose set is published in place of this one's.
    instead: ArcSwapOption<Signer>,
    /// In a rotation, held for the length of an attempt: after a reload the token's old task and its new one may meet.
    turn: tokio::sync::Mutex<()>,
    patience: Mutex<Patience>,
}

/// When a new key that was refused is tried again.
#[derive(Debug, Default)]
struct Patience {
    try_new_after: Option<Instant>,
    remind_after: Option<Instant>,
}

/// A signer that a reload can replace, shared by a token's task and the sites whose token it is.
pub(crate) type SharedSigner = Arc<ArcSwap<Signer>>;

impl Signer {
    /// A signer with what the site's configuration has read.
    pub(super) fn new(ring: Arc<KeyRing>, site: &Arc<config::Site>) -> Self {
        let name = site.name.as_str().to_owned();
        let keys = ArcSwap::from_pointee(Keys::of(site.keys.clone(), &name));
        Self {
            ring,
            name,
            config: ArcSwap::new(Arc::clone(site)),
            keys,
            instead: ArcSwapOption::empty(),
            turn: tokio::sync::Mutex::default(),
            patience: Mutex::default(),
        }
    }

    /// The site.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The `kid` of the key that signs now.
    #[must_use]
    pub(crate) fn kid(&self) -> String {
        self.keys.load().kid().to_owned()
    }

    /// Signs with the keys that this configuration of the site has read: at once, or where an exchange is under way, when the
    /// keeper finds it ended.
    pub(crate) fn adopt(&self, site: &Arc<config::Site>) {
        self.config.store(Arc::clone(site));
        if let Ok(_alone) = self.ring.gate.try_write() {
            self.install(site.keys.clone());
        }
        self.ring.look_again();
    }

    /// Whether these two files are the site's.
    #[must_use]
    pub(crate) fn is_of(&self, private_key: &Path, jwks: &Path) -> bool {
        self.ring.files == KeyFiles::new(private_key, jwks)
    }

    /// The JWK Set that is published while its present key signs, for who only looks at it.
    #[must_use]
    pub(crate) fn jwk_set(&self) -> Bytes {
        self.keys.load().published().jwk_set
    }

    /// The JWK Set as it is published. A request for it during an exchange is taken for OpenEMR's own: another caller would have
    /// to meet those few milliseconds.
    #[must_use]
    pub(crate) fn publish(&self) -> Published {
        if let Some(other) = &*self.instead.load() {
            return other.publish();
        }
        if self.ring.exchanges.load(Ordering::Acquire) > 0 {
            self.ring.fetched.store(true, Ordering::Release);
        }
        self.keys.load().published()
    }

    /// Publishes the set of `other`, if that is another signer, until the guard is dropped.
    pub(crate) fn publish_instead(self: &Arc<Self>, other: &Arc<Self>) -> Option<Instead> {
        if Arc::ptr_eq(self, other) {
            return None;
        }
        self.instead.store(Some(Arc::clone(other)));
        Some(Instead(Arc::clone(self)))
    }

    /// Installs the keys that were read. The caller holds the gate.
    pub(super) fn install(&self, read: SiteKeys) {
        self.keys.store(Arc::new(Keys::of(read, &self.name)));
    }

    /// Attempts to get a token: one exchange, and in a rotation another one with the other key, where OpenEMR refused the first
    /// assertion. The order of the published set changes with the signing key, in one step.
    ///
    /// # Errors
    /// The error of the first exchange.
    pub(crate) async fn attempt(&self, endpoint: &mut impl Exchange) -> Result<Exchanged, ExchangeError> {
        let _unchanging = self.ring.gate.read().await;
        let _under_way = UnderWay::new(&self.ring.exchanges);
        let _turn = if self.keys.load().published().may_change { Some(self.turn.lock().await) } else { None };
        let settled = self.keys.load_full();
        if self.should_try_new(&settled, Instant::now())
            && let Some(new) = settled.swapped()
        {
            let trial = Trial::begin(self, new, &settled);
            match endpoint.exchange(&trial.keys).await {
                Ok(exchanged) => return Ok(self.accepted(trial, exchanged)),
                Err(refusal) if refuses_the_assertion(&refusal) => drop(trial),
                Err(failure) => return Err(failure),
            }
            let exchanged = endpoint.exchange(&settled).await?;
            self.still_old(&settled, &exchanged.grant);
            return Ok(exchanged);
        }
        let refusal = match endpoint.exchange(&settled).await {
            Ok(exchanged) => {
                if settled.signs_new() && !settled.is_accepted() {
                    self.note_accepted(&settled);
                }
                return Ok(exchanged);
            }
            Err(refusal) if refuses_the_assertion(&refusal) => refusal,
            Err(failure) => return Err(failure),
        };
        let Some(other) = settled.swapped() else { return Err(refusal) };
        let trial = Trial::begin(self, other, &settled);
        match endpoint.exchange(&trial.keys).await {
            Ok(exchanged) => Ok(self.accepted(trial, exchanged)),
            Err(second) => {
                if refuses_the_assertion(&second) {
                    info!("site {}: OpenEMR takes neither key of the rotation; the cause is another", self.name);
                }
                Err(refusal)
            }
        }
    }

    /// Whether to try the new key again: once a token life, after OpenEMR refused it.
    fn should_try_new(&self, keys: &Keys, now: Instant) -> bool {
        keys.prefers_old() && self.patience.lock().try_new_after.is_none_or(|after| now >= after)
    }

    /// Signs with the key of an accepted trial from now on.
    fn accepted(&self, trial: Trial<'_>, exchanged: Exchanged) -> Exchanged {
        let keys = trial.keep();
        if keys.signs_new() {
            self.note_accepted(&keys);
        } else {
            self.ring.note(Event::OldPreferred(self.name.clone()));
            self.still_old(&keys, &exchanged.grant);
        }
        exchanged
    }

    fn note_accepted(&self, keys: &Keys) {
        info!("site {}: OpenEMR accepts the new key, {}", self.name, keys.kid());
        self.ring.note(Event::NewAccepted(self.name.clone()));
        *self.patience.lock() = Patience::default();
        // At once, so that the next exchange does not log it again before the keeper has read it.
        self.keys.store(Arc::new(keys.with_acceptance()));
    }

    fn still_old(&self, keys: &Keys, grant: &Grant) {
        let now = Instant::now();
        let mut patience = self.patience.lock();
        // The next scheduled exchange comes after three quarters of the token's life or later.
        patience.try_new_after = Some(now + grant.expires_in.min(Duration::from_secs(24 * 60 * 60)).mul_f64(0.7));
        if patience.remind_after.is_some_and(|after| now < after) {
            return;
        }
        patience.remind_after = Some(now + REMIND_EVERY);
        let new = keys.other_kid().unwrap_or_default();
        let cause = if keys.is_fetched() || self.ring.fetched.load(Ordering::Acquire) {
            "It has fetched the JWK Set with the new key, and seems to use a copy of it: nothing is to be done unless it stays so"
                .to_owned()
        } else {
            format!(
                "It has not fetched the JWK Set since the new key is in it: it keeps an old copy, or the client is registered with an inline set. If inline, OpenEMR cannot replace its keys: register a new client with the new set, {}, or with a jwks_uri, enable it (Admin > System > API Clients), set its client_id, and reload",
                self.ring.files.path(&KeyFile::NextSet).display()
            )
        };
        warn!(
            "site {}: OpenEMR refuses the new key, {new}, and accepts the old one, {}, which signs until the new one is accepted. {cause}",
            self.name,
            keys.kid()
        );
    }
}

/// Has another signer's set published until it is dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Instead(Arc<Signer>);

impl Drop for Instead {
    fn drop(&mut self) {
        self.0.instead.store(None);
    }
}

/// Counts an exchange until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn new(exchanges: &'a AtomicUsize) -> Self {
        exchanges.fetch_add(1, Ordering::AcqRel);
        Self(exchanges)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Signs with the other key for one exchange. Dropped, it restores the keys: also when the exchange is given up.
struct Trial<'a> {
    signer: &'a Signer,
    keys: Arc<Keys>,
    back: Option<Arc<Keys>>,
}

impl<'a> Trial<'a> {
    fn begin(signer: &'a Signer, keys: Keys, settled: &Arc<Keys>) -> Self {
        let keys = Arc::new(keys);
        signer.keys.store(Arc::clone(&keys));
        Self { signer, keys, back: Some(Arc::clone(settled)) }
    }

    fn keep(mut self) -> Arc<Keys> {
        self.back = None;
        Arc::clone(&self.keys)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            self.signer.keys.store(back);
        }
    }
}

/// Whether the assertion could not be verified. Released versions of OpenEMR answer 400; newer ones and other servers 401
/// (RFC 6749 section 5.2). A server that wants to be left alone is not asked again with the other key.
fn refuses_the_assertion(error: &ExchangeError) -> bool {
    matches!(error, ExchangeError::Answer { error: TokenError::Refused(refusal), retry_after: None, .. } if refusal.error == "invalid_client" && matches!(refusal.effective_status(), 400 | 401))
}

#[cfg(test)]
mod tests;
