//! The scopes of a bulk export: the types that a token can export, and the scopes of a token for one type, or for one type and
//! its Provenance.
//!
//! OpenEMR exports every type that the token grants, whatever `_type` says. A token for one type is the only way to export
//! one type.
//!
//! Decision: `docs/decisions/21-bulk-export.md`.

use crate::fhir::resource_type;
use crate::scopes::scope::{Scope, Scopes};

/// The type that many installations of OpenEMR fail to export, after minutes of work.
const OFTEN_FAILING: &str = "Provenance";
/// The scope for the status of an export.
const STATUS: &str = "system/*.$bulkdata-status";
/// The scope for the files of an export, in the v1 syntax.
const FILES: &str = "system/Binary.read";

/// Returns the types that a granted scope (space separated, RFC 6749 section 3.3) lets be read, each once, in the order of the
/// scope. The type that often fails comes last.
#[must_use]
pub(crate) fn readable_types(granted: &str) -> Vec<&'static str> {
    let mut types = Vec::new();
    for scope in granted.split(' ').filter(|scope| reads(scope)) {
        if let Some(name) = subject(scope).and_then(|name| resource_type::known(name.as_bytes()))
            && !types.contains(&name)
        {
            types.push(name);
        }
    }
    types.sort_by_key(|name| *name == OFTEN_FAILING);
    types
}

/// Returns the scopes, apart from those of the types, that an export requires and `granted` lacks. `operation` is the scope of
/// the `$export` at its level; the scope of another level does not stand for it.
#[must_use]
pub(crate) fn missing(granted: &str, operation: &'static str) -> Vec<&'static str> {
    let has = |fits: &dyn Fn(&str) -> bool| granted.split(' ').any(fits);
    [
        (operation, has(&|scope| scope == operation)),
        (STATUS, has(&|scope| scope == STATUS)),
        (FILES, has(&|scope| reads(scope) && subject(scope) == Some("Binary"))),
    ]
    .into_iter()
    .filter_map(|(scope, is_there)| (!is_there).then_some(scope))
    .collect()
}

/// Reduces scopes, in their own syntax, to those that an export of these types requires: the types' read scopes, those of the
/// export operations, and that of the files. `None` when there is a type that no scope is of.
#[must_use]
pub(crate) fn narrowed(scopes: &Scopes, types: &[&str]) -> Option<Scopes> {
    let is_of = |scope: &Scope, name: &str| reads(scope.as_str()) && subject(scope.as_str()) == Some(name);
    if !types.iter().all(|name| scopes.iter().any(|scope| is_of(scope, name))) {
        return None;
    }
    let is_kept = |scope: &&Scope| {
        types.iter().any(|name| is_of(scope, name))
            || is_of(scope, "Binary")
            || is_operation(scope.as_str(), "$export")
            || is_operation(scope.as_str(), "$bulkdata-status")
    };
    Scopes::new(scopes.iter().filter(is_kept).cloned())
}

fn parts(scope: &str) -> Option<(&str, &str)> {
    scope.strip_prefix("system/")?.split_once('.')
}

fn subject(scope: &str) -> Option<&str> {
    parts(scope).map(|(subject, _)| subject)
}

fn is_operation(scope: &str, name: &str) -> bool {
    parts(scope).is_some_and(|(_, permission)| permission == name)
}

/// Whether a scope permits reading or searching: `read`, or letters with `r` or `s` among them.
fn reads(scope: &str) -> bool {
    parts(scope).is_some_and(|(_, permission)| match permission.split('?').next().unwrap_or_default() {
        "read" => true,
        "write" => false,
        letters => !letters.starts_with('$') && letters.contains(['r', 's']),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRANTED: &str = "system/Provenance.read system/Patient.rs system/Patient.write system/Observation.s?category=x|y \
        system/Goal.c system/Patient.$export system/*.$bulkdata-status system/Binary.read system/Nonsense.read openid";

    #[test]
    fn the_types_that_can_be_read() {
        assert_eq!(readable_types(GRANTED), ["Patient", "Observation", "Binary", "Provenance"]);
        assert!(readable_types("").is_empty());
    }

    #[test]
    fn missing_scopes_are_named() {
        assert!(missing(GRANTED, "system/Patient.$export").is_empty());
        for level in ["system/*.$export", "system/Group.$export"] {
            assert_eq!(missing(GRANTED, level), [level], "no level stands for another");
        }
        let nothing = missing("system/Patient.read", "system/Group.$export");
        assert_eq!(nothing, ["system/Group.$export", "system/*.$bulkdata-status", "system/Binary.read"]);
        assert_eq!(
            missing("system/*.$export system/*.$bulkdata-status system/Binary.write", "system/*.$export"),
            ["system/Binary.read"]
        );
    }

    #[test]
    fn a_set_is_narrowed_in_its_own_spelling() {
        let parse = |text: &str| Scopes::new(text.split(' ').map(|scope| Scope::parse(scope).unwrap())).unwrap();
        let v2 = parse(
            "system/Patient.rs system/Patient.cud system/Observation.rs?category=a system/Observation.rs?category=b system/Binary.rs system/*.$export system/*.$bulkdata-status system/DocumentReference.$docref",
        );
        assert_eq!(
            narrowed(&v2, &["Observation"]).unwrap().to_string(),
            "system/Observation.rs?category=a system/Observation.rs?category=b system/Binary.rs system/*.$export system/*.$bulkdata-status"
        );
        assert_eq!(
            narrowed(&v2, &["Patient"]).unwrap().to_string(),
            "system/Patient.rs system/Binary.rs system/*.$export system/*.$bulkdata-status"
        );
        assert_eq!(
            narrowed(&v2, &["Patient", "Observation"]).unwrap().to_string(),
            "system/Patient.rs system/Observation.rs?category=a system/Observation.rs?category=b system/Binary.rs system/*.$export system/*.$bulkdata-status"
        );
        assert_eq!(narrowed(&v2, &["Goal"]), None);
        assert_eq!(narrowed(&v2, &["Patient", "Provenance"]), None);
        let v1 = parse("system/Goal.read system/Patient.$export system/Binary.read");
        assert_eq!(narrowed(&v1, &["Goal"]).unwrap().to_string(), "system/Goal.read system/Patient.$export system/Binary.read");
    }
}
