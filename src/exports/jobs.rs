//! The export jobs of each site, shared by the answers to callers and the worker.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use log::warn;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::config;
use crate::exports::store::{FolderLock, Listing, Store, StoreError};
use crate::openemr::export::plan::{Plan, PlanError};

/// The most unfinished exports of a site; further ones are not accepted.
const MOST_UNFINISHED: usize = 8;
/// The most exports of a site, finished ones included.
const MOST_KNOWN: usize = 1000;

/// The exports of all sites.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    sites: Mutex<HashMap<PathBuf, Arc<Jobs>>>,
    /// Wakes the worker after a caller's change.
    changed: Arc<Notify>,
}

/// The exports of one site.
#[derive(Debug)]
pub(crate) struct Jobs {
    store: Store,
    /// When each finished job ended, so that its file need not be read again.
    finished: Mutex<HashMap<Uuid, i64>>,
    /// Held while jobs are counted and one is added.
    adding: Mutex<()>,
    /// See [`Exports::changed`].
    changed: Arc<Notify>,
}

/// The work to do for a site.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// The jobs to work on, the oldest first.
    pub(crate) unfinished: Vec<Plan>,
    /// The jobs to remove: deleted by callers, or too old.
    pub(crate) obsolete: Vec<Uuid>,
    /// The number of all jobs.
    known: usize,
}

impl Todo {
    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.unfinished.is_empty() && self.obsolete.is_empty()
    }
}

/// Why a job was not added.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddError {
    /// Too many jobs are unfinished or kept.
    #[error("too many exports are unfinished or kept")]
    TooMany,
    /// Its plan cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Exports {
    /// The jobs of a site.
    pub(crate) fn of(&self, site: &config::Site) -> Arc<Jobs> {
        let store = Store::of(site);
        let mut sites = self.sites.lock();
        Arc::clone(sites.entry(store.folder().to_owned()).or_insert_with(|| {
            let changed = Arc::clone(&self.changed);
            Arc::new(Jobs { store, finished: Mutex::default(), adding: Mutex::default(), changed })
        }))
    }

    /// Waits until a caller adds or deletes a job of any site.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Jobs {
    /// The folder of their plans.
    pub(crate) fn folder(&self) -> &Path {
        self.store.folder()
    }

    /// Adds a job, unless there are too many.
    pub(crate) async fn add(self: &Arc<Self>, plan: Plan) -> Result<(), AddError> {
        self.blocking(move |jobs| {
            let _adding = jobs.adding.lock();
            let todo = jobs.look(None)?;
            if todo.unfinished.len() >= MOST_UNFINISHED || todo.known >= MOST_KNOWN {
                return Err(AddError::TooMany);
            }
            jobs.store.save(&plan)?;
            jobs.changed.notify_waiters();
            Ok(())
        })
        .await
    }

    /// The plan of a job; `None` when there is none, or a caller has deleted it.
    pub(crate) async fn find(self: &Arc<Self>, job: Uuid) -> Result<Option<Plan>, StoreError> {
        self.blocking(move |jobs| jobs.store.load(job)).await
    }

    /// Marks a job to be deleted; `false` when there is none.
    pub(crate) async fn delete(self: &Arc<Self>, job: Uuid) -> Result<bool, StoreError> {
        self.blocking(move |jobs| match jobs.store.load(job) {
            Ok(None) => Ok(false),
            // A plan that cannot be read can be deleted too.
            Ok(Some(_)) | Err(_) => {
                jobs.store.mark_deleted(job)?;
                jobs.changed.notify_waiters();
                Ok(true)
            }
        })
        .await
    }

    /// The work to do. Finished jobs are kept for `keep` milliseconds.
    pub(crate) async fn todo(self: &Arc<Self>, keep: i64) -> Result<Todo, StoreError> {
        self.blocking(move |jobs| jobs.look(Some(keep))).await
    }

    /// Locks the jobs for this process; `None` when another one works on them.
    pub(crate) async fn lock(self: &Arc<Self>) -> Result<Option<FolderLock>, StoreError> {
        self.blocking(|jobs| jobs.store.lock()).await
    }

    /// Writes a plan that has changed. The caller holds the lock.
    pub(crate) async fn save(self: &Arc<Self>, plan: &Plan) -> Result<(), StoreError> {
        let plan = plan.clone();
        self.blocking(move |jobs| jobs.store.save(&plan)).await
    }

    /// The plan of a job, also of one that is to be deleted. The caller holds the lock.
    pub(crate) async fn plan(self: &Arc<Self>, job: Uuid) -> Result<Option<Plan>, StoreError> {
        self.blocking(move |jobs| jobs.store.load_any(job)).await
    }

    /// Whether a caller has deleted a job.
    pub(crate) async fn is_deleted(self: &Arc<Self>, job: Uuid) -> bool {
        self.blocking(move |jobs| Ok::<_, StoreError>(jobs.store.is_marked(job))).await.unwrap_or(false)
    }

    /// Removes a job. The caller holds the lock.
    pub(crate) async fn remove(self: &Arc<Self>, job: Uuid) {
        let removed = self.blocking(move |jobs| {
            jobs.store.remove(job);
            jobs.finished.lock().remove(&job);
            Ok::<_, StoreError>(())
        });
        drop(removed.await);
    }

    fn look(&self, keep: Option<i64>) -> Result<Todo, StoreError> {
        let Listing { jobs, marked } = self.store.list()?;
        let mut todo = Todo { known: jobs.len(), obsolete: marked.iter().copied().collect(), ..Todo::default() };
        let mut unfinished = BTreeMap::new();
        let mut finished = self.finished.lock();
        finished.retain(|job, _| jobs.contains(job));
        let latest = keep.map(|keep| now().saturating_sub(keep));
        for job in jobs.difference(&marked).copied() {
            let ended = match finished.get(&job) {
                Some(ended) => Some(*ended),
                None => match self.store.load_any(job) {
                    Ok(Some(plan)) => {
                        let ended = plan.finished_at;
                        if ended.is_none() {
                            unfinished.insert((plan.asked_at, job), plan);
                        }
                        ended
                    }
                    Ok(None) => None,
                    // A process of another version may be working on it.
                    Err(StoreError::Plan(PlanError::Version(_))) => None,
                    Err(error @ (StoreError::Plan(_) | StoreError::OtherJob)) => {
                        warn!("the plan of export {job} is set aside: {error}");
                        self.store.set_aside(job);
                        None
                    }
                    Err(error @ StoreError::Disk(_)) => return Err(error),
                },
            };
            if let Some(ended) = ended {
                finished.insert(job, ended);
                if latest.is_some_and(|latest| ended < latest) {
                    todo.obsolete.push(job);
                }
            }
        }
        todo.unfinished = unfinished.into_values().collect();
        Ok(todo)
    }

    /// Does disk work on a thread of its own: other requests must not wait for a slow disk.
    async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let jobs = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&jobs))
            .await
            .unwrap_or_else(|error| Err(StoreError::Disk(io::Error::other(error)).into()))
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
