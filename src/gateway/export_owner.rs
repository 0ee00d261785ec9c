//! Which exports a caller may know of, and what its policy lets it have of them.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use uuid::Uuid;

use crate::access::caller::PatientsOf;
use crate::exports::jobs::Exports;
use crate::exports::store_error::StoreError;
use crate::fhir::export_level::Level;
use crate::fhir::rejection::Rejection;
use crate::gateway::call::Call;
use crate::gateway::export_answers::{plans_failed, unknown};
use crate::openemr::export::manifest::Shown;
use crate::openemr::export::owner::Owner;
use crate::openemr::export::plan::Plan;
use crate::site::prepared::Site;

/// The owner of the exports that a caller kicks off: the client, or the address of a caller that is none.
#[must_use]
pub(super) fn owner(call: &Call) -> Owner {
    match &call.caller.client {
        Some(client) => Owner::named(client),
        None => Owner::at(call.trace.client().address()),
    }
}

/// Finds an export of the caller's.
///
/// # Errors
/// There is none, or it is another's: the answer is the same. The policy of the caller does not permit it any more.
pub(super) async fn find(call: &Call, site: &Site, exports: &Exports, job: Option<Uuid>) -> Result<Plan, Rejection> {
    let job = job.ok_or_else(unknown)?;
    let jobs = exports.of(site);
    let found = known(call, jobs.find(job).await).map_err(|problem| plans_failed(&jobs, problem))?;
    let plan = found.ok_or_else(unknown)?;
    check_level(call, &plan.level)?;
    Ok(plan)
}

/// Deletes an export of the caller's.
///
/// # Errors
/// As [`find`]; but one whose plan is damaged can be deleted, too.
pub(super) async fn delete(call: &Call, site: &Site, exports: &Exports, job: Option<Uuid>) -> Result<(), Rejection> {
    let job = job.ok_or_else(unknown)?;
    let jobs = exports.of(site);
    match known(call, jobs.find(job).await) {
        Ok(found) => check_level(call, &found.ok_or_else(unknown)?.level)?,
        // Whose it is can be told when the shared store is back.
        Err(problem) if problem.is_temporary() => return Err(plans_failed(&jobs, problem)),
        Err(_) => {}
    }
    jobs.delete(job).await.map_err(|problem| plans_failed(&jobs, problem))
}

/// Leaves out what the caller may not know of.
fn known(call: &Call, found: Result<Option<Plan>, StoreError>) -> Result<Option<Plan>, StoreError> {
    let has_clients = !call.config().access.clients.is_empty();
    match found {
        Ok(plan) => Ok(plan.filter(|plan| plan.asked_by.is_known_to(&owner(call), has_clients))),
        // Nobody knows whose it is.
        Err(problem) if problem.is_of_the_plan() && has_clients => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// Checks that the policy of the caller permits exports of a level.
///
/// # Errors
/// It does not.
pub(super) fn check_level(call: &Call, level: &Level) -> Result<(), Rejection> {
    if call.caller.policy.may_export(level) {
        return Ok(());
    }
    let grant = match level {
        Level::System => "system",
        Level::Patient => "patient",
        Level::Group(_) => "group, or that of this Group",
    };
    Err(Rejection::by_policy(format!("The policy of the client does not permit this export: its key export lacks {grant}.")))
}

/// Checks that the policy of the caller permits exports of a type now, and that it is known of which patients.
///
/// # Errors
/// It does not, or nobody knows.
pub(super) fn check_type(call: &Call, resource_type: &str) -> Result<(), Rejection> {
    if !call.caller.policy.may_export_type(resource_type) {
        return Err(Rejection::by_policy(format!("The scope system/{resource_type}.rs is missing.")));
    }
    match call.caller.patients() {
        PatientsOf::All | PatientsOf::Listed(_) => Ok(()),
        PatientsOf::Unknown => Err(Rejection::by_policy("It is not known whose data the client may have.".to_owned())),
    }
}

/// What the caller is told of its exports.
#[must_use]
pub(super) fn shown(call: &Call) -> Shown {
    if call.caller.policy.is_everything { Shown::All } else { Shown::OwnWords }
}
