//! What OpenEMR makes of the three levels of a bulk export.

use crate::fhir::export_level::Level;

/// Types that OpenEMR exports at no level: files, and definitions of the server itself.
const NEVER_EXPORTED: [&str; 2] = ["Binary", "OperationDefinition"];
/// Types that hold nothing about a patient and that no patient's data needs to be understood.
const NOT_OF_PATIENTS: [&str; 2] = ["Questionnaire", "ValueSet"];

/// Returns the scope that OpenEMR demands for an export of this level.
#[must_use]
pub(crate) fn scope(level: &Level) -> &'static str {
    match level {
        Level::System => "system/*.$export",
        Level::Patient => "system/Patient.$export",
        Level::Group(_) => "system/Group.$export",
    }
}

/// Whether an export of this level can hold resources of a type.
#[must_use]
pub(crate) fn can_hold(level: &Level, resource_type: &str) -> bool {
    !NEVER_EXPORTED.contains(&resource_type) && (*level == Level::System || !NOT_OF_PATIENTS.contains(&resource_type))
}
