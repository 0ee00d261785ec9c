//! What the answers to callers and the work in the background share: the jobs of each site.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use log::warn;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::config;
use crate::exports::store::{FolderLock, Listing, Store};
use crate::openemr::export::plan::Plan;

/// More exports than this are not taken on before one of them has come to its end.
const MOST_UNFINISHED: usize = 8;
/// More exports than this are not known, the finished ones included.
const MOST_KNOWN: usize = 1000;

/// The exports of all sites.
#[derive(Debug, Default)]
pub struct Exports {
    sites: Mutex<HashMap<PathBuf, Arc<Jobs>>>,
    /// Told when there is something to do, or to do otherwise.
    pub(crate) news: Notify,
}

/// The exports of one site.
#[derive(Debug)]
pub(crate) struct Jobs {
    store: Store,
    /// Those that have come to their end, which need no look at their files: when that was.
    finished: Mutex<HashMap<Uuid, i64>>,
    /// Held to count and to add, so that the count is true.
    adding: Mutex<()>,
}

/// What there is to do for a site.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// To be worked on, in the order in which they came.
    pub(crate) unfinished: Vec<Plan>,
    /// To be forgotten: deleted by callers, or too old.
    pub(crate) obsolete: Vec<Uuid>,
    /// How many jobs there are in all.
    known: usize,
}

impl Todo {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.unfinished.is_empty() && self.obsolete.is_empty()
    }
}

/// A job that was not taken on: too many are under way.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Exports {
    /// The jobs of a site.
    pub(crate) fn of(&self, site: &config::Site) -> Arc<Jobs> {
        let store = Store::of(site);
        let mut sites = self.sites.lock();
        Arc::clone(
            sites
                .entry(store.folder().to_owned())
                .or_insert_with(|| Arc::new(Jobs { store, finished: Mutex::default(), adding: Mutex::default() })),
        )
    }
}

impl Jobs {
    /// Where their plans are.
    pub(crate) fn folder(&self) -> &Path {
        self.store.folder()
    }

    /// Takes a job on, unless too many are under way.
    pub(crate) async fn add(self: &Arc<Self>, plan: Plan) -> io::Result<Result<(), TooMany>> {
        self.blocking(move |jobs| {
            let _adding = jobs.adding.lock();
            let todo = jobs.look(None)?;
            if todo.unfinished.len() >= MOST_UNFINISHED || todo.known >= MOST_KNOWN {
                return Ok(Err(TooMany));
            }
            jobs.store.save(&plan).map(Ok)
        })
        .await
    }

    /// The plan of a job that callers may know of.
    pub(crate) async fn find(self: &Arc<Self>, job: Uuid) -> io::Result<Option<Plan>> {
        self.blocking(move |jobs| jobs.store.load(job)).await
    }

    /// Has a job deleted; `false` when there is none.
    pub(crate) async fn delete(self: &Arc<Self>, job: Uuid) -> io::Result<bool> {
        self.blocking(move |jobs| match jobs.store.load(job) {
            Ok(None) => Ok(false),
            // A damaged one, too.
            Ok(Some(_)) | Err(_) => jobs.store.mark_deleted(job).map(|()| true),
        })
        .await
    }

    /// What there is to do. Finished jobs are kept for `keep` milliseconds.
    pub(crate) async fn todo(self: &Arc<Self>, keep: i64) -> io::Result<Todo> {
        self.blocking(move |jobs| jobs.look(Some(keep))).await
    }

    /// Takes the work for this process; `None` when another one has it.
    pub(crate) async fn lock(self: &Arc<Self>) -> io::Result<Option<FolderLock>> {
        self.blocking(|jobs| jobs.store.lock()).await
    }

    /// Keeps a plan that has changed. The lock is held.
    pub(crate) async fn save(self: &Arc<Self>, plan: &Plan) -> io::Result<()> {
        let plan = plan.clone();
        self.blocking(move |jobs| jobs.store.save(&plan)).await
    }

    /// A plan, also of a job that is being deleted. The lock is held.
    pub(crate) async fn plan(self: &Arc<Self>, job: Uuid) -> io::Result<Option<Plan>> {
        self.blocking(move |jobs| jobs.store.load_any(job)).await
    }

    /// Whether a caller wants a job deleted.
    pub(crate) async fn is_deleted(self: &Arc<Self>, job: Uuid) -> bool {
        self.blocking(move |jobs| Ok(jobs.store.is_marked(job))).await.unwrap_or(false)
    }

    /// Forgets a job. The lock is held.
    pub(crate) async fn remove(self: &Arc<Self>, job: Uuid) {
        let removed = self.blocking(move |jobs| {
            jobs.store.remove(job);
            jobs.finished.lock().remove(&job);
            Ok(())
        });
        drop(removed.await);
    }

    fn look(&self, keep: Option<i64>) -> io::Result<Todo> {
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
                    // Another version's, whose process may be at work.
                    Err(error) if error.kind() == ErrorKind::Unsupported => None,
                    Err(error) if error.kind() == ErrorKind::InvalidData => {
                        warn!("the plan of an export, {job}, is set aside: it {error}");
                        self.store.set_aside(job);
                        None
                    }
                    Err(error) => return Err(error),
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

    /// The disk may be slow; requests are not to wait for it.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let jobs = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&jobs)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
