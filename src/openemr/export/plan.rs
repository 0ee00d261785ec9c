//! An export's plan: one job to the caller, one job a type at OpenEMR, and how far each is. Times are passed in, in
//! milliseconds since 1970.
//!
//! A plan is kept on the disk and outlives the process. It holds ids and type names, nothing about a patient.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fhir::export_level::Level;
use crate::fhir::id::is_path_id;
use crate::fhir::instant;
use crate::fhir::resource_type;
use crate::openemr::export::kick_off::{KickOff, LeftOut};
use crate::openemr::export::state::{Cause, State, TypePlan};

/// The largest plan, in bytes.
pub const MAX_PLAN: usize = 4 * 1024 * 1024;
const VERSION: u32 = 1;
/// More files of one type than this are not believed.
const MOST_FILES: usize = 100;
/// The longest URL of a kick-off that is kept, in bytes.
pub const LONGEST_URL: usize = 16 * 1024;
/// How long OpenEMR keeps the files of a job, from its begin.
const FILES_LIVE: i64 = 60 * 60 * 1000;

/// One export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    version: u32,
    /// What the caller knows it by.
    pub job: Uuid,
    /// When the caller kicked it off.
    pub asked_at: i64,
    /// Whose data.
    pub level: Level,
    /// The URL of the kick-off, without what was left out.
    pub request: String,
    /// Only what changed since then.
    pub since: Option<String>,
    /// What was left out.
    pub left_out: Vec<LeftOut>,
    /// The types, in the order in which they are exported.
    pub types: Vec<TypePlan>,
    /// Everything that changed up to then is in it: the earliest begin of a job by OpenEMR's clock, or when the gateway began.
    pub transaction_time: Option<i64>,
    /// When the last type had come to its end.
    pub finished_at: Option<i64>,
}

/// Why bytes are no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Larger than any plan.
    #[error("is larger than {MAX_PLAN} bytes")]
    TooLarge,
    /// Not the JSON of a plan.
    #[error("is no plan of an export: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by another version of the gateway.
    #[error("is of version {0}, which this gateway does not know")]
    Version(u32),
    /// A value that no plan has.
    #[error("is damaged")]
    Damaged,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Kick this type off.
    KickOff(usize),
    /// Ask for the job of this type.
    Ask(usize, String),
    /// Nothing.
    Finished,
}

impl Plan {
    /// A plan of which nothing is done yet. `request` is the URL of the kick-off.
    #[must_use]
    pub fn new(job: Uuid, kick_off: KickOff, request: String, now: i64) -> Self {
        let types =
            kick_off.types.into_iter().map(|(name, named)| TypePlan { name: name.to_owned(), named, state: State::Waiting });
        Self {
            version: VERSION,
            job,
            asked_at: now,
            level: kick_off.level,
            request,
            since: kick_off.since,
            left_out: kick_off.left_out,
            types: types.collect(),
            transaction_time: None,
            finished_at: None,
        }
    }

    /// Reads a plan back.
    ///
    /// # Errors
    /// Anything that this gateway would not have written.
    pub fn parse(bytes: &[u8]) -> Result<Self, PlanError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        if bytes.len() > MAX_PLAN {
            return Err(PlanError::TooLarge);
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(PlanError::Version(version));
        }
        let plan: Self = serde_json::from_slice(bytes)?;
        if plan.is_sound() { Ok(plan) } else { Err(PlanError::Damaged) }
    }

    /// The plan as it is kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a plan has string keys and finite numbers only")
    }

    fn is_sound(&self) -> bool {
        let are_ids = |ids: &[String]| ids.len() <= MOST_FILES && ids.iter().all(|id| is_path_id(id));
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
            && self.request.len() <= LONGEST_URL
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

    /// What is to be done next.
    #[must_use]
    pub fn step(&self) -> Step {
        let working = self.types.iter().enumerate().find_map(|(index, one)| match &one.state {
            State::Working { job, .. } => Some(Step::Ask(index, job.clone())),
            _ => None,
        });
        let waiting = || self.types.iter().position(|one| one.state == State::Waiting).map(Step::KickOff);
        working.or_else(waiting).unwrap_or(Step::Finished)
    }

    /// After a restart: a type whose kick-off was under way is not kicked off again, because OpenEMR may still be working
    /// on it, and would work twice. Whether anything has changed.
    pub fn recover(&mut self, now: i64) -> bool {
        let under_way = |one: &&mut TypePlan| matches!(one.state, State::KickedOff { .. });
        let mut has_changed = false;
        for one in self.types.iter_mut().filter(under_way) {
            one.state = State::Failed { cause: Cause::Interrupted, job: None };
            has_changed = true;
        }
        self.look_for_the_end(now);
        has_changed
    }

    /// A kick-off is about to be sent.
    pub fn kicked_off(&mut self, index: usize, now: i64) {
        self.transaction_time.get_or_insert(now);
        self.change(index, now, |state| match state {
            State::Waiting => State::KickedOff { since: now },
            other => other,
        });
    }

    /// A kick-off was not sent after all, or not worked on: its turn comes again.
    pub fn not_begun(&mut self, index: usize, now: i64) {
        self.change(index, now, |state| match state {
            State::KickedOff { .. } => State::Waiting,
            other => other,
        });
    }

    /// OpenEMR has given a kick-off its job.
    pub fn accepted(&mut self, index: usize, given: String, now: i64) {
        self.change(index, now, |state| match state {
            State::KickedOff { since } => State::Working { since, job: given },
            other => other,
        });
    }

    /// OpenEMR's job has come to its end, with these Binaries; it began at `began`, by OpenEMR's clock.
    pub fn done(&mut self, index: usize, files: Vec<String>, errors: Vec<String>, began: Option<i64>, now: i64) {
        if files.len().max(errors.len()) > MOST_FILES {
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

    /// A type has come to nothing.
    pub fn failed(&mut self, index: usize, cause: Cause, now: i64) {
        self.change(index, now, |state| match state {
            State::Working { job, .. } => State::Failed { cause, job: Some(job) },
            State::Waiting | State::KickedOff { .. } => State::Failed { cause, job: None },
            ended @ (State::Done { .. } | State::Failed { .. } | State::PassedOver) => ended,
        });
    }

    /// OpenEMR does not export a type. That is an error only to whom has named it.
    pub fn not_exported(&mut self, index: usize, status: u16, now: i64) {
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
        self.look_for_the_end(now);
    }

    fn look_for_the_end(&mut self, now: i64) {
        if self.types.iter().all(|one| one.state.is_ended()) {
            self.finished_at.get_or_insert(now);
        }
    }

    /// How many types have come to their end, and of how many.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.types.iter().filter(|one| one.state.is_ended()).count(), self.types.len())
    }

    /// OpenEMR's jobs, to be deleted with this one.
    pub fn openemr_jobs(&self) -> impl Iterator<Item = &str> {
        self.types.iter().filter_map(|one| match &one.state {
            State::Working { job, .. } | State::Done { job, .. } => Some(job.as_str()),
            State::Failed { job, .. } => job.as_deref(),
            State::Waiting | State::KickedOff { .. } | State::PassedOver => None,
        })
    }

    /// When the first of the files is gone from OpenEMR; `None` when there is no file.
    #[must_use]
    pub fn files_end_at(&self) -> Option<i64> {
        let begins = self.types.iter().filter_map(|one| match &one.state {
            State::Done { since, files, errors, .. } if !(files.is_empty() && errors.is_empty()) => Some(*since),
            _ => None,
        });
        begins.min().map(|begin| begin.saturating_add(FILES_LIVE))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn plan(types: &[(&'static str, bool)]) -> Plan {
        let since = Some("2026-01-01T00:00:00Z".to_owned());
        let level = Level::Group("g-1".to_owned());
        let kick_off =
            KickOff { level, types: types.to_vec(), since, left_out: vec![LeftOut::Parameter("_elements".to_owned())] };
        Plan::new(Uuid::from_u128(7), kick_off, "http://gw/fhir/Group/g-1/$export?_type=Patient".to_owned(), 1_000)
    }

    #[test]
    fn one_type_after_the_other_until_all_have_ended() {
        let mut plan = plan(&[("Patient", false), ("Observation", true), ("Provenance", false)]);
        assert_eq!((plan.step(), plan.progress()), (Step::KickOff(0), (0, 3)));
        plan.kicked_off(0, 2_000);
        plan.accepted(0, "j-0".to_owned(), 3_000);
        assert_eq!(plan.step(), Step::Ask(0, "j-0".to_owned()));
        plan.done(0, vec!["100".to_owned()], vec![], Some(1_990), 4_000);
        assert_eq!((plan.step(), plan.progress(), plan.transaction_time), (Step::KickOff(1), (1, 3), Some(1_990)));
        plan.kicked_off(1, 4_100);
        plan.failed(1, Cause::Status(504), 5_000);
        plan.kicked_off(2, 5_100);
        plan.not_exported(2, 400, 6_000);
        assert_eq!((plan.step(), plan.progress(), plan.finished_at), (Step::Finished, (3, 3), Some(6_000)));
        assert_eq!(plan.openemr_jobs().collect::<Vec<_>>(), ["j-0"]);
        assert_eq!(plan.files_end_at(), Some(2_000 + 3_600_000));
        assert_eq!(plan.types.last().unwrap().state, State::PassedOver);
    }

    #[test]
    fn what_nobody_named_is_passed_over_and_what_was_named_fails() {
        let mut plan = plan(&[("PractitionerRole", true)]);
        plan.kicked_off(0, 1);
        plan.not_exported(0, 400, 2);
        assert_eq!(plan.types.first().unwrap().state, State::Failed { cause: Cause::Status(400), job: None });
    }

    #[test]
    fn a_restart_goes_on_where_it_can_and_kicks_nothing_off_twice() {
        let mut plan = plan(&[("Patient", true), ("Observation", true), ("Goal", true)]);
        plan.kicked_off(0, 1);
        plan.accepted(0, "j".to_owned(), 2);
        let mut after = Plan::parse(&plan.to_bytes()).unwrap();
        assert!(!after.recover(5));
        assert_eq!(after.step(), Step::Ask(0, "j".to_owned()));
        plan.done(0, vec![], vec![], None, 3);
        plan.kicked_off(1, 4);
        let mut after = Plan::parse(&plan.to_bytes()).unwrap();
        assert!(after.recover(5));
        assert_eq!(after.step(), Step::KickOff(2));
        assert_eq!(after.types.get(1).unwrap().state, State::Failed { cause: Cause::Interrupted, job: None });
    }

    #[test]
    fn a_plan_never_grows_beyond_what_is_read_back() {
        let mut all = plan(&[("Patient", true), ("Goal", true)]);
        for (index, count) in [(0, MOST_FILES), (1, MOST_FILES + 1)] {
            all.kicked_off(index, 1);
            all.accepted(index, "j".to_owned(), 2);
            all.done(index, vec!["x".repeat(64); count], vec!["x".repeat(64); count], None, 3);
        }
        assert!(matches!(all.types.first().unwrap().state, State::Done { .. }));
        assert!(matches!(all.types.last().unwrap().state, State::Failed { cause: Cause::NotUnderstood, .. }));
        let one = all.types.first().unwrap().clone();
        // As many as FHIR has types.
        all.types = vec![one; 150];
        all.request = "x".repeat(LONGEST_URL);
        assert_eq!(Plan::parse(&all.to_bytes()).unwrap(), all);
    }

    #[test]
    fn only_a_sound_plan_is_read_back() {
        let mut sound = plan(&[("Patient", true)]);
        sound.kicked_off(0, 1);
        sound.accepted(0, "j".to_owned(), 2);
        let text = String::from_utf8(sound.to_bytes()).unwrap();
        assert_eq!(Plan::parse(text.as_bytes()).unwrap(), sound);
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"j\"", "\"../j\""),
            ("\"g-1\"", "\"g/1\""),
            ("\"type\":\"Patient\"", "\"type\":\"Jane\""),
            ("2026-01-01T00:00:00Z", "yesterday"),
            ("\"named\":true", "\"named\":true,\"more\":1"),
            ("\"working\"", "\"dreaming\""),
            ("\"version\":1,", ""),
            ("}", ""),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            assert!(Plan::parse(text.replace(from, to).as_bytes()).is_err(), "{from} -> {to}");
        }
        assert!(matches!(Plan::parse(&vec![b' '; MAX_PLAN + 1]), Err(PlanError::TooLarge)));
        assert!(matches!(Plan::parse(text.replace("\"version\":1", "\"version\":9").as_bytes()), Err(PlanError::Version(9))));
    }

    proptest! {
        /// Whatever happens in whatever order: what has ended stays as it is, and no type is ever kicked off twice.
        #[test]
        fn no_type_is_kicked_off_twice(events in proptest::collection::vec((0_usize..4, 0_u8..6), 0..60)) {
            let mut plan = plan(&[("Patient", true), ("Observation", false), ("Goal", true)]);
            let mut kicked_off = [0; 3];
            for (now, (index, event)) in events.into_iter().enumerate() {
                let now = i64::try_from(now).unwrap();
                let before = plan.clone();
                match event {
                    0 => {
                        if let Step::KickOff(next) = plan.step() {
                            *kicked_off.get_mut(next).unwrap() += 1;
                            plan.kicked_off(next, now);
                        }
                    }
                    1 => plan.accepted(index, "j".to_owned(), now),
                    2 => plan.done(index, vec!["1".to_owned()], vec![], Some(now), now),
                    3 => plan.failed(index, Cause::TimedOut, now),
                    4 => plan.not_exported(index, 400, now),
                    _ => drop(plan.recover(now)),
                }
                prop_assert!(plan.progress().0 >= before.progress().0);
                for (was, is) in before.types.iter().zip(&plan.types) {
                    prop_assert!(!was.state.is_ended() || was.state == is.state);
                }
                prop_assert_eq!(Plan::parse(&plan.to_bytes()).unwrap(), plan.clone());
                let (done, of) = plan.progress();
                prop_assert_eq!(plan.finished_at.is_some(), done == of);
                prop_assert_eq!(plan.step() == Step::Finished && plan.types.iter().all(|one| !matches!(one.state, State::KickedOff { .. })), done == of);
            }
            prop_assert!(kicked_off.iter().all(|count| *count <= 1));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Plan::parse(&bytes).is_err());
        }
    }
}
