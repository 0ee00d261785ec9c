//! What several sites share that sign with the same key: its files, and the order in which things happen to it.
//!
//! OpenEMR verifies with the first RSA key of the set that it fetches while the exchange is under way. So keys never change during an
//! exchange: exchanges hold the ring's gate shared, whoever changes the keys holds it alone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock};

use crate::config;
use crate::keys::key_files::{FileVersions, KeyFiles};
use crate::keys::rotation::{Event, Rotation};
use crate::smart::signer::Signer;

/// The keys of one private key file and JWK Set, which several sites may share.
#[derive(Debug)]
pub struct KeyRing {
    pub(super) files: KeyFiles,
    signers: Mutex<Vec<Weak<Signer>>>,
    /// Held shared by exchanges, alone by whoever changes the keys.
    pub(super) gate: RwLock<()>,
    /// How many exchanges are under way.
    pub(super) exchanges: AtomicUsize,
    /// OpenEMR has fetched the set, since the process began or the new key was put in.
    pub(super) fetched: AtomicBool,
    /// A signer was added or changed.
    pub(super) is_stale: AtomicBool,
    /// The keeper is at it.
    pub(super) is_looked_after: AtomicBool,
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) seen: Mutex<Seen>,
    pub(super) wake: Arc<Notify>,
}

/// What the keeper saw last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) versions: Option<FileVersions>,
    pub(super) rotation: Option<Rotation>,
    pub(super) complaint: Option<String>,
}

impl KeyRing {
    fn new(files: KeyFiles, wake: Arc<Notify>) -> Self {
        Self {
            files,
            signers: Mutex::default(),
            gate: RwLock::new(()),
            exchanges: AtomicUsize::new(0),
            fetched: AtomicBool::new(false),
            is_stale: AtomicBool::new(true),
            is_looked_after: AtomicBool::new(false),
            events: Mutex::default(),
            seen: Mutex::default(),
            wake,
        }
    }

    /// Everybody who signs with these keys.
    pub(super) fn signers(&self) -> Vec<Arc<Signer>> {
        let mut signers = self.signers.lock();
        signers.retain(|signer| signer.strong_count() > 0);
        signers.iter().filter_map(Weak::upgrade).collect()
    }

    /// Makes the keeper read the files again.
    pub(super) fn look_again(&self) {
        self.is_stale.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Tells the keeper what has happened.
    pub(super) fn note(&self, event: Event) {
        self.events.lock().push(event);
        self.wake.notify_one();
    }
}

/// All rings, by their files.
#[derive(Debug, Clone, Default)]
pub struct KeyRings {
    rings: Arc<Mutex<Vec<Arc<KeyRing>>>>,
    wake: Arc<Notify>,
}

impl KeyRings {
    /// What signs for a site. Sites that name the same files share a ring. A site that has a signer already keeps it as it is;
    /// see [`Signer::adopt`].
    #[must_use]
    pub fn signer(&self, site: &Arc<config::Site>) -> Arc<Signer> {
        let files = KeyFiles::new(&site.private_key_file, &site.jwks_file);
        let mut rings = self.rings.lock();
        let ring = match rings.iter().find(|ring| ring.files == files) {
            Some(ring) => Arc::clone(ring),
            None => {
                let ring = Arc::new(KeyRing::new(files, Arc::clone(&self.wake)));
                rings.push(Arc::clone(&ring));
                ring
            }
        };
        let known = ring.signers().into_iter().find(|signer| signer.name() == site.name.as_str());
        known.unwrap_or_else(|| {
            let signer = Arc::new(Signer::new(Arc::clone(&ring), site));
            ring.signers.lock().push(Arc::downgrade(&signer));
            ring.look_again();
            signer
        })
    }

    /// The rings that somebody signs with.
    pub(super) fn all(&self) -> Vec<Arc<KeyRing>> {
        let mut rings = self.rings.lock();
        rings.retain(|ring| !ring.signers().is_empty());
        rings.clone()
    }

    pub(super) fn wake(&self) -> &Notify {
        &self.wake
    }
}
