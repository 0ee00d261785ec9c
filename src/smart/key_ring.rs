//! A key ring: the key files that several sites may sign with, and the order of exchanges and changes to the keys.
//!
//! OpenEMR verifies with the first RSA key of the set that it fetches during the exchange. So keys never change during an
//! exchange: exchanges hold the ring's gate shared, changes hold it alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock};

use crate::keys::key_files::{FileVersions, KeyFiles};
use crate::keys::rotation::{Event, Rotation};

/// The keys of one private key file and JWK Set, which several sites may share.
#[derive(Debug)]
pub(super) struct KeyRing {
    pub(super) files: KeyFiles,
    /// Held shared by exchanges, alone by changes to the keys.
    pub(super) gate: RwLock<()>,
    /// How many exchanges are under way.
    pub(super) exchanges: AtomicUsize,
    /// OpenEMR has fetched the set, since the process began or the new key was put in.
    pub(super) fetched: AtomicBool,
    /// A signer was added or changed.
    pub(super) is_stale: AtomicBool,
    /// The keeper works on it.
    pub(super) is_looked_after: AtomicBool,
    /// What has happened since the keeper last looked.
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
    pub(super) fn new(files: KeyFiles, wake: Arc<Notify>) -> Self {
        Self {
            files,
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
