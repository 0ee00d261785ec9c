//! The plan of a bulk export: the client has one job, and OpenEMR one for each resource type. Times are passed in, in
//! milliseconds since 1970.
//!
//! A plan is stored on the disk and survives a restart. It holds ids and names of types, nothing about a patient.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fhir::export_level::Level;
use crate::fhir::id::is_path_id;
use crate::fhir::instant;
use crate::fhir::resource_type;
use crate::openemr::export::kick_off::{KickOff, LeftOut};
use crate::openemr::export::owner::Owner;
use crate::openemr::export::state::{Cause, State, TypePlan};

/// The largest stored plan, in bytes.
pub(crate) const MAX_PLAN: usize = 4 * 1024 * 1024;
/// The version of the stored form. Version 1 had no owner.
const VERSION: u32 = 2;
/// The most files of one type; a manifest with more is taken for broken.
const MAX_FILES: usize = 100;
/// The longest URL of a kick-off, in bytes.
pub(crate) const MAX_URL: usize = 16 * 1024;
/// How long OpenEMR keeps the files of a job after the kick-off, in milliseconds.
const FILES_LIVE: i64 = 60 * 60 * 1000;

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    version: u32,
    /// The id of the client's job.
    pub(crate) job: Uuid,
    /// The time of the client's kick-off.
    pub(crate) asked_at: i64,
    /// Who kicked it off.
    #[serde(default)]
    pub(crate) asked_by: Owner,
    /// The level, which says whose data is exported.
    pub(crate) level: Level,
    /// The URL of the kick-off, without the parameters that were left out.
    pub(crate) request: String,
    /// A FHIR instant: only what changed since then is exported.
    pub(crate) since: Option<String>,
    /// What was left out.
    pub(crate) left_out: Vec<LeftOut>,
    /// The types, in the order in which they are exported.
    pub(crate) types: Vec<TypePlan>,
    /// The time up to which all changes are in the export: that of the first kick-off, or an earlier one at which a job began by
    /// OpenEMR's clock.
    pub(crate) transaction_time: Option<i64>,
    /// The time at which the last type ended.
    pub(crate) finished_at: Option<i64>,
}

/// The reason why a stored plan cannot be read. The text goes on from the name of the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// Larger than [`MAX_PLAN`].
    #[error("is larger than {MAX_PLAN} bytes")]
    TooLarge,
    /// Not the JSON of a plan.
    #[error("is no plan of an export (line {}, column {})", .0.line(), .0.column())]
    Json(#[from] serde_json::Error),
    /// Written by another version of the gateway.
    #[error("is of version {0}, which this gateway does not know")]
    Version(u32),
    /// A value that no plan has.
    #[error("is damaged")]
    Damaged,
}

/// The next step of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Kick off the type at this index.
    KickOff(usize),
    /// Ask OpenEMR for the status of this job, which is of the type at this index.
    Ask(usize, String),
    /// Every type has ended.
    Finished,
}

impl Plan {
    /// Makes a plan of a kick-off, whose URL is `request`. Every type waits.
    #[must_use]
    pub(crate) fn new(job: Uuid, kick_off: KickOff, request: String, asked_by: Owner, now: i64) -> Self {
        let types =
            kick_off.types.into_iter().map(|(name, named)| TypePlan { name: name.to_owned(), named, state: State::Waiting });
        Self {
            version: VERSION,
            job,
            asked_at: now,
            asked_by,
            level: kick_off.level,
            request,
            since: kick_off.since,
            left_out: kick_off.left_out,
            types: types.collect(),
            transaction_time: None,
            finished_at: None,
        }
    }

    /// Reads a stored plan.
    ///
    /// # Errors
    /// The bytes are not what this version of the gateway writes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        if bytes.len() > MAX_PLAN {
            return Err(PlanError::TooLarge);
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if !(1..=VERSION).contains(&version) {
            return Err(PlanError::Version(version));
        }
        let plan = Self { version: VERSION, ..serde_json::from_slice(bytes)? };
        if plan.is_sound() { Ok(plan) } else { Err(PlanError::Damaged) }
    }

    /// Writes the plan in its stored form.
    #[must_use]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan has string keys and finite numbers only")
    }

    fn is_sound(&self) -> bool {
        let are_ids = |ids: &[String]| ids.len() <= MAX_FILES && ids.iter().all(|id| is_path_id(id));
        let is_type = |name: &str| resource_type::known(name.as_bytes()).is_some();
        let is_left_out_sound = |left: &LeftOut| match left {
            LeftOut::NotGranted(name) | LeftOut::NotExported(name) => is_type(name),
            LeftOut::Parameter(name) => name.len() <= 32,
            LeftOut::UnknownParameter | LeftOut::UnknownType => true,
        };
        let is_level_sound = match &self.level {
            Level::Group(id) => is_path_id(id),
            Level::System | Level::Patient => true,
        };
        is_level_sound
            && self.request.len() <= MAX_URL
            && self.since.as_deref().is_none_or(|since| instant::parse(since).as_deref() == Some(since))
            && self.left_out.iter().all(is_left_out_sound)
            && !self.types.is_empty()
            && self.types.iter().all(|one| {
                is_type(&one.name)
                    && match &one.state {
                        State::Waiting | State::KickedOff { .. } | State::PassedOver => true,
                        State::Working { job, .. } => is_path_id(job),
                        State::Done { job, files, errors, .. } => is_path_id(job) && are_ids(files) && are_ids(errors),
                        State::Failed { job, .. } => job.as_deref().is_none_or(is_path_id),
                    }
            })
    }

    /// Returns the next step. Types are exported one after the other.
    #[must_use]
    pub(crate) fn step(&self) -> Step {
        let working = self.types.iter().enumerate().find_map(|(index, one)| match &one.state {
            State::Working { job, .. } => Some(Step::Ask(index, job.clone())),
            _ => None,
        });
        let waiting = || self.types.iter().position(|one| one.state == State::Waiting).map(Step::KickOff);
        working.or_else(waiting).unwrap_or(Step::Finished)
    }

    /// Ends, after a restart, a type whose kick-off was under way, and returns whether there was one. It is not kicked off again:
    /// OpenEMR may still be working on it, and would do the work twice.
    pub(crate) fn recover(&mut self, now: i64) -> bool {
        let is_under_way = |one: &&mut TypePlan| matches!(one.state, State::KickedOff { .. });
        let mut has_changed = false;
        for one in self.types.iter_mut().filter(is_under_way) {
            one.state = State::Failed { cause: Cause::Interrupted, job: None };
            has_changed = true;
        }
        self.finish_if_ended(now);
        has_changed
    }

    /// Records that the kick-off of a type is about to be sent.
    pub(crate) fn kicked_off(&mut self, index: usize, now: i64) {
        self.transaction_time.get_or_insert(now);
        self.change(index, now, |state| match state {
            State::Waiting => State::KickedOff { since: now },
            other => other,
        });
    }

    /// Records that a kick-off was not sent, or not accepted, so that it can be sent again.
    pub(crate) fn not_begun(&mut self, index: usize, now: i64) {
        self.change(index, now, |state| match state {
            State::KickedOff { .. } => State::Waiting,
            other => other,
        });
    }

    /// Records the job that OpenEMR gave to a kick-off.
    pub(crate) fn accepted(&mut self, index: usize, given: String, now: i64) {
        self.change(index, now, |state| match state {
            State::KickedOff { since } => State::Working { since, job: given },
            other => other,
        });
    }

    /// Records the Binaries of a finished job, which began at `began` by OpenEMR's clock.
    pub(crate) fn done(&mut self, index: usize, files: Vec<String>, errors: Vec<String>, began: Option<i64>, now: i64) {
        if files.len().max(errors.len()) > MAX_FILES {
            return self.failed(index, Cause::NotUnderstood, now);
        }
        if let (Some(began), Some(known)) = (began, self.transaction_time) {
            self.transaction_time = Some(known.min(began));
        }
        self.change(index, now, |state| match state {
            State::Working { since, job } => State::Done { since, job, files, errors },
            other => other,
        });
    }

    /// Records that a type failed.
    pub(crate) fn failed(&mut self, index: usize, cause: Cause, now: i64) {
        self.change(index, now, |state| match state {
            State::Working { job, .. } => State::Failed { cause, job: Some(job) },
            State::Waiting | State::KickedOff { .. } => State::Failed { cause, job: None },
            ended @ (State::Done { .. } | State::Failed { .. } | State::PassedOver) => ended,
        });
    }

    /// Records that OpenEMR does not export a type, which is a failure only if the client named the type.
    pub(crate) fn not_exported(&mut self, index: usize, status: u16, now: i64) {
        if self.types.get(index).is_some_and(|one| one.named) {
            return self.failed(index, Cause::Status(status), now);
        }
        self.change(index, now, |state| match state {
            State::KickedOff { .. } => State::PassedOver,
            other => other,
        });
    }

    fn change(&mut self, index: usize, now: i64, next: impl FnOnce(State) -> State) {
        if let Some(one) = self.types.get_mut(index) {
            one.state = next(std::mem::replace(&mut one.state, State::Waiting));
        }
        self.finish_if_ended(now);
    }

    fn finish_if_ended(&mut self, now: i64) {
        if self.types.iter().all(|one| one.state.is_ended()) {
            self.finished_at.get_or_insert(now);
        }
    }

    /// Returns how many types have ended, and how many there are.
    #[must_use]
    pub(crate) fn progress(&self) -> (usize, usize) {
        (self.types.iter().filter(|one| one.state.is_ended()).count(), self.types.len())
    }

    /// Returns the ids of OpenEMR's jobs, which are deleted together with the client's.
    pub(crate) fn openemr_jobs(&self) -> impl Iterator<Item = &str> {
        self.types.iter().filter_map(|one| match &one.state {
            State::Working { job, .. } | State::Done { job, .. } => Some(job.as_str()),
            State::Failed { job, .. } => job.as_deref(),
            State::Waiting | State::KickedOff { .. } | State::PassedOver => None,
        })
    }

    /// Returns the time at which OpenEMR deletes the first file; `None` when there are no files.
    #[must_use]
    pub(crate) fn files_end_at(&self) -> Option<i64> {
        let begins = self.types.iter().filter_map(|one| match &one.state {
            State::Done { since, files, errors, .. } if !(files.is_empty() && errors.is_empty()) => Some(*since),
            _ => None,
        });
        begins.min().map(|begin| begin.saturating_add(FILES_LIVE))
    }
}

#[cfg(test)]
pub(crate) mod tests;
