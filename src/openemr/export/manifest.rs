//! The manifests of an export: OpenEMR's of each type, and the one for the client (Bulk Data Access IG 2.0, "Response -
//! Complete Status").

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, civil};
use serde::Serialize;
use serde_json::Value;

use crate::fhir::id::is_path_id;
use crate::fhir::instant;
use crate::fhir::media_type::Format;
use crate::fhir::operation_outcome::{Issue, IssueCode, OperationOutcome, Severity};
use crate::openemr::export::files::OUTCOME;
use crate::openemr::export::plan::Plan;
use crate::openemr::export::state::{Cause, FinishedJob, State, TypePlan};
use crate::openemr::invented_times::are_invented;

/// The largest manifest of OpenEMR's that is read, in bytes.
pub(crate) const MAX_MANIFEST: usize = 1024 * 1024;
/// The parameter that names the export of a file.
pub(crate) const JOB: &str = "job";

/// Reads OpenEMR's manifest of the job for a part of a plan; `None` when the body is no manifest.
///
/// Only the ids are taken from its URLs, so that files are always fetched from the site's own base.
#[must_use]
pub(crate) fn read(body: &[u8], one: &TypePlan) -> Option<FinishedJob> {
    let manifest: Value = serde_json::from_slice(body).ok()?;
    let listed = |name: &str| manifest.get(name).and_then(Value::as_array);
    let output = listed("output")?;
    let of_type = |name: &str| {
        let is_of = |entry: &&Value| entry.get("type").and_then(Value::as_str) == Some(name);
        output.iter().filter(is_of).map(binary).collect::<Option<Vec<_>>>()
    };
    let (mut errors, mut has_failed) = (Vec::new(), false);
    for entry in listed("error").into_iter().flatten() {
        match binary(entry) {
            Some(id) => errors.push(id),
            // OpenEMR may write the OperationOutcome itself here.
            None => has_failed |= !entry.is_null(),
        }
    }
    let began = manifest.get("transactionTime").and_then(time);
    let made_from = one.of.as_deref().map_or(Some(Vec::new()), of_type)?;
    Some(FinishedJob { began, files: of_type(&one.name)?, errors, made_from, has_failed })
}

fn binary(entry: &Value) -> Option<String> {
    let (before, id) = entry.get("url")?.as_str()?.rsplit_once('/')?;
    (before.ends_with("/Binary") && is_path_id(id)).then(|| id.to_owned())
}

/// Reads a time as PHP writes a `DateTime`, or as FHIR writes an instant, in milliseconds since 1970.
///
/// PHP writes the zone as an offset (type 1), an abbreviation (type 2) or a name (type 3). An
/// abbreviation other than UTC, Z and GMT is looked up like a name.
#[must_use]
pub(crate) fn time(value: &Value) -> Option<i64> {
    if let Some(instant) = value.as_str() {
        return Some(instant.parse::<Timestamp>().ok()?.as_millisecond());
    }
    let date: civil::DateTime = value.get("date")?.as_str()?.parse().ok()?;
    let zone = match value.get("timezone")?.as_str()? {
        "UTC" | "Z" | "GMT" => TimeZone::UTC,
        offset if offset.starts_with(['+', '-']) => TimeZone::fixed(self::offset(offset)?),
        name => TimeZone::get(name).ok()?,
    };
    Some(date.to_zoned(zone).ok()?.timestamp().as_millisecond())
}

/// Reads an offset such as `+02:00`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = text.split_at_checked(1)?;
    let (hours, minutes) = digits.split_once(':')?;
    let seconds = hours.parse::<i32>().ok()?.checked_mul(3600)?.checked_add(minutes.parse::<i32>().ok()?.checked_mul(60)?)?;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds }).ok()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    transaction_time: String,
    request: &'a str,
    requires_access_token: bool,
    output: Vec<Entry<'a>>,
    deleted: [(); 0],
    error: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "type")]
    resource_type: &'a str,
    url: String,
}

/// Writes the manifest of a finished plan. `base` is the address of the FHIR API for the client, which needs an access token there
/// where it owns the export.
#[must_use]
pub(crate) fn write(plan: &Plan, base: &str, shown: Shown) -> String {
    let (mut output, mut error) = (Vec::new(), Vec::new());
    for file in plan.given_files().filter(|file| shown == Shown::All || !file.is_outcome()) {
        let url = format!("{base}/$bulkdata-file/{}/{}", plan.job, file.name());
        let entries = if file.is_outcome() { &mut error } else { &mut output };
        entries.push(Entry { resource_type: file.resource_type, url });
    }
    if !outcomes(plan, shown).is_empty() {
        let url = format!("{base}/$bulkdata-errors?job={}", plan.job);
        error.push(Entry { resource_type: OUTCOME, url });
    }
    let manifest = Manifest {
        transaction_time: instant::from_millis(plan.transaction_time.unwrap_or(plan.asked_at)),
        request: &plan.request,
        requires_access_token: plan.asked_by.is_client(),
        output,
        deleted: [],
        error,
    };
    serde_json::to_string(&manifest).expect("a manifest has string keys")
}

/// What a client is told of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All of it.
    All,
    /// Nothing that OpenEMR has written about it: that could be about resources that the client may not have.
    OwnWords,
}

/// Writes what went wrong, what was left out, and what the files do not hold, as NDJSON, one OperationOutcome a line; empty when
/// there is nothing to tell.
#[must_use]
pub(crate) fn outcomes(plan: &Plan, shown: Shown) -> String {
    let failures = plan.types.iter().filter_map(|one| match &one.state {
        State::Failed { cause, .. } => Some(Issue::error(code(*cause), format!("{one}: {cause}"))),
        State::Done { has_failed, errors, .. } if *has_failed || (shown == Shown::OwnWords && !errors.is_empty()) => {
            let text = format!("{one}: OpenEMR reported an error, and its files may lack resources.");
            Some(Issue { severity: Severity::Warning, ..Issue::error(IssueCode::Incomplete, text) })
        }
        State::PassedOver => Some(not_asked_for(format!("{one} is not exported: OpenEMR's export does not have this type."))),
        _ => None,
    });
    let left_out = plan.left_out.iter().map(|left| match left {
        left if left.is_unnamed() => not_asked_for(left.to_string()),
        left => Issue::error(IssueCode::NotSupported, left.to_string()),
    });
    let issues = failures.chain(left_out).chain(without_times(plan)).chain(filtered_by_times(plan));
    issues.map(|issue| OperationOutcome::of(issue).write(Format::Json) + "\n").collect()
}

/// A type that is not exported, and that the client has not named.
fn not_asked_for(text: String) -> Issue {
    Issue { severity: Severity::Information, ..Issue::error(IssueCode::NotSupported, text) }
}

/// The types for which `_since` means nothing.
fn without_times(plan: &Plan) -> Option<Issue> {
    plan.since.as_ref()?;
    let mut names: Vec<&str> = Vec::new();
    for one in plan.types.iter().filter(|one| matches!(one.state, State::Done { .. })) {
        let name = one.of.as_deref().unwrap_or(&one.name);
        if are_invented(name) && !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return None;
    }
    let text = format!(
        "_since means nothing for {}: OpenEMR does not know when these resources were changed, and puts the time of the answer into meta.lastUpdated.",
        names.join(", ")
    );
    Some(Issue { severity: Severity::Warning, ..Issue::error(IssueCode::Incomplete, text) })
}

/// The types whose filter asks for times that mean nothing.
fn filtered_by_times(plan: &Plan) -> Option<Issue> {
    let asks = plan.filters.iter().filter(|filter| filter.asks_for_times() && are_invented(&filter.resource_type));
    let names: Vec<&str> = asks.map(|filter| filter.resource_type.as_str()).collect();
    let text = format!(
        "_lastUpdated in _typeFilter means nothing for {}: OpenEMR does not know when these resources were changed, and puts the time of the answer into meta.lastUpdated.",
        names.join(", ")
    );
    let issue = Issue { severity: Severity::Warning, ..Issue::error(IssueCode::Incomplete, text) };
    (!names.is_empty()).then_some(issue)
}

fn code(cause: Cause) -> IssueCode {
    match cause {
        Cause::Status(400 | 401 | 404 | 501) => IssueCode::NotSupported,
        Cause::Status(504) | Cause::TimedOut | Cause::Endless => IssueCode::Timeout,
        Cause::Forbidden => IssueCode::Forbidden,
        Cause::Unreachable | Cause::NoToken | Cause::Interrupted | Cause::Withheld => IssueCode::Transient,
        Cause::TypeFailed => IssueCode::Incomplete,
        Cause::Status(_) | Cause::Broken | Cause::Lost | Cause::Reported | Cause::NotUnderstood => IssueCode::Exception,
    }
}

#[cfg(test)]
mod tests;
