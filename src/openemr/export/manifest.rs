//! The manifests of an export: OpenEMR's of each type, and the one for the client (Bulk Data Access IG 2.0, "Response -
//! Complete Status").

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, civil};
use serde::Serialize;
use serde_json::Value;

use crate::fhir::id::is_path_id;
use crate::fhir::instant;
use crate::fhir::operation_outcome::{self, IssueCode};
use crate::openemr::export::plan::Plan;
use crate::openemr::export::state::{Cause, State};

/// The largest manifest of OpenEMR's that is read, in bytes.
pub(crate) const MAX_MANIFEST: usize = 1024 * 1024;

/// A finished job, by OpenEMR's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FinishedJob {
    /// The time at which it began, by OpenEMR's clock, in milliseconds since 1970.
    pub(crate) began: Option<i64>,
    /// The ids of the Binaries with resources.
    pub(crate) files: Vec<String>,
    /// The ids of the Binaries with OperationOutcomes.
    pub(crate) errors: Vec<String>,
    /// Whether an error is reported without a file.
    pub(crate) has_failed: bool,
}

/// Reads OpenEMR's manifest of a job for one type; `None` when the body is no manifest.
///
/// Only the ids are taken from its URLs, so that files are always fetched from the site's own base.
#[must_use]
pub(crate) fn read(body: &[u8], resource_type: &str) -> Option<FinishedJob> {
    let manifest: Value = serde_json::from_slice(body).ok()?;
    let listed = |name: &str| manifest.get(name).and_then(Value::as_array);
    let output = listed("output")?;
    let is_of = |entry: &&Value, name: &str| entry.get("type").and_then(Value::as_str) == Some(name);
    let files = output.iter().filter(|entry| is_of(entry, resource_type)).map(binary).collect::<Option<Vec<_>>>()?;
    let (mut errors, mut has_failed) = (Vec::new(), false);
    for entry in listed("error").into_iter().flatten() {
        match binary(entry) {
            Some(id) => errors.push(id),
            // OpenEMR may write the OperationOutcome itself here.
            None => has_failed |= !entry.is_null(),
        }
    }
    Some(FinishedJob { began: manifest.get("transactionTime").and_then(time), files, errors, has_failed })
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

/// Writes the manifest of a finished plan. `base` is the address of the FHIR API for the client, and `needs_token` says whether
/// the client needs an access token there.
#[must_use]
pub(crate) fn write(plan: &Plan, base: &str, needs_token: bool) -> String {
    let (mut output, mut error) = (Vec::new(), Vec::new());
    let url = |id: &String| format!("{base}/Binary/{id}");
    for one in &plan.types {
        if let State::Done { files, errors, .. } = &one.state {
            output.extend(files.iter().map(|id| Entry { resource_type: &one.name, url: url(id) }));
            error.extend(errors.iter().map(|id| Entry { resource_type: "OperationOutcome", url: url(id) }));
        }
    }
    if !outcomes(plan).is_empty() {
        let url = format!("{base}/$bulkdata-errors?job={}", plan.job);
        error.push(Entry { resource_type: "OperationOutcome", url });
    }
    let manifest = Manifest {
        transaction_time: instant::from_millis(plan.transaction_time.unwrap_or(plan.asked_at)),
        request: &plan.request,
        requires_access_token: needs_token,
        output,
        deleted: [],
        error,
    };
    serde_json::to_string(&manifest).expect("a manifest has string keys")
}

/// Writes the failures and what was left out as NDJSON, one OperationOutcome a line; empty when there are none.
#[must_use]
pub(crate) fn outcomes(plan: &Plan) -> String {
    let failures = plan.types.iter().filter_map(|one| match &one.state {
        State::Failed { cause, .. } => Some((code(*cause), format!("{}: {cause}", one.name))),
        _ => None,
    });
    let left_out = plan.left_out.iter().map(|left| (IssueCode::NotSupported, left.to_string()));
    failures.chain(left_out).map(|(code, text)| operation_outcome::json(code, &text) + "\n").collect()
}

fn code(cause: Cause) -> IssueCode {
    match cause {
        Cause::Status(400 | 404 | 501) => IssueCode::NotSupported,
        Cause::Status(504) | Cause::TimedOut | Cause::Endless => IssueCode::Timeout,
        Cause::Forbidden => IssueCode::Forbidden,
        Cause::Unreachable | Cause::NoToken | Cause::Interrupted => IssueCode::Transient,
        Cause::Status(_) | Cause::Broken | Cause::Lost | Cause::Reported | Cause::NotUnderstood => IssueCode::Exception,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openemr::export::plan::tests::plan;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_php_time_is_an_instant() {
        for (date, zone, expected) in [
            ("2026-11-24 02:28:30.000000", "UTC", Some("2026-11-24T02:28:30.000Z")),
            ("2026-11-24 02:28:30.250000", "+02:00", Some("2026-11-24T00:28:30.250Z")),
            ("2026-11-24 02:28:30.000000", "-05:30", Some("2026-11-24T07:58:30.000Z")),
            ("2026-07-01 12:00:00.000000", "America/New_York", Some("2026-07-01T16:00:00.000Z")),
            ("2026-11-24 02:28:30.000000", "Middle/Earth", None),
            ("2026-11-24 02:28:30.000000", "+aa:bb", None),
            ("soon", "UTC", None),
        ] {
            let php = json!({"date": date, "timezone_type": 3, "timezone": zone});
            assert_eq!(time(&php).map(instant::from_millis).as_deref(), expected, "{date} {zone}");
        }
        assert_eq!(
            time(&json!("2026-11-24T02:28:30+01:00")).map(instant::from_millis).as_deref(),
            Some("2026-11-24T01:28:30.000Z")
        );
        assert_eq!(time(&json!(7)), None);
    }

    #[test]
    fn openemrs_manifest_is_read_and_its_hosts_are_not_believed() {
        let body = br#"{"transactionTime":{"date":"2026-11-24 02:28:30.000000","timezone_type":3,"timezone":"UTC"},"request":"\/apis\/dispatch.php\/default\/fhir\/Patient\/$export?_type=Patient","requiresAccessToken":true,"output":[{"url":"https:\/\/elsewhere\/apis\/default\/fhir\/Binary\/100061","type":"Patient"},{"url":"https:\/\/h\/Binary\/2","type":"Goal"}],"error":[null,{"url":"https:\/\/h\/Binary\/3","type":"OperationOutcome"}]}"#;
        let ended = read(body, "Patient").unwrap();
        let expected = FinishedJob {
            began: Some(1_795_487_310_000),
            files: vec!["100061".to_owned()],
            errors: vec!["3".to_owned()],
            has_failed: false,
        };
        assert_eq!(ended, expected);
        let inline = json!({"output": [], "error": [{"resourceType": "OperationOutcome"}]}).to_string();
        assert!(read(inline.as_bytes(), "Patient").unwrap().has_failed);
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"output":{}}"#,
            r#"{"output":[{"type":"Patient","url":"https://h/Binary/.."}]}"#,
            r#"{"output":[{"type":"Patient","url":"https://h/Goal/1"}]}"#,
        ] {
            assert_eq!(read(bad.as_bytes(), "Patient"), None, "{bad}");
        }
    }

    #[test]
    fn a_manifest_names_the_gateway_alone() {
        let mut plan = plan(&[("Patient", true), ("Provenance", true)]);
        plan.kicked_off(0, 5_000);
        plan.accepted(0, "j".to_owned(), 5_100);
        plan.done(0, vec!["1".to_owned(), "2".to_owned()], vec!["3".to_owned()], Some(4_000), 5_200);
        plan.kicked_off(1, 5_300);
        plan.failed(1, Cause::Status(504), 9_000);
        let manifest: Value = serde_json::from_str(&write(&plan, "https://gw/fhir", false)).unwrap();
        let errors = format!("https://gw/fhir/$bulkdata-errors?job={}", plan.job);
        assert_eq!(
            manifest,
            json!({
                "transactionTime": "1970-01-01T00:00:04.000Z",
                "request": "http://gw/fhir/Group/g-1/$export?_type=Patient",
                "requiresAccessToken": false,
                "output": [{"type": "Patient", "url": "https://gw/fhir/Binary/1"}, {"type": "Patient", "url": "https://gw/fhir/Binary/2"}],
                "deleted": [],
                "error": [{"type": "OperationOutcome", "url": "https://gw/fhir/Binary/3"}, {"type": "OperationOutcome", "url": errors}],
            })
        );
        let lines: Vec<Value> = outcomes(&plan).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let issues: Vec<(&str, &str)> = lines
            .iter()
            .map(|outcome| {
                assert_eq!(outcome["resourceType"], "OperationOutcome");
                (outcome["issue"][0]["code"].as_str().unwrap(), outcome["issue"][0]["diagnostics"].as_str().unwrap())
            })
            .collect();
        assert_eq!(
            issues,
            [
                ("timeout", "Provenance: OpenEMR failed with status 504. It was not tried again."),
                ("not-supported", "The parameter _elements is not supported and was left out."),
            ]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in ".{0,80}", zone in "[+-]?[0-9:]{0,12}|[A-Za-z/]{0,12}") {
            let _ = read(text.as_bytes(), "Patient");
            let _ = time(&json!({"date": "2026-11-24 02:28:30.000000", "timezone": zone}));
        }

        #[test]
        fn every_time_of_ours_is_read_back(millis in 0_i64..4_102_444_800_000) {
            prop_assert_eq!(time(&json!(instant::from_millis(millis))), Some(millis));
        }
    }
}
