//! By what a type can be searched through the gateway: what OpenEMR announces, and what works besides.

use crate::fhir::capabilities::{ParameterType, TypeCapabilities};
use crate::fhir::criteria::definition;
use crate::fhir::search_parameters;
use crate::openemr::breakages::Measured;
use crate::openemr::request_parameters::is_openemrs_own;
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

/// A parameter by which a type can be searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Honoured<'a> {
    /// The name.
    pub(crate) name: &'a str,
    /// The type, where it is known.
    pub(crate) kind: Option<ParameterType>,
    /// Who selects by it.
    pub(crate) by: By,
}

/// Who selects by a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// OpenEMR, which announces it.
    OpenEmr,
    /// OpenEMR, which does not announce it, or is asked for it otherwise.
    OpenEmrUnannounced,
    /// The gateway, where the work is bounded.
    Gateway,
}

/// The parameters by which a type can be searched: those that OpenEMR announces, and the others.
#[must_use]
pub(crate) fn all<'a>(
    resource_type: &str,
    version: Option<Version>,
    measured: Measured,
    known: &'a TypeCapabilities,
) -> Vec<Honoured<'a>> {
    let has = |name: &str| known.search_parameters.contains(name);
    let definition = |name: &str| definition::of(resource_type, name);
    let announced = known.search_parameters.iter().filter_map(|name| {
        let by = match measured.is_never_asked(resource_type, name) {
            true if definition(name).is_none() => return None,
            true => By::Gateway,
            false => By::OpenEmr,
        };
        Some(Honoured { name, kind: known.kind(name), by })
    });
    let unannounced = |name: &'static str, kind| Honoured { name, kind: Some(kind), by: By::OpenEmrUnannounced };
    // The gateway asks for the patient instead, and for the id.
    let subject = has("patient") && search_parameters::defines(resource_type, "subject");
    let category = has_category(resource_type, version);
    let identifier = resource_type == "Encounter" && definition("identifier").is_some();
    let works = [
        (subject, unannounced("subject", ParameterType::Reference)),
        (category, unannounced("category", ParameterType::Token)),
        (identifier, unannounced("identifier", ParameterType::Token)),
    ];
    let works: Vec<_> = works.into_iter().filter(|(works, one)| *works && !has(one.name)).map(|(_, one)| one).collect();
    let is_sent = |name: &str| has(name) || works.iter().any(|one| one.name == name);
    // `Media.site` is a name that no client may send.
    let is_tested = |name: &&str| !is_sent(name) && !is_openemrs_own(name.as_bytes());
    let tested = search_parameters::of_type(resource_type).filter(is_tested);
    let tested = tested.filter_map(|name| Some(Honoured { name, kind: Some(definition(name)?.kind), by: By::Gateway }));
    announced.chain(works.iter().copied()).chain(tested).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_besides() {
        let mut known = TypeCapabilities::default();
        known.announce("patient".to_owned(), ParameterType::Reference);
        let names = |resource_type: &str, version, known: &TypeCapabilities| {
            let all = all(resource_type, version, Measured::of(None), known);
            let own = all.iter().filter(|one| one.by == By::OpenEmrUnannounced);
            own.map(|one| one.name.to_owned()).collect::<Vec<_>>()
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
    fn what_the_gateway_tests_is_named_once() {
        let mut known = TypeCapabilities::default();
        for name in ["patient", "_id", "date"] {
            known.announce(name.to_owned(), None);
        }
        let all = all("Encounter", Some(Version::Modern), Measured::of(None), &known);
        let names: std::collections::BTreeSet<_> = all.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), all.len());
        let by = |name: &str| all.iter().find(|one| one.name == name).map(|one| one.by);
        assert_eq!((by("status"), by("date"), by("length")), (Some(By::Gateway), Some(By::OpenEmr), None));
        let all = super::all("Media", Some(Version::Modern), Measured::of(None), &known);
        assert!(all.iter().any(|one| one.name == "view") && all.iter().all(|one| one.name != "site"));
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
