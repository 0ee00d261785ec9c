//! The addresses of a bulk export, below the FHIR base, and the job that their query names.

use uuid::Uuid;

use crate::fhir::export_level::Level;
use crate::openemr::export::manifest::JOB;

/// What an address of a bulk export is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ExportPath {
    /// `$export` of the system, of all patients or of a group.
    KickOff(Level),
    /// `$bulkdata-status`
    Status,
    /// `$bulkdata-errors`
    Errors,
    /// `$bulkdata-file/{job}/{name}`: the job, if it is named as the gateway writes it, and the name.
    File(Option<Uuid>, String),
}

/// Reads a path; `None` when it is about no export.
#[must_use]
pub(super) fn of(path: &[u8]) -> Option<ExportPath> {
    let path = std::str::from_utf8(path).ok()?;
    let operation = path.strip_prefix('/').unwrap_or_default().trim_end_matches('/');
    match operation.strip_prefix('$').or_else(|| operation.strip_prefix("%24")) {
        Some("bulkdata-status") => Some(ExportPath::Status),
        Some("bulkdata-errors") => Some(ExportPath::Errors),
        Some(file) if file.starts_with("bulkdata-file/") => {
            let (job, name) = file.strip_prefix("bulkdata-file/")?.split_once('/')?;
            Some(ExportPath::File(as_written(job), name.to_owned()))
        }
        _ => Level::of(path).map(ExportPath::KickOff),
    }
}

/// The job that a query names.
#[must_use]
pub(super) fn job(query: &str) -> Option<Uuid> {
    let (_, job) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == JOB)?;
    as_written(&job)
}

/// A job as the gateway writes it: no other spelling is a name of a file.
fn as_written(job: &str) -> Option<Uuid> {
    Uuid::parse_str(job).ok().filter(|parsed| parsed.to_string() == job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_about_exports() {
        let file = |job: Option<u128>| Some(ExportPath::File(job.map(Uuid::from_u128), "Goal-1.ndjson".to_owned()));
        for (path, about) in [
            ("/$export", Some(ExportPath::KickOff(Level::System))),
            ("/Patient/%24export", Some(ExportPath::KickOff(Level::Patient))),
            ("/$bulkdata-status", Some(ExportPath::Status)),
            ("/%24bulkdata-status/", Some(ExportPath::Status)),
            ("/$bulkdata-errors", Some(ExportPath::Errors)),
            (
                "/$bulkdata-file/6a1d3c1e-59f4-4b0f-8f1c-0d8a2f8f6a11/Goal-1.ndjson",
                file(Some(0x6a1d_3c1e_59f4_4b0f_8f1c_0d8a_2f8f_6a11)),
            ),
            ("/%24bulkdata-file/6A1D3C1E-59F4-4B0F-8F1C-0D8A2F8F6A11/Goal-1.ndjson", file(None)),
            ("/$bulkdata-file", None),
            ("/$bulkdata-file/Goal-1.ndjson", None),
            ("/Patient/$bulkdata-status", None),
            ("/bulkdata-status", None),
            ("/Patient", None),
            ("", None),
        ] {
            assert_eq!(of(path.as_bytes()), about, "{path}");
        }
    }

    #[test]
    fn a_job_is_named_in_one_way_only() {
        let text = "6a1d3c1e-59f4-4b0f-8f1c-0d8a2f8f6a11";
        assert_eq!(job(&format!("x=1&job={text}")).map(|job| job.to_string()).as_deref(), Some(text));
        for bad in [
            "".to_owned(),
            "job=".to_owned(),
            format!("job={}", text.to_uppercase()),
            format!("job={}", text.replace('-', "")),
            format!("job=%7B{text}%7D"),
            "job=..%2F..%2Fetc".to_owned(),
        ] {
            assert_eq!(job(&bad), None, "{bad}");
        }
    }
}
