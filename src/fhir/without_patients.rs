//! The resource types that hold nothing of patients.
//!
//! They are outside of R4's patient compartment (CompartmentDefinition "patient"). OpenEMR's Location is none of them: its rows are the
//! homes of patients, too, with nothing that says whose.

/// Whether resources of this type hold nothing of patients.
#[must_use]
pub(crate) fn is_without_patients(resource_type: &[u8]) -> bool {
    WITHOUT_PATIENTS.binary_search_by(|name| name.as_bytes().cmp(resource_type)).is_ok()
}

/// These types, sorted by byte.
const WITHOUT_PATIENTS: [&str; 48] = [
    "ActivityDefinition",
    "CapabilityStatement",
    "CatalogEntry",
    "ChargeItemDefinition",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "DeviceDefinition",
    "EffectEvidenceSynthesis",
    "Endpoint",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "GraphDefinition",
    "HealthcareService",
    "ImplementationGuide",
    "InsurancePlan",
    "Library",
    "Measure",
    "Medication",
    "MedicationKnowledge",
    "MedicinalProduct",
    "MessageDefinition",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "Organization",
    "OrganizationAffiliation",
    "PlanDefinition",
    "Practitioner",
    "PractitionerRole",
    "Questionnaire",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "RiskEvidenceSynthesis",
    "SearchParameter",
    "Slot",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "Substance",
    "SubstanceSpecification",
    "TerminologyCapabilities",
    "TestReport",
    "TestScript",
    "ValueSet",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::resource_type;

    #[test]
    fn each_is_a_type_and_is_found() {
        assert!(WITHOUT_PATIENTS.is_sorted());
        for name in WITHOUT_PATIENTS.iter().map(|name| name.as_bytes()) {
            assert!(resource_type::known(name).is_some() && is_without_patients(name));
        }
        assert!(!is_without_patients(b"Location") && !is_without_patients(b"Patient"));
    }
}
