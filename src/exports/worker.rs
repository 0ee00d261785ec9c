//! The work on exports: a background service, which for each site does one OpenEMR job after the other.
//!
//! What is to be done stands on the disk alone. A site is looked up anew before each step, so that a reload changes how the
//! next one is done; a process that is on its way out begins no step, and leaves the rest to its successor.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use log::{info, warn};
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::task::JoinSet;

use crate::exports::jobs::{Exports, Jobs, Todo, now};
use crate::exports::openemr::{self, KickedOff, Progress};
use crate::openemr::export::plan::{Plan, Step};
use crate::openemr::export::state::Cause;
use crate::site::lifecycle::Lifecycle;
use crate::site::prepared::Site;
use crate::site::runtime::Runtime;
use crate::smart::refresher::TokenTasks;

/// How often the folders are looked at: another process may have added a job, or let go of the lock.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long OpenEMR or its token endpoint may be out of reach before a type is given up.
const PATIENCE_MS: i64 = 5 * 60 * 1000;
/// How long OpenEMR's job may say that it is not at its end.
const LONGEST_JOB_MS: i64 = 15 * 60 * 1000;
/// Between two questions that have got no good answer, at first; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest wait between two questions.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The background service.
pub struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Arc<ArcSwap<Runtime>>,
    exports: Arc<Exports>,
    tokens: TokenTasks,
    lifecycle: Arc<Lifecycle>,
    /// The sites that are worked for, by name.
    busy: Mutex<HashSet<String>>,
}

/// One site's work, for as long as there is some.
struct Shift<'a> {
    shared: &'a Shared,
    name: &'a str,
    jobs: &'a Arc<Jobs>,
}

/// How a step of a job went.
enum Went {
    /// The plan has changed; it goes on with the next step.
    On,
    /// Nothing could be done; it is to be tried again after a while.
    Later(Cause),
}

impl Worker {
    /// A worker for the sites of this runtime, and of those that take its place.
    #[must_use]
    pub fn new(runtime: Arc<ArcSwap<Runtime>>, exports: Arc<Exports>, tokens: TokenTasks, lifecycle: Arc<Lifecycle>) -> Self {
        Self { shared: Arc::new(Shared { runtime, exports, tokens, lifecycle, busy: Mutex::default() }) }
    }
}

#[async_trait]
impl BackgroundService for Worker {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut shifts = JoinSet::new();
        loop {
            for site in &self.shared.runtime.load().sites {
                let name = site.name().to_owned();
                if site.config.answers.repairs.bulk_data && self.shared.busy.lock().insert(name.clone()) {
                    let shared = Arc::clone(&self.shared);
                    shifts.spawn(async move {
                        shared.work_for(&name).await;
                        shared.busy.lock().remove(&name);
                    });
                }
            }
            tokio::select! {
                () = self.shared.exports.news.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = shutdown.changed() => break,
            }
            while shifts.try_join_next().is_some() {}
        }
        // Each is at its end with the request that it has under way.
        while shifts.join_next().await.is_some() {}
    }
}

impl Shared {
    fn site(&self, name: &str) -> Option<Arc<Site>> {
        let runtime = self.runtime.load();
        runtime.sites.iter().find(|site| site.name() == name && site.config.answers.repairs.bulk_data).map(Arc::clone)
    }

    async fn work_for(&self, name: &str) {
        let Some(site) = self.site(name) else { return };
        let jobs = self.exports.of(&site.config);
        match jobs.todo(keep(&site)).await {
            Ok(todo) if todo.is_empty() => return,
            Ok(_) => {}
            Err(error) => return warn!("site {name}: the folder of its exports cannot be read: {error}"),
        }
        match jobs.lock().await {
            Ok(Some(_lock)) => Shift { shared: self, name, jobs: &jobs }.work().await,
            // Another process is at it.
            Ok(None) => {}
            Err(error) => warn!("site {name}: the folder of its exports cannot be locked: {error}"),
        }
    }
}

impl Shift<'_> {
    /// Works until there is nothing to do, or the process is on its way out.
    async fn work(&self) {
        // Those that this process has not begun itself.
        let mut is_first = true;
        while let Some(site) = self.shared.site(self.name).filter(|_| !self.shared.lifecycle.is_draining()) {
            let todo = match self.jobs.todo(keep(&site)).await {
                Ok(todo) => todo,
                Err(error) => return warn!("site {}: the folder of its exports cannot be read: {error}", self.name),
            };
            for job in &todo.obsolete {
                self.forget(&site, *job).await;
            }
            if std::mem::take(&mut is_first) {
                if self.recover(todo).await {
                    continue;
                }
                return;
            }
            let Some(plan) = todo.unfinished.into_iter().next() else { return };
            if !self.export(plan).await {
                return;
            }
        }
    }

    /// Goes on where another process has ended. Whether the plans could be kept.
    async fn recover(&self, todo: Todo) -> bool {
        for mut plan in todo.unfinished {
            if plan.recover(now()) {
                info!("site {}: export {} goes on; the type that was under way is given up", self.name, plan.job);
                if !self.keep(&plan).await {
                    return false;
                }
            }
        }
        true
    }

    /// Exports type after type. Whether there may be more to do.
    async fn export(&self, mut plan: Plan) -> bool {
        let (mut pause, mut in_vain_since) = (FIRST_PAUSE, None);
        loop {
            let step = plan.step();
            if step == Step::Finished {
                let failed = plan.types.iter().filter(|one| one.is_failed()).count();
                info!("site {}: export {} is at its end, {failed} of {} types failed", self.name, plan.job, plan.types.len());
                return true;
            }
            if self.jobs.is_deleted(plan.job).await {
                return true;
            }
            // Counted as a request, so that the process does not end in the middle of it.
            let _under_way = self.shared.lifecycle.request();
            let Some(site) = self.shared.site(self.name).filter(|_| !self.shared.lifecycle.is_draining()) else { return false };
            let (index, went) = match step {
                Step::KickOff(index) => (index, self.kick_off(&site, &mut plan, index).await),
                Step::Ask(index, job) => (index, self.ask(&site, &mut plan, index, &job).await),
                Step::Finished => return true,
            };
            drop(_under_way);
            match went {
                Some(Went::On) => (pause, in_vain_since) = (FIRST_PAUSE, None),
                Some(Went::Later(cause)) => {
                    let since = *in_vain_since.get_or_insert(now());
                    let patience = if cause == Cause::Endless { LONGEST_JOB_MS } else { PATIENCE_MS };
                    if now().saturating_sub(since) > patience {
                        plan.failed(index, cause, now());
                        if !self.keep(&plan).await {
                            return false;
                        }
                        (pause, in_vain_since) = (FIRST_PAUSE, None);
                        continue;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        // Perhaps this job was deleted.
                        () = self.shared.exports.news.notified() => {}
                    }
                }
                None => return false,
            }
        }
    }

    /// `None` when the plan cannot be kept: then nothing more is begun, because nobody could tell what was.
    async fn kick_off(&self, site: &Site, plan: &mut Plan, index: usize) -> Option<Went> {
        let name = plan.types.get(index)?.name.clone();
        let tokens = &self.shared.tokens;
        let token = match openemr::narrow_token(tokens, site, &name).await {
            Ok(token) => token,
            Err(None) => return Some(Went::Later(Cause::NoToken)),
            Err(Some(cause)) => {
                plan.failed(index, cause, now());
                return self.keep(plan).await.then_some(Went::On);
            }
        };
        plan.kicked_off(index, now());
        if !self.keep(plan).await {
            return None;
        }
        let kicked_off = openemr::kick_off(tokens, site, plan, &name, &token).await;
        let went = match kicked_off {
            KickedOff::NotSent => {
                plan.not_begun(index, now());
                Went::Later(Cause::Unreachable)
            }
            KickedOff::Accepted(job) => {
                plan.accepted(index, job, now());
                Went::On
            }
            KickedOff::NotExported(status) => {
                plan.not_exported(index, status, now());
                Went::On
            }
            KickedOff::Failed(cause) => {
                warn!("site {}: export of {name} failed: {cause}", self.name);
                plan.failed(index, cause, now());
                Went::On
            }
        };
        self.keep(plan).await.then_some(went)
    }

    async fn ask(&self, site: &Site, plan: &mut Plan, index: usize, job: &str) -> Option<Went> {
        let name = plan.types.get(index)?.name.clone();
        match openemr::progress(site, job, &name).await {
            Progress::Working => return Some(Went::Later(Cause::Endless)),
            Progress::Unknown => return Some(Went::Later(Cause::Unreachable)),
            Progress::Ended(ended) => plan.done(index, ended.files, ended.errors, ended.began, now()),
            Progress::Failed(cause) => {
                warn!("site {}: export of {name} failed: {cause}", self.name);
                plan.failed(index, cause, now());
            }
        }
        self.keep(plan).await.then_some(Went::On)
    }

    /// Keeps a plan. A disk that is full stops the work until the next look.
    async fn keep(&self, plan: &Plan) -> bool {
        match self.jobs.save(plan).await {
            Ok(()) => true,
            Err(error) => {
                warn!("site {}: the plan of export {} cannot be written: {error}", self.name, plan.job);
                false
            }
        }
    }

    /// Has OpenEMR forget a job's files, and forgets it.
    async fn forget(&self, site: &Site, job: uuid::Uuid) {
        let plan = self.jobs.plan(job).await.ok().flatten();
        // Files that are an hour old are gone already.
        let plan = plan.filter(|plan| plan.files_end_at().is_none_or(|end| end > now()));
        for openemr_job in plan.iter().flat_map(Plan::openemr_jobs) {
            openemr::delete(site, openemr_job).await;
        }
        self.jobs.remove(job).await;
        info!("site {}: export {job} is forgotten", self.name);
    }
}

fn keep(site: &Site) -> i64 {
    i64::try_from(site.config.answers.bulk_data.keep.as_millis()).unwrap_or(i64::MAX)
}
