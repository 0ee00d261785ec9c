//! All key rings, and the signers that share each of them.

use std::ops::Deref;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config;
use crate::keys::key_files::KeyFiles;
use crate::smart::key_ring::KeyRing;
use crate::smart::signer::Signer;

/// A ring with its signers.
#[derive(Debug)]
pub(super) struct SharedRing {
    ring: Arc<KeyRing>,
    signers: Mutex<Vec<Weak<Signer>>>,
}

/// All rings, by their files.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyRings {
    rings: Arc<Mutex<Vec<Arc<SharedRing>>>>,
    wake: Arc<Notify>,
}

impl SharedRing {
    /// The signers of all sites that sign with these keys.
    pub(super) fn signers(&self) -> Vec<Arc<Signer>> {
        let mut signers = self.signers.lock();
        signers.retain(|signer| signer.strong_count() > 0);
        signers.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Deref for SharedRing {
    type Target = KeyRing;

    fn deref(&self) -> &KeyRing {
        &self.ring
    }
}

impl KeyRings {
    /// The signer of a site. Sites that name the same files share a ring. A site that has a signer already keeps it as it is;
    /// see [`Signer::adopt`].
    #[must_use]
    pub(crate) fn signer(&self, site: &Arc<config::Site>) -> Arc<Signer> {
        let files = KeyFiles::new(&site.private_key_file, &site.jwks_file);
        let mut rings = self.rings.lock();
        let shared = match rings.iter().find(|shared| shared.files == files) {
            Some(shared) => Arc::clone(shared),
            None => {
                let ring = Arc::new(KeyRing::new(files, Arc::clone(&self.wake)));
                let shared = Arc::new(SharedRing { ring, signers: Mutex::default() });
                rings.push(Arc::clone(&shared));
                shared
            }
        };
        let known = shared.signers().into_iter().find(|signer| signer.name() == site.name.as_str());
        known.unwrap_or_else(|| {
            let signer = Arc::new(Signer::new(Arc::clone(&shared.ring), site));
            shared.signers.lock().push(Arc::downgrade(&signer));
            shared.look_again();
            signer
        })
    }

    /// The rings that have signers.
    pub(super) fn all(&self) -> Vec<Arc<SharedRing>> {
        let mut rings = self.rings.lock();
        rings.retain(|shared| !shared.signers().is_empty());
        rings.clone()
    }

    pub(super) fn wake(&self) -> &Notify {
        &self.wake
    }
}
