//! The addresses of a bulk export, below the FHIR base.

use crate::fhir::export_level::Level;

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
}
