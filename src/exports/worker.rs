//! The worker: a background service that carries out exports, for each site one OpenEMR job after the other.
//!
//! The plans on disk are its only memory. It looks the site up again before each step, so that a reload takes effect with the
//! next one. A process that drains begins no step and leaves the rest to the next process.
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
use crate::openemr::export::files::LONGEST_JOB;
use crate::openemr::export::owner::Owner;
use crate::openemr::export::plan::{Plan, Step};
use crate::openemr::export::state::Cause;
use crate::site::lifecycle::Lifecycle;
use crate::site::prepared::Site;
use crate::site::runtime::Runtime;
use crate::smart::refresher::TokenTasks;

/// How often the folders are read: another process may have added a job or released the lock.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long, in milliseconds, OpenEMR or its token endpoint may be unreachable before the export of a type fails.
const PATIENCE_MS: i64 = 5 * 60 * 1000;
/// The first pause after a step that could not be done; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Carries out the exports of all sites.
pub(crate) struct Worker {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Arc<ArcSwap<Runtime>>,
    exports: Arc<Exports>,
    tokens: TokenTasks,
    lifecycle: Arc<Lifecycle>,
    /// The names of the sites with a running shift.
    busy: Mutex<HashSet<String>>,
}

/// The work for one site, until there is none left.
struct Shift<'a> {
    shared: &'a Shared,
    name: &'a str,
    jobs: &'a Arc<Jobs>,
}

/// The outcome of one step of an export.
enum StepOutcome {
    /// The plan has changed; the next step follows.
    Done,
    /// Nothing could be done; the step is tried again after a pause.
    Retry(Cause),
}

impl Worker {
    /// A worker for the sites of the current runtime, whichever that is.
    #[must_use]
    pub(crate) fn new(
        runtime: Arc<ArcSwap<Runtime>>,
        exports: Arc<Exports>,
        tokens: TokenTasks,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
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
                        let at_work = AtWork { shared: &shared, name: &name };
                        shared.work_for(&name).await;
                        drop(at_work);
                    });
                }
            }
            tokio::select! {
                () = self.shared.exports.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = shutdown.changed() => break,
            }
            while shifts.try_join_next().is_some() {}
        }
        // Each shift ends with the request that it has in flight.
        while shifts.join_next().await.is_some() {}
    }
}

/// A site whose exports are worked on; a shift that panics ends it too, and the next look begins another one.
struct AtWork<'a> {
    shared: &'a Shared,
    name: &'a str,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.shared.busy.lock().remove(self.name);
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
            // Another process does it.
            Ok(None) => {}
            Err(error) => warn!("site {name}: the folder of its exports cannot be locked: {error}"),
        }
    }
}

impl Shift<'_> {
    /// Works until there is nothing to do or the process drains.
    async fn work(&self) {
        // Owners take turns: one with many exports does not keep the others waiting.
        let mut served: Vec<Owner> = Vec::new();
        // The first look finds jobs that another process has begun.
        let mut is_first = true;
        while let Some(site) = self.shared.site(self.name).filter(|_| !self.shared.lifecycle.is_draining()) {
            let todo = match self.jobs.todo(keep(&site)).await {
                Ok(todo) => todo,
                Err(error) => return warn!("site {}: the folder of its exports cannot be read: {error}", self.name),
            };
            for job in &todo.obsolete {
                self.remove(&site, *job).await;
            }
            if std::mem::take(&mut is_first) {
                if self.recover(todo).await {
                    continue;
                }
                return;
            }
            let Some(plan) = next(todo.unfinished, &served) else { return };
            served.retain(|owner| *owner != plan.asked_by);
            served.push(plan.asked_by.clone());
            if !self.export(plan).await {
                return;
            }
        }
    }

    /// Prepares jobs that another process has begun to be continued; false when a plan cannot be written.
    async fn recover(&self, todo: Todo) -> bool {
        for mut plan in todo.unfinished {
            if plan.recover(now()) {
                info!("site {}: export {} goes on; the type that was being exported has failed", self.name, plan.job);
                if !self.save(&plan).await {
                    return false;
                }
            }
        }
        true
    }

    /// Exports one type after the other; false when this process can do no more for the site now.
    async fn export(&self, mut plan: Plan) -> bool {
        let (mut pause, mut failing_since) = (FIRST_PAUSE, None);
        loop {
            let step = plan.step();
            if step == Step::Finished {
                let failed = plan.types.iter().filter(|one| one.is_failed()).count();
                self.jobs.note_parts(plan.types.len() - failed, failed);
                info!("site {}: export {} is at its end, {failed} of {} parts failed", self.name, plan.job, plan.types.len());
                return true;
            }
            if self.jobs.is_deleted(plan.job).await {
                return true;
            }
            // Counted as a request, so that the process does not end in the middle of a step.
            let in_flight = self.shared.lifecycle.request();
            let Some(site) = self.shared.site(self.name).filter(|_| !self.shared.lifecycle.is_draining()) else { return false };
            let (index, outcome) = match step {
                Step::KickOff(index) => (index, self.kick_off(&site, &mut plan, index).await),
                Step::Ask(index, job) => (index, self.ask_progress(&site, &mut plan, index, &job).await),
                Step::Finished => return true,
            };
            drop(in_flight);
            match outcome {
                Some(StepOutcome::Done) => (pause, failing_since) = (FIRST_PAUSE, None),
                Some(StepOutcome::Retry(cause)) => {
                    let since = *failing_since.get_or_insert(now());
                    let patience = if cause == Cause::Endless { LONGEST_JOB } else { PATIENCE_MS };
                    if now().saturating_sub(since) > patience {
                        plan.failed(index, cause, now());
                        if !self.save(&plan).await {
                            return false;
                        }
                        (pause, failing_since) = (FIRST_PAUSE, None);
                        continue;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                        // The job may have been deleted.
                        () = self.shared.exports.changed() => {}
                    }
                }
                None => return false,
            }
        }
    }

    /// Kicks off the export of one type. `None` when the plan cannot be written: without it, no process could tell later what
    /// OpenEMR was asked for.
    async fn kick_off(&self, site: &Site, plan: &mut Plan, index: usize) -> Option<StepOutcome> {
        let one = plan.types.get(index)?.clone();
        let tokens = &self.shared.tokens;
        let token = match openemr::narrow_token(tokens, site, &one).await {
            Ok(token) => token,
            Err(None) => return Some(StepOutcome::Retry(Cause::NoToken)),
            Err(Some(cause)) => {
                plan.failed(index, cause, now());
                return self.save(plan).await.then_some(StepOutcome::Done);
            }
        };
        plan.kicked_off(index, now());
        if !self.save(plan).await {
            return None;
        }
        let kicked_off = openemr::kick_off(tokens, site, plan, &one, &token).await;
        let outcome = match kicked_off {
            KickedOff::NotSent => {
                plan.not_begun(index, now());
                StepOutcome::Retry(Cause::Unreachable)
            }
            KickedOff::Accepted(job) => {
                plan.accepted(index, job, now());
                StepOutcome::Done
            }
            KickedOff::NotExported(status) => {
                plan.not_exported(index, status, now());
                StepOutcome::Done
            }
            KickedOff::Failed(cause) => {
                warn!("site {}: export of {one} failed: {cause}", self.name);
                plan.failed(index, cause, now());
                StepOutcome::Done
            }
        };
        self.save(plan).await.then_some(outcome)
    }

    /// Asks OpenEMR how far the job of one type is. `None` when the plan cannot be written.
    async fn ask_progress(&self, site: &Site, plan: &mut Plan, index: usize, job: &str) -> Option<StepOutcome> {
        let one = plan.types.get(index)?.clone();
        match openemr::progress(site, job, &one).await {
            Progress::Working => return Some(StepOutcome::Retry(Cause::Endless)),
            Progress::Unknown => return Some(StepOutcome::Retry(Cause::Unreachable)),
            Progress::Ended(ended) => plan.done(index, ended, now()),
            Progress::Failed(cause) => {
                warn!("site {}: export of {one} failed: {cause}", self.name);
                plan.failed(index, cause, now());
            }
        }
        self.save(plan).await.then_some(StepOutcome::Done)
    }

    /// Writes a plan; false when that fails, as on a full disk, and the work stops until the next look.
    async fn save(&self, plan: &Plan) -> bool {
        match self.jobs.save(plan).await {
            Ok(()) => true,
            Err(error) => {
                warn!("site {}: the plan of export {} cannot be written: {error}", self.name, plan.job);
                false
            }
        }
    }

    /// Makes OpenEMR delete the files of a job, and removes the job. One with a filter stays for as long as there could be files
    /// all the same: nobody could tell later that a client must not get all of them.
    async fn remove(&self, site: &Site, job: uuid::Uuid) {
        let plan = self.jobs.plan(job).await.ok().flatten();
        let held_until = plan.as_ref().and_then(|plan| plan.withholds_until(now())).filter(|until| *until > now());
        if !self.jobs.was_held(job) {
            // OpenEMR has deleted files that are older than an hour.
            let with_files = plan.filter(|plan| plan.files_end_at().is_none_or(|end| end > now()));
            for openemr_job in with_files.iter().flat_map(Plan::openemr_jobs) {
                openemr::delete(site, openemr_job).await;
            }
            info!("site {}: export {job} is deleted", self.name);
            if let Some(until) = held_until {
                return self.jobs.hold(job, until).await;
            }
        }
        self.jobs.remove(job).await;
    }
}

/// The export to work on: one that was begun, or else the oldest of the owner who was served longest ago. `served`: the owners,
/// the latest last.
fn next(unfinished: Vec<Plan>, served: &[Owner]) -> Option<Plan> {
    unfinished.into_iter().min_by_key(|plan| {
        let turn = served.iter().position(|owner| *owner == plan.asked_by).map_or(0, |position| position + 1);
        (plan.transaction_time.is_none(), turn, plan.asked_at)
    })
}

/// How long finished jobs are kept, in milliseconds.
fn keep(site: &Site) -> i64 {
    i64::try_from(site.config.answers.bulk_data.keep.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::export_level::Level;
    use crate::openemr::export::kick_off::KickOff;
    use uuid::Uuid;

    fn plan(job: u128, owner: u8, asked_at: i64) -> Plan {
        let kick_off = KickOff {
            level: Level::System,
            types: vec![("Patient", true)],
            provenance_of: Vec::new(),
            since: None,
            filters: Vec::new(),
            left_out: Vec::new(),
        };
        Plan::new(Uuid::from_u128(job), kick_off, String::new(), Owner::at(Some([10, 0, 0, owner].into())), asked_at)
    }

    #[test]
    fn owners_take_turns() {
        let (mut waiting, mut served, mut order) = (Vec::new(), Vec::new(), Vec::new());
        for job in 0..8 {
            waiting.push(plan(job, 1, i64::try_from(job).unwrap_or_default()));
        }
        waiting.push(plan(100, 2, 100));
        waiting.push(plan(101, 2, 101));
        waiting.push(plan(200, 3, 200));
        while let Some(one) = next(waiting.clone(), &served) {
            waiting.retain(|plan| plan.job != one.job);
            served.retain(|owner| *owner != one.asked_by);
            served.push(one.asked_by.clone());
            order.push(one.job.as_u128());
        }
        assert_eq!(order, [0, 100, 200, 1, 101, 2, 3, 4, 5, 6, 7]);
        let mut begun = plan(9, 1, 9);
        begun.kicked_off(0, 10);
        let (_, served) = (begun.accepted(0, "j".to_owned(), 11), [begun.asked_by.clone()]);
        assert_eq!(next(vec![plan(100, 2, 1), begun.clone()], &served), Some(begun));
    }
}
