//! By what a type can be searched through the gateway: what OpenEMR announces, and what works besides.

use crate::fhir::capabilities::{ParameterType, TypeCapabilities};
use crate::fhir::search_parameters;
use crate::openemr::version::Version;

/// The values of `Condition.category` by which OpenEMR 7.0.4 and later selects. It takes any other value for all.
const CATEGORIES: [&str; 2] = ["encounter-diagnosis", "problem-list-item"];
/// The system of these codes.
const CATEGORY_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/condition-category";

/// Whether conditions can be searched by their category, which OpenEMR does not announce.
#[must_use]
pub(crate) fn has_category(resource_type: &str, version: Option<Version>) -> bool {
    resource_type == "Condition" && version == Some(Version::Modern)
}

/// Whether a value of `Condition.category` selects something.
#[must_use]
pub(crate) fn is_category(value: &str) -> bool {
    let code = match value.split_once('|') {
        Some((system, code)) if system == CATEGORY_SYSTEM => code,
        Some(_) => return false,
        None => value,
    };
    CATEGORIES.contains(&code)
}

/// Iterates over the parameters that work without being announced.
pub(crate) fn unannounced(
    resource_type: &str,
    version: Option<Version>,
    known: &TypeCapabilities,
) -> impl Iterator<Item = (&'static str, ParameterType)> + Clone + use<> {
    let has = |name: &str| known.search_parameters.contains(name);
    // The gateway asks for the patient instead.
    let subject = has("patient") && !has("subject") && search_parameters::defines(resource_type, "subject");
    let category = has_category(resource_type, version) && !has("category");
    [(subject, "subject", ParameterType::Reference), (category, "category", ParameterType::Token)]
        .into_iter()
        .filter_map(|(works, name, kind)| works.then_some((name, kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_besides() {
        let mut known = TypeCapabilities::default();
        known.announce("patient".to_owned(), ParameterType::Reference);
        let names = |resource_type: &str, version, known: &TypeCapabilities| {
            unannounced(resource_type, version, known).map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("Condition", Some(Version::Modern), &known), ["subject", "category"]);
        assert_eq!(names("Condition", Some(Version::Old), &known), ["subject"]);
        assert_eq!(names("Condition", None, &known), ["subject"]);
        // AllergyIntolerance has no subject in FHIR.
        assert!(names("AllergyIntolerance", Some(Version::Modern), &known).is_empty());
        known.announce("category".to_owned(), ParameterType::Token);
        assert_eq!(names("Condition", Some(Version::Modern), &known), ["subject"]);
        assert!(names("Patient", Some(Version::Modern), &TypeCapabilities::default()).is_empty());
    }

    #[test]
    fn two_categories_select() {
        for (value, expected) in [
            ("problem-list-item", true),
            ("encounter-diagnosis", true),
            ("http://terminology.hl7.org/CodeSystem/condition-category|problem-list-item", true),
            ("http://other|problem-list-item", false),
            ("health-concern", false),
            ("problem-list-item,encounter-diagnosis", false),
            ("Problem-List-Item", false),
            ("", false),
            ("|problem-list-item", false),
        ] {
            assert_eq!(is_category(value), expected, "{value}");
        }
    }
}
