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
}

/// Reads a path; `None` when it is about no export.
#[must_use]
pub(super) fn of(path: &[u8]) -> Option<ExportPath> {
    let path = std::str::from_utf8(path).ok()?;
    let operation = path.strip_prefix('/').unwrap_or_default().trim_end_matches('/');
    match operation.strip_prefix('$').or_else(|| operation.strip_prefix("%24")) {
        Some("bulkdata-status") => Some(ExportPath::Status),
        Some("bulkdata-errors") => Some(ExportPath::Errors),
        _ => Level::of(path).map(ExportPath::KickOff),
    }
}

/// The job that a query names.
#[must_use]
pub(super) fn job(query: &str) -> Option<Uuid> {
    let (_, job) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == JOB)?;
    // Only as the gateway writes it: no other spelling is a name of a file.
    Uuid::parse_str(&job).ok().filter(|parsed| parsed.to_string() == *job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_about_exports() {
        for (path, about) in [
            ("/$export", Some(ExportPath::KickOff(Level::System))),
            ("/Patient/%24export", Some(ExportPath::KickOff(Level::Patient))),
            ("/$bulkdata-status", Some(ExportPath::Status)),
            ("/%24bulkdata-status/", Some(ExportPath::Status)),
            ("/$bulkdata-errors", Some(ExportPath::Errors)),
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
