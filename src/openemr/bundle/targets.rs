//! What a Provenance is about.

use serde::Deserialize;

/// The part of a Provenance that says what it is about (FHIR R4, `Provenance.target`).
#[derive(Deserialize)]
struct Provenance {
    #[serde(default)]
    target: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    #[serde(default)]
    reference: String,
}

/// The references to the resources that a Provenance is about; `None` where it cannot be read.
#[must_use]
pub(crate) fn of(provenance: &[u8]) -> Option<Vec<String>> {
    let Provenance { target } = serde_json::from_slice(provenance).ok()?;
    Some(target.into_iter().map(|target| target.reference).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_provenance_is_about() {
        for (provenance, expected) in [
            (r#"{"id":"1","target":[{"reference":"Patient\/1"},{"display":"x"}]}"#, Some(vec!["Patient/1", ""])),
            (r#"{"t\u0061rget":[]}"#, Some(vec![])),
            ("{}", Some(vec![])),
            (r#"{"target":[{"reference":1}]}"#, None),
            (r#"{"target":[],"target":[]}"#, None),
            ("{", None),
        ] {
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(of(provenance.as_bytes()), expected, "{provenance}");
        }
    }
}
