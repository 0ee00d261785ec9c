//! The R4 patient compartment (FHIR R4, CompartmentDefinition "patient"): by which elements a resource belongs to patients.
