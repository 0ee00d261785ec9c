//! Where the plans of a site's exports are kept: in a folder of this machine, or in a store that several gateways share.
//!
//! Decisions: `docs/decisions/21-bulk-export.md`, `docs/decisions/57-export-leases.md`.

use std::fmt;
use std::io;

use uuid::Uuid;

use crate::exports::folder::{Folder, FolderLock};
use crate::exports::lease::SharedLease;
use crate::exports::listing::Listing;
use crate::exports::shared::SharedPlans;
use crate::exports::store_error::StoreError;
use crate::openemr::export::plan::Plan;
use crate::site::prepared::Site;

/// Where the plans of a site's exports are kept.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    /// In a folder.
    Folder(Folder),
    /// In the shared store.
    Shared(SharedPlans),
}

/// The right to work on the jobs of a site and to change their plans. One process has it at a time.
#[derive(Debug)]
pub(crate) enum Lease {
    /// The lock of the folder.
    Folder(FolderLock),
    /// The lease in the shared store.
    Shared(SharedLease),
}

impl Store {
    /// The store of a site.
    pub(crate) fn of(site: &Site) -> Self {
        match &site.store {
            Some(store) => Self::Shared(SharedPlans::new(store.clone(), &site.config)),
            None => Self::Folder(Folder::of(&site.config)),
        }
    }

    /// Whether this is still the store of a site.
    pub(crate) fn is_of(&self, site: &Site) -> bool {
        match (self, &site.store) {
            (Self::Shared(plans), Some(store)) => plans.is_of(store, &site.config),
            (Self::Folder(folder), None) => *folder == Folder::of(&site.config),
            (Self::Shared(_), None) | (Self::Folder(_), Some(_)) => false,
        }
    }

    /// How many exports lie in the folder of a site that has a shared store, and where that is; `None` where there are none.
    pub(crate) async fn left_behind(&self, site: &Site) -> Option<(usize, String)> {
        let Self::Shared(_) = self else { return None };
        let folder = Folder::of(&site.config);
        let left = on_disk(&folder, Folder::list).await.ok()?.jobs.len();
        (left > 0).then(|| (left, folder.path().display().to_string()))
    }

    /// Lists the jobs and marks.
    pub(crate) async fn list(&self) -> Result<Listing, StoreError> {
        match self {
            Self::Folder(folder) => on_disk(folder, Folder::list).await,
            Self::Shared(plans) => plans.list().await,
        }
    }

    /// Reads a job's plan; `None` when there is none, or when it is to be deleted.
    pub(crate) async fn load(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| folder.load(job)).await,
            Self::Shared(plans) => plans.load(job).await,
        }
    }

    /// Reads a job's plan, also of a job that is to be deleted; `None` when there is none.
    pub(crate) async fn load_any(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| folder.load_any(job)).await,
            Self::Shared(plans) => plans.load_any(job).await,
        }
    }

    /// Whether a job is to be deleted.
    pub(crate) async fn is_marked(&self, job: Uuid) -> Result<bool, StoreError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| Ok(folder.is_marked(job))).await,
            Self::Shared(plans) => plans.is_marked(job).await,
        }
    }

    /// Whether OpenEMR may still have files of a job whose plan cannot be read.
    pub(crate) async fn may_have_files(&self, job: Uuid) -> Result<bool, StoreError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| Ok(folder.may_have_files(job))).await,
            Self::Shared(plans) => plans.may_have_files(job).await,
        }
    }

    /// Adds a job, and marks another one in its place. False when another gateway has changed the list since `seen` was read; of a
    /// folder, the caller sees to that.
    pub(crate) async fn add(&self, plan: &Plan, in_place_of: Option<Uuid>, seen: &Listing) -> Result<bool, StoreError> {
        match self {
            Self::Folder(folder) => {
                let plan = plan.clone();
                let add = move |folder: &Folder| {
                    in_place_of.map_or(Ok(()), |other| folder.mark_deleted(other))?;
                    folder.save(&plan).map(|()| true)
                };
                on_disk(folder, add).await
            }
            Self::Shared(plans) => plans.add(plan, in_place_of, seen).await,
        }
    }

    /// Marks a job to be deleted.
    pub(crate) async fn mark_deleted(&self, job: Uuid) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| folder.mark_deleted(job)).await,
            Self::Shared(plans) => plans.mark_deleted(job).await,
        }
    }

    /// Sets a plan aside that cannot be read, and keeps it for the operator to look at.
    pub(crate) async fn set_aside(&self, job: Uuid) -> Result<(), StoreError> {
        match self {
            Self::Folder(folder) => on_disk(folder, move |folder| folder.set_aside(job)).await,
            Self::Shared(plans) => plans.set_aside(job).await,
        }
    }

    /// Takes the right to work on the jobs; `None` while another process has it.
    pub(crate) async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        match self {
            Self::Folder(folder) => Ok(on_disk(folder, Folder::lock).await?.map(Lease::Folder)),
            Self::Shared(plans) => Ok(SharedLease::take(plans).await?.map(Lease::Shared)),
        }
    }

    /// Writes a plan that has changed. It is kept when this returns.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`]: nothing was written. The plan cannot be written.
    pub(crate) async fn save(&self, lease: &Lease, plan: &Plan) -> Result<(), StoreError> {
        match (self, lease) {
            (Self::Folder(folder), Lease::Folder(_)) => {
                let plan = plan.clone();
                on_disk(folder, move |folder| folder.save(&plan)).await
            }
            (Self::Shared(plans), Lease::Shared(lease)) => plans.save(lease.tenure(), plan).await,
            (Self::Folder(_), Lease::Shared(_)) | (Self::Shared(_), Lease::Folder(_)) => Err(StoreError::LeaseLost),
        }
    }

    /// Removes a job's plan and mark.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub(crate) async fn remove(&self, lease: &Lease, job: Uuid) -> Result<(), StoreError> {
        match (self, lease) {
            (Self::Folder(folder), Lease::Folder(_)) => on_disk(folder, move |folder| folder.remove(job)).await,
            (Self::Shared(plans), Lease::Shared(lease)) => plans.remove(lease.tenure(), job).await,
            (Self::Folder(_), Lease::Shared(_)) | (Self::Shared(_), Lease::Folder(_)) => Err(StoreError::LeaseLost),
        }
    }
}

impl Lease {
    /// Waits while the lease may have run out; then tells whether it is held. That of a folder always is.
    pub(crate) async fn is_held(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Shared(lease) => lease.is_held().await,
        }
    }

    /// Whether it is held, as far as is known at this moment.
    pub(crate) fn is_running(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Shared(lease) => lease.is_running(),
        }
    }

    /// Gives it back.
    pub(crate) async fn release(self) {
        match self {
            Self::Folder(lock) => drop(lock),
            Self::Shared(lease) => lease.release().await,
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.path().display().fmt(f),
            Self::Shared(_) => f.write_str("the shared store"),
        }
    }
}

/// Does disk work on a thread of its own: other requests must not wait for a slow disk.
async fn on_disk<T: Send + 'static>(
    folder: &Folder,
    work: impl FnOnce(&Folder) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let folder = folder.clone();
    tokio::task::spawn_blocking(move || work(&folder))
        .await
        .unwrap_or_else(|error| Err(StoreError::Disk(io::Error::other(error))))
}
