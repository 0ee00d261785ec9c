//! What OpenEMR exports, at which of the three levels of a bulk export, and the scope that each level demands.

use crate::fhir::export_level::Level;
use crate::openemr::version::Version;

/// The type that OpenEMR makes from the other types of the same job. In a job of its own it is empty.
pub(crate) const PROVENANCE: &str = "Provenance";
/// Types that no export holds: files, and definitions of the server itself.
const NOT_DATA: [&str; 2] = ["Binary", "OperationDefinition"];
/// Types that OpenEMR serves and exports in no version.
const NEVER_EXPORTED: [&str; 4] = ["Medication", "PractitionerRole", "Questionnaire", "QuestionnaireResponse"];
/// Types that OpenEMR exports since 7.0.4.
const LATER_EXPORTED: [&str; 1] = ["Coverage"];
/// Types that hold nothing about a patient and that no patient's data needs to be understood.
const NOT_OF_PATIENTS: [&str; 2] = ["Questionnaire", "ValueSet"];

/// Returns the scope that OpenEMR demands for an export of this level. That of another level does not stand for it.
#[must_use]
pub(crate) fn scope(level: &Level) -> &'static str {
    match level {
        Level::System => "system/*.$export",
        Level::Patient => "system/Patient.$export",
        Level::Group(_) => "system/Group.$export",
    }
}

/// Whether an export of this level can hold resources of a type, as FHIR has it.
#[must_use]
pub(crate) fn can_hold(level: &Level, resource_type: &str) -> bool {
    !NOT_DATA.contains(&resource_type) && (*level == Level::System || !NOT_OF_PATIENTS.contains(&resource_type))
}

/// Whether this version of OpenEMR exports a type. One that is not known is taken for a later one.
#[must_use]
pub(crate) fn is_exported(version: Option<Version>, resource_type: &str) -> bool {
    let is_too_late = version == Some(Version::Old) && LATER_EXPORTED.contains(&resource_type);
    !is_too_late && !NEVER_EXPORTED.contains(&resource_type)
}

/// Whether the version of OpenEMR decides that a type is exported.
#[must_use]
pub(crate) fn depends_on_version(resource_type: &str) -> bool {
    LATER_EXPORTED.contains(&resource_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_version_exports() {
        for (name, old, modern, unknown) in [
            ("Patient", true, true, true),
            ("Provenance", true, true, true),
            ("Coverage", false, true, true),
            ("Medication", false, false, false),
            ("PractitionerRole", false, false, false),
            ("Questionnaire", false, false, false),
            ("QuestionnaireResponse", false, false, false),
        ] {
            let by = |version| is_exported(version, name);
            assert_eq!([by(Some(Version::Old)), by(Some(Version::Modern)), by(None)], [old, modern, unknown], "{name}");
        }
    }
}
