//! How far an export is, for the operator.

use uuid::Uuid;

use crate::fhir::export_level::Level;
use crate::openemr::export::owner::Owner;
use crate::openemr::export::plan::Plan;

/// How far an export is. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The id of the client's job.
    pub(crate) job: Uuid,
    /// Whose data is exported.
    pub(crate) level: Level,
    /// Who kicked it off.
    pub(crate) owner: Owner,
    /// When it was kicked off.
    pub(crate) asked_at: i64,
    /// When the last part ended.
    pub(crate) finished_at: Option<i64>,
    /// How many parts it has, which are resource types.
    pub(crate) parts: usize,
    /// How many of them have ended.
    pub(crate) ended: usize,
    /// How many of these failed.
    pub(crate) failed: usize,
}

impl Progress {
    /// How far this plan is.
    #[must_use]
    pub(super) fn of(plan: &Plan) -> Self {
        Self {
            job: plan.job,
            level: plan.level.clone(),
            owner: plan.asked_by.clone(),
            asked_at: plan.asked_at,
            finished_at: plan.finished_at,
            parts: plan.types.len(),
            ended: plan.types.iter().filter(|one| one.state.is_ended()).count(),
            failed: plan.types.iter().filter(|one| one.is_failed()).count(),
        }
    }
}
