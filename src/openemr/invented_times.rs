//! The types whose `meta.lastUpdated` OpenEMR makes up.
//!
//! OpenEMR has no time of the last change for most of its records. It writes the time of the answer into `meta.lastUpdated`, so
//! `_lastUpdated` and `_since` select nothing that means anything there.

/// The types of whose records OpenEMR knows when they were changed, as measured on 7.0.3 and 8.0.0.
const REAL: [&str; 3] = ["Patient", "Condition", "Encounter"];

/// Whether OpenEMR makes up the times of this type.
#[must_use]
pub(crate) fn are_invented(resource_type: &str) -> bool {
    !REAL.contains(&resource_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_types_have_times() {
        assert!(!are_invented("Patient") && !are_invented("Condition") && !are_invented("Encounter"));
        assert!(are_invented("Observation") && are_invented("Immunization"));
    }
}
