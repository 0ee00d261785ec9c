//! The export jobs of each site, shared by the answers to callers and the worker.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use log::warn;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::config;
use crate::exports::files::{self, ExportFile, FilesOfJob};
use crate::exports::progress::Progress;
use crate::exports::room::{Known, Room, State};
use crate::exports::store::{FolderLock, Listing, Store, StoreError};
use crate::openemr::export::plan::{Plan, PlanError};

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
    /// How far each job was when this process saw it last. The file of one that has ended need not be read for it again.
    seen: Mutex<HashMap<Uuid, Progress>>,
    /// The files of the jobs that have ended.
    files: Mutex<HashMap<Uuid, Arc<FilesOfJob>>>,
    /// Deleted jobs that stay until then, in milliseconds since 1970.
    held: Mutex<HashMap<Uuid, i64>>,
    /// Held while jobs are counted and one is added.
    adding: Mutex<()>,
    good_parts: AtomicU64,
    failed_parts: AtomicU64,
    /// See [`Exports::changed`].
    changed: Arc<Notify>,
}

/// The numbers of a site's exports, as far as this process has seen them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// The exports that wait or are under way.
    pub(crate) unfinished: usize,
    /// Those that have ended and are kept.
    pub(crate) finished: usize,
    /// The parts of exports, which are resource types, that ended well since the start.
    pub(crate) good_parts: u64,
    /// Those that failed.
    pub(crate) failed_parts: u64,
}

/// The work to do for a site.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// The jobs to work on, the oldest first.
    pub(crate) unfinished: Vec<Plan>,
    /// The jobs to remove: deleted by callers, or too old.
    pub(crate) obsolete: Vec<Uuid>,
    /// All jobs.
    known: Vec<Known>,
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
    /// Too many jobs are unfinished.
    #[error("too many exports are unfinished")]
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
            Arc::new(Jobs {
                store,
                seen: Mutex::default(),
                files: Mutex::default(),
                held: Mutex::default(),
                adding: Mutex::default(),
                good_parts: AtomicU64::new(0),
                failed_parts: AtomicU64::new(0),
                changed,
            })
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

    /// Adds a job, unless there are too many. In place of too many finished ones, the oldest is forgotten.
    pub(crate) async fn add(self: &Arc<Self>, plan: Plan) -> Result<(), AddError> {
        self.blocking(move |jobs| {
            let _adding = jobs.adding.lock();
            let todo = jobs.look(None)?;
            match Room::among(&todo.known, &plan.asked_by) {
                Room::Free => {}
                Room::InPlaceOf(oldest) => jobs.store.mark_deleted(oldest)?,
                Room::Full => return Err(AddError::TooMany),
            }
            jobs.store.save(&plan)?;
            jobs.seen.lock().insert(plan.job, Progress::of(&plan));
            jobs.changed.notify_waiters();
            Ok(())
        })
        .await
    }

    /// The plan of a job; `None` when there is none, or a caller has deleted it.
    pub(crate) async fn find(self: &Arc<Self>, job: Uuid) -> Result<Option<Plan>, StoreError> {
        self.blocking(move |jobs| jobs.store.load(job)).await
    }

    /// Marks a job to be deleted; also one whose plan cannot be read.
    pub(crate) async fn delete(self: &Arc<Self>, job: Uuid) -> Result<(), StoreError> {
        self.blocking(move |jobs| {
            jobs.store.mark_deleted(job)?;
            jobs.changed.notify_waiters();
            Ok(())
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
        self.blocking(move |jobs| {
            jobs.store.save(&plan)?;
            jobs.seen.lock().insert(plan.job, Progress::of(&plan));
            Ok(())
        })
        .await
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
            jobs.seen.lock().remove(&job);
            jobs.held.lock().remove(&job);
            Ok::<_, StoreError>(())
        });
        drop(removed.await);
    }

    /// Keeps a job, deleted for its clients, until then.
    pub(crate) async fn hold(self: &Arc<Self>, job: Uuid, until: i64) {
        let held = self.blocking(move |jobs| {
            jobs.held.lock().insert(job, until);
            jobs.store.mark_deleted(job)
        });
        if let Err(error) = held.await {
            warn!("export {job} cannot be marked as deleted: {error}");
        }
    }

    /// Whether a job was held after it had been deleted.
    pub(crate) fn was_held(&self, job: Uuid) -> bool {
        self.held.lock().contains_key(&job)
    }

    /// What a client gets of a Binary, should it be the file of an export. `job`: the export that its address names.
    ///
    /// # Errors
    /// The plans cannot be read.
    pub(crate) async fn file(self: &Arc<Self>, id: String, job: Option<Uuid>) -> Result<ExportFile, StoreError> {
        self.blocking(move |jobs| match job {
            Some(job) => files::of_job(&jobs.store, &mut jobs.files.lock(), job, &id, now()),
            None => files::of_any_job(&jobs.store, &mut jobs.files.lock(), &id, now()),
        })
        .await
    }

    /// How many exports there are, and how their parts ended, as far as this process has seen.
    #[must_use]
    pub(crate) fn counts(&self) -> Counts {
        let (seen, load) = (self.seen.lock(), |count: &AtomicU64| count.load(Ordering::Relaxed));
        let unfinished = seen.values().filter(|seen| seen.finished_at.is_none()).count();
        Counts {
            unfinished,
            finished: seen.len() - unfinished,
            good_parts: load(&self.good_parts),
            failed_parts: load(&self.failed_parts),
        }
    }

    /// How far each job is, as far as this process has seen: the unfinished ones first, and the latest of them first.
    #[must_use]
    pub(crate) fn progress(&self) -> Vec<Progress> {
        let mut all: Vec<Progress> = self.seen.lock().values().cloned().collect();
        all.sort_by_key(|one| (one.finished_at.is_some(), Reverse(one.asked_at), one.job));
        all
    }

    /// Notes how the parts of an export ended.
    pub(crate) fn note_parts(&self, good: usize, failed: usize) {
        self.good_parts.fetch_add(good as u64, Ordering::Relaxed);
        self.failed_parts.fetch_add(failed as u64, Ordering::Relaxed);
    }

    fn look(&self, keep: Option<i64>) -> Result<Todo, StoreError> {
        let Listing { jobs, marked, .. } = self.store.list()?;
        let is_held = |job: &Uuid| self.held.lock().get(job).is_some_and(|until| *until > now());
        let mut todo = Todo { obsolete: marked.iter().copied().filter(|job| !is_held(job)).collect(), ..Todo::default() };
        let mut unfinished = BTreeMap::new();
        let mut seen = self.seen.lock();
        seen.retain(|job, _| jobs.contains(job));
        let latest = keep.map(|keep| now().saturating_sub(keep));
        for job in jobs {
            let known = seen.get(&job).cloned();
            let (owner, state) = match known {
                _ if marked.contains(&job) => (known.map(|known| known.owner).unwrap_or_default(), State::Deleted),
                Some(Progress { owner, finished_at: Some(at), .. }) => (owner, State::Finished(at)),
                Some(Progress { finished_at: None, .. }) | None => match self.read(job)? {
                    Some(plan) => {
                        let (owner, finished_at) = (plan.asked_by.clone(), plan.finished_at);
                        seen.insert(job, Progress::of(&plan));
                        if finished_at.is_none() {
                            unfinished.insert((plan.asked_at, job), plan);
                        }
                        (owner, finished_at.map_or(State::Unfinished, State::Finished))
                    }
                    None => continue,
                },
            };
            if let (State::Finished(at), Some(latest)) = (state, latest)
                && at < latest
            {
                todo.obsolete.push(job);
            }
            todo.known.push(Known { job, owner, state });
        }
        todo.unfinished = unfinished.into_values().collect();
        Ok(todo)
    }

    /// Reads a plan; `None` when it is gone, set aside because it is damaged, or of another version.
    fn read(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        match self.store.load_any(job) {
            // A process of another version may be working on it.
            Err(StoreError::Plan(PlanError::Version(_))) => Ok(None),
            Err(error @ (StoreError::Plan(_) | StoreError::OtherJob)) => {
                warn!("the plan of export {job} is set aside: {error}");
                self.store.set_aside(job);
                Ok(None)
            }
            read => read,
        }
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
