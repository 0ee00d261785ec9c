//! One criterion of a search: a parameter with its modifier and its values, of which a resource must meet one.

use serde_json::Value;

use crate::fhir::criteria::definition::{self, Definition};

/// One criterion of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    definition: &'static Definition,
    values: Vec<String>,
}

/// Why a parameter cannot be tested on resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untestable {
    /// It is not known what it selects by.
    Undefined,
    /// It has a modifier that cannot be tested.
    Modifier,
    /// Its value is none of its kind.
    Value,
}

impl Criterion {
    /// Reads a parameter of a search for a type: its name with its modifier, and its value with commas as the client meant them
    /// (percent-decoded).
    ///
    /// # Errors
    /// It cannot be tested.
    pub(crate) fn read(resource_type: &str, name: &str, value: &str) -> Result<Self, Untestable> {
        let (base, modifier) = name.split_once(':').map_or((name, None), |(base, modifier)| (base, Some(modifier)));
        let definition = definition::of(resource_type, base).ok_or(Untestable::Undefined)?;
        if modifier.is_some() {
            return Err(Untestable::Modifier);
        }
        Ok(Self { definition, values: value.split(',').map(str::to_owned).collect() })
    }

    /// Whether a resource meets it.
    #[must_use]
    pub(crate) fn is_met_by(&self, resource: &Value) -> bool {
        let found = self.definition.paths.iter().filter_map(|path| resource.get(path)?.as_str());
        found.into_iter().any(|found| self.values.iter().any(|value| value == found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_compared() {
        let criterion = Criterion::read("Encounter", "status", "planned,finished").unwrap();
        assert!(criterion.is_met_by(&serde_json::json!({"status": "finished"})));
        assert!(!criterion.is_met_by(&serde_json::json!({"status": "arrived"})));
        assert_eq!(Criterion::read("Encounter", "status:in", "x"), Err(Untestable::Modifier));
        assert_eq!(Criterion::read("Encounter", "shoe", "x"), Err(Untestable::Undefined));
    }
}
