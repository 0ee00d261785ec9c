//! The work on one site's exports, until there is none left.
//!
//! Decisions: `docs/decisions/21-bulk-export.md`, `docs/decisions/57-export-leases.md`.

use std::sync::Arc;
use std::time::Duration;

use log::{info, warn};
use tokio::time::sleep;
use uuid::Uuid;

use crate::exports::jobs::{Jobs, Todo, now};
use crate::exports::means::Means;
use crate::exports::openemr::{self, KickedOff, Progress};
use crate::exports::store::Lease;
use crate::exports::store_error::StoreError;
use crate::openemr::export::files::{FILES_LIVE, LONGEST_JOB};
use crate::openemr::export::owner::Owner;
use crate::openemr::export::plan::{Plan, Step};
use crate::openemr::export::state::Cause;
use crate::site::prepared::Site;

/// How long, in milliseconds, OpenEMR or its token endpoint may be unreachable before the export of a type fails.
const PATIENCE_MS: i64 = 5 * 60 * 1000;
/// The first pause after a step that could not be done; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The pause before a plan is written again while the shared store is away.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// How often it is looked whether the site keeps its plans elsewhere by now, or the process drains, while nothing can be written.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often a plan is written again in vain while the process drains.
const LAST_TRIES: u32 = 5;

/// The work for one site, by the process that has the lease.
pub(super) struct Shift<'a> {
    pub(super) means: &'a Means,
    pub(super) name: &'a str,
    pub(super) jobs: &'a Arc<Jobs>,
    pub(super) lease: &'a Lease,
}

/// The outcome of one step of an export.
enum StepOutcome {
    /// The plan has changed; the next step follows.
    Done,
    /// Nothing could be done; the step is tried again after a pause.
    Retry(Cause),
}

impl Shift<'_> {
    /// Works until there is nothing to do or the process drains.
    pub(super) async fn work(&self) {
        // Owners take turns: one with many exports does not keep the others waiting.
        let mut served: Vec<Owner> = Vec::new();
        // The first look finds jobs that another process has begun.
        let mut is_first = true;
        while let Some(site) = self.site() {
            if !self.may_go_on().await {
                return;
            }
            let todo = match self.jobs.todo(keep(&site)).await {
                Ok(todo) => todo,
                Err(error) => return warn!("site {}: the plans of its exports cannot be read: {error}", self.name),
            };
            for job in &todo.obsolete {
                if !self.remove(&site, *job).await {
                    return;
                }
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

    /// The site as it is now; `None` when this process is to do no more for it: it ends, or the plans are kept elsewhere by now.
    fn site(&self) -> Option<Arc<Site>> {
        self.means.site_to_work_on(self.name).filter(|site| self.jobs.store().is_of(site))
    }

    /// Waits while the lease may have run out because the shared store is away: nothing is sent to OpenEMR meanwhile. False when another
    /// gateway has the lease, or this process ends.
    async fn may_go_on(&self) -> bool {
        let is_over = async {
            while self.site().is_some() {
                sleep(LOOK_AGAIN).await;
            }
        };
        tokio::select! {
            biased;
            is_held = self.lease.is_held() => is_held,
            () = is_over => false,
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
            if !self.may_go_on().await {
                return false;
            }
            // Counted as a request, so that the process does not end in the middle of a step.
            let in_flight = self.means.lifecycle.request();
            let Some(site) = self.site() else { return false };
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
                        () = self.means.exports.changed() => {}
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
        let tokens = &self.means.tokens;
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
        if !self.lease.is_running() {
            // The process stood still since the plan was written, and another may have gone on.
            plan.not_begun(index, now());
            return self.save(plan).await.then_some(StepOutcome::Retry(Cause::Unreachable));
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

    /// Writes a plan; false when that fails, as on a full disk, and the work stops until the next look. While the shared store is away,
    /// it is written again and again: what OpenEMR answered is not to be lost.
    async fn save(&self, plan: &Plan) -> bool {
        let (mut was_away, mut last_tries) = (false, 0);
        loop {
            match self.jobs.save(self.lease, plan).await {
                Ok(()) => {
                    if was_away {
                        info!("site {}: the plan of export {} is written, and the work goes on", self.name, plan.job);
                    }
                    return true;
                }
                Err(error)
                    if error.is_temporary() && self.means.site(self.name).is_some_and(|site| self.jobs.store().is_of(&site)) =>
                {
                    if !std::mem::replace(&mut was_away, true) {
                        warn!("site {}: the plan of export {} cannot be written yet: {error}", self.name, plan.job);
                    }
                    last_tries += u32::from(self.means.lifecycle.is_draining());
                    if last_tries > LAST_TRIES {
                        warn!("site {}: the plan of export {} is not written before the end of the process", self.name, plan.job);
                        return false;
                    }
                    sleep(WRITE_AGAIN).await;
                }
                Err(StoreError::LeaseLost) => {
                    warn!(
                        "site {}: the plan of export {} is not written: another gateway has the lease by now, or the store has lost its data",
                        self.name, plan.job
                    );
                    return false;
                }
                Err(error) => {
                    warn!("site {}: the plan of export {} cannot be written: {error}", self.name, plan.job);
                    return false;
                }
            }
        }
    }

    /// Makes OpenEMR delete the files of a job, and removes the job. One with a filter stays for as long as there could be files
    /// all the same: nobody could tell later that a client must not get all of them.
    ///
    /// False when the work cannot go on now: the shared store is away, or another gateway has the lease.
    async fn remove(&self, site: &Site, job: Uuid) -> bool {
        let plan = match self.jobs.plan(job).await {
            Ok(plan) => plan,
            // Without its plan nobody knows what to delete at OpenEMR.
            Err(error) if error.is_temporary() => return false,
            // It may have a filter: the raw files stay withheld for as long as OpenEMR may have them.
            Err(_) if !self.jobs.was_held(job) => {
                self.jobs.hold(job, now().saturating_add(FILES_LIVE + LONGEST_JOB)).await;
                return true;
            }
            Err(_) => None,
        };
        let held_until = plan.as_ref().and_then(|plan| plan.withholds_until(now())).filter(|until| *until > now());
        if !self.jobs.was_held(job) {
            // OpenEMR has deleted files that are older than an hour.
            let with_files = plan.filter(|plan| plan.files_end_at().is_none_or(|end| end > now()));
            for openemr_job in with_files.iter().flat_map(Plan::openemr_jobs) {
                openemr::delete(site, openemr_job).await;
            }
            info!("site {}: export {job} is deleted", self.name);
            if let Some(until) = held_until {
                self.jobs.hold(job, until).await;
                return true;
            }
        }
        match self.jobs.remove(self.lease, job).await {
            Ok(()) => true,
            Err(error) => {
                warn!("site {}: the deleted export {job} cannot be removed yet: {error}", self.name);
                false
            }
        }
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
pub(super) fn keep(site: &Site) -> i64 {
    i64::try_from(site.config.answers.bulk_data.keep.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openemr::export::plan::tests;

    fn plan(job: u128, owner: u8, asked_at: i64) -> Plan {
        let mut plan = tests::plan(&[("Patient", true)]);
        plan.job = Uuid::from_u128(job);
        (plan.asked_by, plan.asked_at) = (Owner::at(Some([10, 0, 0, owner].into())), asked_at);
        plan
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
