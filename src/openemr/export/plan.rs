//! The plan of a bulk export: the client has one job, and OpenEMR one for each resource type. Times are passed in, in
//! milliseconds since 1970.
//!
//! OpenEMR makes Provenance from the other types of the same job. So each type has a second job, together with its Provenance,
//! after the first jobs of all types: it can fail without a loss of the type itself. The job that took OpenEMR least comes first, and after
//! one at which OpenEMR may still be at work there is no other.
//!
//! A plan is stored on the disk and survives a restart. It holds ids and names of types, and the searches of `_typeFilter`, which
//! may name a patient.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fhir::export_level::Level;
use crate::fhir::id::is_path_id;
use crate::fhir::instant;
use crate::fhir::resource_type;
use crate::openemr::export::kick_off::KickOff;
use crate::openemr::export::left_out::LeftOut;
use crate::openemr::export::level::PROVENANCE;
use crate::openemr::export::owner::Owner;
use crate::openemr::export::state::{Cause, FinishedJob, State, TypePlan};
use crate::openemr::export::type_filter::TypeFilter;

/// The largest stored plan, in bytes.
pub(crate) const MAX_PLAN: usize = 8 * 1024 * 1024;
/// The version of the stored form. Version 1 had no owner, version 2 one job for all Provenance, version 3 no filters, version 4 no
/// clients.
const VERSION: u32 = 5;
/// The version of a plan that no client owns, which an earlier gateway reads, too.
const WITHOUT_CLIENT: u32 = 4;
/// The version of a plan that has no filters either.
const WITHOUT_FILTERS: u32 = 3;
/// The type that most records are of, in nearly every practice.
const LARGEST: &str = "Observation";
/// The most files of one type; a manifest with more is taken for broken.
const MAX_FILES: usize = 100;
/// The longest URL of a kick-off, in bytes.
pub(crate) const MAX_URL: usize = 16 * 1024;

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
    /// What is exported of some of the types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) filters: Vec<TypeFilter>,
    /// What was left out.
    pub(crate) left_out: Vec<LeftOut>,
    /// The types, in the order in which they are exported, and behind them the Provenance of each.
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
        let is_alone = kick_off.types.is_empty();
        let are_named = is_alone || kick_off.types.iter().any(|(_, named)| *named);
        let types = kick_off.types.iter().map(|(name, named)| TypePlan::waiting(name, *named));
        let provenance = kick_off.provenance_of.iter().map(|name| TypePlan::provenance_of(name, are_named));
        Self {
            version: version_with(&asked_by, &kick_off.filters, &kick_off.left_out),
            job,
            asked_at: now,
            asked_by,
            level: kick_off.level,
            request,
            since: kick_off.since,
            filters: kick_off.filters,
            left_out: kick_off.left_out,
            types: types.chain(provenance).collect(),
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
        let mut plan: Self = serde_json::from_slice(bytes)?;
        plan.version = version_with(&plan.asked_by, &plan.filters, &plan.left_out);
        if version < WITHOUT_FILTERS {
            plan.ask_for_provenance_by_type();
        }
        if plan.is_sound() { Ok(plan) } else { Err(PlanError::Damaged) }
    }

    /// Writes the plan in its stored form.
    #[must_use]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan has string keys and finite numbers only")
    }

    /// Replaces one job for all Provenance that has not begun, which would give none, by one for each type.
    fn ask_for_provenance_by_type(&mut self) {
        let is_for_all = |one: &TypePlan| one.name == PROVENANCE && one.of.is_none() && one.state == State::Waiting;
        let others: Vec<String> = self.types.iter().filter(|one| one.name != PROVENANCE).map(|one| one.name.clone()).collect();
        let Some(at) = self.types.iter().position(is_for_all).filter(|_| !others.is_empty()) else { return };
        let named = self.types.remove(at).named;
        self.types.extend(others.iter().map(|name| TypePlan::provenance_of(name, named)));
    }

    fn is_sound(&self) -> bool {
        let are_ids = |ids: &[String]| ids.len() <= MAX_FILES && ids.iter().all(|id| is_path_id(id));
        let is_type = |name: &str| resource_type::known(name.as_bytes()).is_some();
        let is_left_out_sound = |left: &LeftOut| match left {
            LeftOut::NotGranted(name)
            | LeftOut::NotPermitted(name)
            | LeftOut::NotExported(name)
            | LeftOut::Unsupported(name)
            | LeftOut::UnsupportedUnnamed(name)
            | LeftOut::FilterOfOther(name)
            | LeftOut::FilteredProvenance(name)
            | LeftOut::FilteredProvenanceUnnamed(name) => is_type(name),
            LeftOut::Parameter(name) | LeftOut::InFilter(name) => name.len() <= 32,
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
            && self.filters.iter().all(|filter| filter.test().is_some())
            && !self.types.is_empty()
            && self.types.iter().all(|one| {
                one.job_types().all(is_type)
                    && match &one.state {
                        State::Waiting | State::KickedOff { .. } | State::PassedOver => true,
                        State::Working { job, .. } => is_path_id(job),
                        State::Done { job, files, errors, made_from, .. } => {
                            is_path_id(job) && are_ids(files) && are_ids(errors) && are_ids(made_from)
                        }
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
        let waiting = || self.types.iter().enumerate().filter(|(_, one)| one.state == State::Waiting);
        let next = || waiting().min_by_key(|(index, one)| (self.size(one), *index)).map(|(index, _)| Step::KickOff(index));
        working.or_else(next).unwrap_or(Step::Finished)
    }

    /// How large a job for Provenance will be, as far as that is known; other jobs come before all of them.
    fn size(&self, one: &TypePlan) -> Option<(bool, Option<i64>)> {
        let of = one.of.as_deref()?;
        let took = self.types.iter().find(|one| one.of.is_none() && one.name == of).and_then(|one| one.took);
        Some((took.is_none() && of == LARGEST, took))
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
        self.settle(now);
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
        if let Some(one) = self.types.get_mut(index)
            && let State::KickedOff { since } = one.state
        {
            one.took = Some(now.saturating_sub(since));
        }
        self.change(index, now, |state| match state {
            State::KickedOff { since } => State::Working { since, job: given },
            other => other,
        });
    }

    /// Records the Binaries of a finished job.
    pub(crate) fn done(&mut self, index: usize, ended: FinishedJob, now: i64) {
        let FinishedJob { began, files, errors, made_from, has_failed } = ended;
        if files.len().max(errors.len()).max(made_from.len()) > MAX_FILES {
            return self.failed(index, Cause::NotUnderstood, now);
        }
        if let (Some(began), Some(known)) = (began, self.transaction_time) {
            self.transaction_time = Some(known.min(began));
        }
        self.change(index, now, |state| match state {
            State::Working { since, job } => State::Done { since, job, files, errors, made_from, has_failed },
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
        self.settle(now);
    }

    /// Ends what will not be begun, and the export with its last type.
    fn settle(&mut self, now: i64) {
        let is_held_up = self.types.iter().any(|one| match one.state {
            State::Failed { cause, .. } => one.of.is_some() && cause.may_be_at_work(),
            _ => false,
        });
        for index in 0..self.types.len() {
            let end = match self.types.get(index) {
                Some(one) if one.state == State::Waiting => self.end_before_begin(one, is_held_up),
                _ => None,
            };
            if let (Some(end), Some(one)) = (end, self.types.get_mut(index)) {
                one.state = end;
            }
        }
        if self.types.iter().all(|one| one.state.is_ended()) {
            self.finished_at.get_or_insert(now);
        }
    }

    /// Why OpenEMR is not asked for the Provenance of a type; `None` when it is.
    fn end_before_begin(&self, one: &TypePlan, is_held_up: bool) -> Option<State> {
        let of = one.of.as_deref()?;
        match self.types.iter().find(|other| other.of.is_none() && other.name == of).map(|other| &other.state) {
            // OpenEMR may be at work on it, and would do the work twice.
            Some(State::Failed { .. }) => Some(State::Failed { cause: Cause::TypeFailed, job: None }),
            Some(State::PassedOver) => Some(State::PassedOver),
            _ if is_held_up => Some(State::Failed { cause: Cause::Withheld, job: None }),
            _ => None,
        }
    }

    /// Returns how many types have ended, and how many there are. Provenance is one of them.
    #[must_use]
    pub(crate) fn progress(&self) -> (usize, usize) {
        let (provenance, types): (Vec<_>, Vec<_>) = self.types.iter().partition(|one| one.of.is_some());
        let has_provenance = usize::from(!provenance.is_empty());
        let is_provenance_ended = usize::from(provenance.iter().all(|one| one.state.is_ended())) * has_provenance;
        let ended = types.iter().filter(|one| one.state.is_ended()).count();
        (ended + is_provenance_ended, types.len() + has_provenance)
    }

    /// Returns the ids of OpenEMR's jobs, which are deleted together with the client's.
    pub(crate) fn openemr_jobs(&self) -> impl Iterator<Item = &str> {
        self.types.iter().filter_map(|one| match &one.state {
            State::Working { job, .. } | State::Done { job, .. } => Some(job.as_str()),
            State::Failed { job, .. } => job.as_deref(),
            State::Waiting | State::KickedOff { .. } | State::PassedOver => None,
        })
    }
}

/// The version of the stored form of a plan of this owner with these filters, and from which this was left out.
fn version_with(owner: &Owner, filters: &[TypeFilter], left_out: &[LeftOut]) -> u32 {
    let is_of_policies = owner.is_client() || left_out.iter().any(LeftOut::is_of_policies);
    let is_of_filters = !filters.is_empty() || left_out.iter().any(LeftOut::is_of_filters);
    match (is_of_policies, is_of_filters) {
        (true, _) => VERSION,
        (false, true) => WITHOUT_CLIENT,
        (false, false) => WITHOUT_FILTERS,
    }
}

#[cfg(test)]
pub(crate) mod tests;
