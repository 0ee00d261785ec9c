//! The export jobs of each site, shared by the answers to callers and the worker.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use log::warn;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;
use uuid::Uuid;

use crate::exports::files::{self, ExportFile, KnownFiles};
use crate::exports::listing::Listing;
use crate::exports::progress::Progress;
use crate::exports::room::{Known, Room, State};
use crate::exports::store::{Lease, Store};
use crate::exports::store_error::StoreError;
use crate::openemr::export::plan::{Plan, PlanError};
use crate::site::prepared::Site;

/// How often a job is added to a list that other gateways change meanwhile, before the client is told to come again.
const MOST_ADDITIONS: usize = 20;

/// How often it is tried to delete a job that may have been added unsaid.
const TAKE_BACK: u32 = 300;
/// The pause between two of these.
const TAKE_BACK_EVERY: Duration = Duration::from_secs(2);

/// The exports of all sites.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    sites: Mutex<HashMap<String, Arc<Jobs>>>,
    /// Wakes the worker after a caller's change.
    changed: Arc<Notify>,
}

/// The exports of one site.
#[derive(Debug)]
pub(crate) struct Jobs {
    store: Store,
    /// How far each job was when this process saw it last. The plan of one that has ended need not be read for it again.
    seen: Mutex<HashMap<Uuid, Progress>>,
    /// The files of the jobs that have ended.
    files: Mutex<KnownFiles>,
    /// Deleted jobs that stay until then, in milliseconds since 1970.
    held: Mutex<HashMap<Uuid, i64>>,
    /// Held while jobs are counted and one is added.
    adding: tokio::sync::Mutex<()>,
    good_parts: AtomicU64,
    failed_parts: AtomicU64,
    /// See [`Counts::refused_writes`].
    refused_writes: AtomicU64,
    /// Whether the log has told what lies in a folder that is not used any more.
    has_told_of_folder: AtomicBool,
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
    /// Plans that were not written because another gateway had the lease by then.
    pub(crate) refused_writes: u64,
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
    /// The list from which this follows.
    listing: Listing,
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
    /// The jobs of a site. They are others once the site has another store.
    pub(crate) fn of(&self, site: &Site) -> Arc<Jobs> {
        let mut sites = self.sites.lock();
        if let Some(jobs) = sites.get(site.name()).filter(|jobs| jobs.store.is_of(site)) {
            return Arc::clone(jobs);
        }
        let jobs = Arc::new(Jobs {
            store: Store::of(site),
            seen: Mutex::default(),
            files: Mutex::default(),
            held: Mutex::default(),
            adding: tokio::sync::Mutex::default(),
            good_parts: AtomicU64::new(0),
            failed_parts: AtomicU64::new(0),
            refused_writes: AtomicU64::new(0),
            has_told_of_folder: AtomicBool::new(false),
            changed: Arc::clone(&self.changed),
        });
        sites.insert(site.name().to_owned(), Arc::clone(&jobs));
        jobs
    }

    /// Waits until a caller adds or deletes a job of any site.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Jobs {
    /// Where their plans are kept.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Adds a job, unless there are too many. In place of too many finished ones, the oldest is forgotten.
    pub(crate) async fn add(&self, plan: Plan) -> Result<(), AddError> {
        let _adding = self.adding.lock().await;
        for _ in 0..MOST_ADDITIONS {
            let todo = self.look(None).await?;
            let in_place_of = match Room::among(&todo.known, &plan.asked_by) {
                Room::Free => None,
                Room::InPlaceOf(oldest) => Some(oldest),
                Room::Full => return Err(AddError::TooMany),
            };
            let added = self.store.add(&plan, in_place_of, &todo.listing).await;
            if added.as_ref().is_err_and(StoreError::is_temporary) {
                self.take_back(plan.job);
            }
            if added? {
                self.seen.lock().insert(plan.job, Progress::of(&plan));
                self.changed.notify_waiters();
                return Ok(());
            }
        }
        Err(StoreError::Busy.into())
    }

    /// Deletes a job that may have been added although the shared store did not say so: its client knows nothing of it.
    fn take_back(&self, job: Uuid) {
        if let Store::Shared(plans) = &self.store {
            let plans = plans.clone();
            tokio::spawn(async move {
                for _ in 0..TAKE_BACK {
                    if plans.mark_deleted(job).await.is_ok() {
                        return;
                    }
                    sleep(TAKE_BACK_EVERY).await;
                }
            });
        }
    }

    /// The plan of a job; `None` when there is none, or a caller has deleted it.
    pub(crate) async fn find(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        self.store.load(job).await
    }

    /// Marks a job to be deleted; also one whose plan cannot be read.
    pub(crate) async fn delete(&self, job: Uuid) -> Result<(), StoreError> {
        self.store.mark_deleted(job).await?;
        self.changed.notify_waiters();
        Ok(())
    }

    /// The work to do. Finished jobs are kept for `keep` milliseconds.
    pub(crate) async fn todo(&self, keep: i64) -> Result<Todo, StoreError> {
        self.look(Some(keep)).await
    }

    /// Takes the right to work on the jobs; `None` when another process has it.
    pub(crate) async fn lease(&self) -> Result<Option<Lease>, StoreError> {
        self.store.lease().await
    }

    /// Warns, once, of exports in the folder of a site that has a shared store by now.
    pub(crate) async fn warn_of_folder(&self, site: &Site) {
        if self.has_told_of_folder.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some((left, folder)) = self.store.left_behind(site).await {
            warn!("site {}: {left} exports in {folder} are not served while there is a shared store", site.name());
        }
    }

    /// Writes a plan that has changed.
    pub(crate) async fn save(&self, lease: &Lease, plan: &Plan) -> Result<(), StoreError> {
        let saved = self.store.save(lease, plan).await;
        match &saved {
            Ok(()) => drop(self.seen.lock().insert(plan.job, Progress::of(plan))),
            Err(StoreError::LeaseLost) => drop(self.refused_writes.fetch_add(1, Ordering::Relaxed)),
            Err(_) => {}
        }
        saved
    }

    /// The plan of a job, also of one that is to be deleted.
    pub(crate) async fn plan(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        self.store.load_any(job).await
    }

    /// Whether a caller has deleted a job, as far as that can be told.
    pub(crate) async fn is_deleted(&self, job: Uuid) -> bool {
        self.store.is_marked(job).await.unwrap_or(false)
    }

    /// Removes a job.
    pub(crate) async fn remove(&self, lease: &Lease, job: Uuid) -> Result<(), StoreError> {
        self.store.remove(lease, job).await?;
        self.seen.lock().remove(&job);
        self.held.lock().remove(&job);
        Ok(())
    }

    /// Keeps a job, deleted for its clients, until then.
    pub(crate) async fn hold(&self, job: Uuid, until: i64) {
        self.held.lock().insert(job, until);
        if let Err(error) = self.store.mark_deleted(job).await {
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
    pub(crate) async fn file(&self, id: &str, job: Option<Uuid>) -> Result<ExportFile, StoreError> {
        match job {
            Some(job) => files::of_job(&self.store, &self.files, job, id, now()).await,
            None => files::of_any_job(&self.store, &self.files, id, now()).await,
        }
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
            refused_writes: load(&self.refused_writes),
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

    async fn look(&self, keep: Option<i64>) -> Result<Todo, StoreError> {
        let listing = self.store.list().await?;
        let Listing { jobs, marked, .. } = &listing;
        let is_held = |job: &Uuid| self.held.lock().get(job).is_some_and(|until| *until > now());
        let mut todo = Todo { obsolete: marked.iter().copied().filter(|job| !is_held(job)).collect(), ..Todo::default() };
        let mut unfinished = BTreeMap::new();
        self.seen.lock().retain(|job, _| jobs.contains(job));
        let latest = keep.map(|keep| now().saturating_sub(keep));
        for job in jobs.iter().copied() {
            let known = self.seen.lock().get(&job).cloned();
            let (owner, state) = match known {
                _ if marked.contains(&job) => (known.map(|known| known.owner).unwrap_or_default(), State::Deleted),
                Some(Progress { owner, finished_at: Some(at), .. }) => (owner, State::Finished(at)),
                Some(Progress { finished_at: None, .. }) | None => match self.read(job).await? {
                    Some(plan) => {
                        let (owner, finished_at) = (plan.asked_by.clone(), plan.finished_at);
                        self.seen.lock().insert(job, Progress::of(&plan));
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
        todo.listing = listing;
        Ok(todo)
    }

    /// Reads a plan; `None` when it is gone, set aside because it is damaged, or of another version.
    async fn read(&self, job: Uuid) -> Result<Option<Plan>, StoreError> {
        match self.store.load_any(job).await {
            // A process of another version may be working on it.
            Err(StoreError::Plan(PlanError::Version(_))) => Ok(None),
            Err(error @ (StoreError::Plan(_) | StoreError::OtherJob)) => {
                warn!("the plan of export {job} is set aside: {error}");
                self.store.set_aside(job).await?;
                Ok(None)
            }
            read => read,
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
