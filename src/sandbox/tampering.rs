//! Answers with what was not asked for: another patient's resources, and those that a search should have left out.

use std::sync::Arc;

use serde_json::Value;

use super::{faults::FhirFaults, population::Population, resource::Resource};

/// Takes the parameters out of a search that OpenEMR ignores.
pub(super) fn ignore(faults: &FhirFaults, parameters: &mut Vec<(String, String)>) {
    let base = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
    parameters.retain(|(name, _)| !faults.ignore_parameters.contains(&base(name)));
}

/// Returns a resource of the patient whom the faults name: one of this type, or else the Patient.
pub(super) fn foreign(faults: &FhirFaults, population: &Population, resource_type: &str) -> Option<Arc<Resource>> {
    let patient = faults.foreign_patient.as_deref()?;
    let reference = format!("Patient/{patient}");
    let own = population.all(resource_type).iter().find(|resource| {
        if resource_type == "Patient" { resource.id == patient } else { refers_to(&resource.value, &reference) }
    });
    own.or_else(|| population.get("Patient", patient)).cloned()
}

/// Puts another patient's resource in the place of the first one that a search finds, and behind the last one.
pub(super) fn mix_in(faults: &FhirFaults, population: &Population, resource_type: &str, found: &mut Vec<Arc<Resource>>) {
    if let Some(foreign) = foreign(faults, population, resource_type) {
        if let Some(first) = found.first_mut() {
            *first = Arc::clone(&foreign);
        }
        found.push(foreign);
    }
}

fn refers_to(value: &Value, reference: &str) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| (name == "reference" && value.as_str() == Some(reference)) || refers_to(value, reference)),
        Value::Array(items) => items.iter().any(|item| refers_to(item, reference)),
        _ => false,
    }
}
