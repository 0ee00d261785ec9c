//! SMART system scopes, in the v1 (`system/Patient.read`) and v2 (`system/Patient.rs`) syntaxes (SMART App Launch 2.2, "Scopes
//! for requesting FHIR Resources").
//!
//! OpenEMR is stricter than SMART: it knows no wildcards, and rejects a whole token request for one scope that it does not
//! know.

use std::fmt;

/// The reason why a text is no scope that a system client can request from OpenEMR. It goes on from the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScopeError {
    /// The scope has another context than `system/`, such as `patient/` or `user/`, or none.
    #[error("is not a system scope")]
    NotSystem,
    /// A wildcard such as `system/*.read`. OpenEMR answers `invalid_scope` to all of them but those of the export operations.
    #[error("is a wildcard, which OpenEMR refuses")]
    Wildcard,
    /// The text has not the form `system/<Type>.<permission>`.
    #[error("is not of the form system/<ResourceType>.<read|write|cruds letters|$operation>")]
    Malformed,
}

/// A `system/…` scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope(String);

impl Scope {
    /// Parses one scope.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub(crate) fn parse(text: &str) -> Result<Self, ScopeError> {
        let rest = text.strip_prefix("system/").ok_or(ScopeError::NotSystem)?;
        let (resource, permission) = rest.split_once('.').ok_or(ScopeError::Malformed)?;
        let operation = permission.strip_prefix('$');
        let known_permission = match operation {
            Some(name) => is_operation_name(name),
            None => is_permission(permission),
        };
        if permission == "*" || (resource == "*" && operation.is_none()) {
            return Err(ScopeError::Wildcard);
        }
        if !(known_permission && (resource == "*" || is_type_name(resource))) {
            return Err(ScopeError::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the scope as it is sent.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the resource type that the scope permits to search, with whatever narrows it left out.
    #[must_use]
    pub(crate) fn searched_type(&self) -> Option<&str> {
        let (resource, permission) = self.0.strip_prefix("system/")?.split_once('.')?;
        let permission = permission.split('?').next().unwrap_or_default();
        let search = Letters([false, false, false, false, true]);
        Letters::of(permission)?.contains(search).then_some(resource)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_type_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn is_operation_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Whether a text is a permission: `read`, `write`, or letters of `cruds` in that order, which may have a `?param=value` after
/// them.
fn is_permission(text: &str) -> bool {
    if matches!(text, "read" | "write") {
        return true;
    }
    let (letters, query) = text.split_once('?').map_or((text, None), |(l, q)| (l, Some(q)));
    let mut order = "cruds".chars();
    !letters.is_empty()
        && letters.chars().all(|letter| order.any(|next| next == letter))
        && query.is_none_or(|q| q.contains('=') && q.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\'))
}

/// The scopes of a token request: at least one, each once, in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Collects scopes and drops repeated ones; `None` when there are none.
    #[must_use]
    pub(crate) fn new(scopes: impl IntoIterator<Item = Scope>) -> Option<Self> {
        let mut unique: Vec<Scope> = Vec::new();
        for scope in scopes {
            if !unique.contains(&scope) {
                unique.push(scope);
            }
        }
        (!unique.is_empty()).then_some(Self(unique))
    }

    /// Returns the same scopes in the order of their names.
    #[must_use]
    pub(crate) fn sorted(&self) -> Self {
        let mut scopes = self.0.clone();
        scopes.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        Self(scopes)
    }

    /// Returns the scopes in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Returns the scopes that `granted` (space separated, RFC 6749 section 3.3) does not cover. Both syntaxes of SMART are the
    /// same permissions: a server may grant `.rs` for `.read`.
    #[must_use]
    pub(crate) fn missing_from(&self, granted: &str) -> Vec<&Scope> {
        self.iter().filter(|scope| !is_covered(scope, granted)).collect()
    }
}

impl fmt::Display for Scopes {
    /// Writes the scopes separated by spaces, as in the `scope` parameter of a token request.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

/// Whether granted scopes cover one that was asked for: word for word, or together every interaction that it permits. A granted
/// scope with a `?param=value` covers no other.
fn is_covered(asked: &Scope, granted: &str) -> bool {
    let all = || granted.split_whitespace();
    if all().any(|one| one == asked.as_str()) {
        return true;
    }
    fn parts(scope: &str) -> Option<(&str, Letters)> {
        let (resource, permission) = scope.strip_prefix("system/")?.split_once('.')?;
        Some((resource, Letters::of(permission)?))
    }
    // What is narrowed by a query is covered by the same without it.
    let without_query = asked.as_str().split_once('?').map_or(asked.as_str(), |(scope, _)| scope);
    let Some((resource, wanted)) = parts(without_query) else { return false };
    let of_resource = all().filter_map(parts).filter(|(other, _)| *other == resource || *other == "*");
    let permitted = of_resource.fold(Letters::default(), |letters, (_, more)| letters.union(more));
    permitted.contains(wanted)
}

/// The interactions that a permission allows, as the letters of SMART's v2 syntax, in the order of `cruds`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Letters([bool; 5]);

impl Letters {
    /// The letters of `read`, `write`, `*` or `cruds`; `None` for an operation and for a permission with a query. SMART's `write`
    /// is `cud`; OpenEMR deletes nothing, so that `cu` is all of it.
    fn of(permission: &str) -> Option<Self> {
        match permission {
            "read" => Some(Self([false, true, false, false, true])),
            "write" => Some(Self([true, false, true, false, false])),
            "*" => Some(Self([true; 5])),
            letters if is_permission(letters) && !letters.contains('?') => {
                Some(Self(["c", "r", "u", "d", "s"].map(|l| letters.contains(l))))
            }
            _ => None,
        }
    }

    fn union(self, other: Self) -> Self {
        let mut union = self.0;
        union.iter_mut().zip(other.0).for_each(|(one, other)| *one |= other);
        Self(union)
    }

    fn contains(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(one, other)| *one || !other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_openemr_grants() {
        for good in [
            "system/Patient.read",
            "system/Patient.write",
            "system/Observation.rs",
            "system/Patient.cruds",
            "system/Condition.rs?category=http://terminology.hl7.org/CodeSystem/condition-category|problem-list-item",
            "system/*.$export",
            "system/*.$bulkdata-status",
            "system/Group.$export",
        ] {
            assert_eq!(Scope::parse(good).map(|s| s.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn refuses_the_rest_with_its_reason() {
        for (bad, reason) in [
            ("openid", ScopeError::NotSystem),
            ("patient/Patient.read", ScopeError::NotSystem),
            ("system/*.read", ScopeError::Wildcard),
            ("system/*.rs", ScopeError::Wildcard),
            ("system/*.*", ScopeError::Wildcard),
            ("system/Patient.*", ScopeError::Wildcard),
            ("system/", ScopeError::Malformed),
            ("system/Patient", ScopeError::Malformed),
            ("system/Patient.", ScopeError::Malformed),
            ("system/Patient.reed", ScopeError::Malformed),
            ("system/Patient.sr", ScopeError::Malformed),
            ("system/Patient.rr", ScopeError::Malformed),
            ("system/patient.read", ScopeError::Malformed),
            ("system/Patient.read system/Goal.read", ScopeError::Malformed),
            ("system/Patient.rs?x=a b", ScopeError::Malformed),
        ] {
            assert_eq!(Scope::parse(bad), Err(reason), "{bad}");
        }
    }

    #[test]
    fn both_syntaxes_grant_the_same() {
        for (asked, granted, is_covered) in [
            ("system/Patient.read", "system/Patient.rs", true),
            ("system/Patient.read", "system/Patient.r system/Patient.s", true),
            ("system/Patient.read", "system/Patient.cruds", true),
            ("system/Patient.read", "system/*.rs", true),
            ("system/Patient.read", "system/*.read", true),
            ("system/Patient.read", "system/*.*", true),
            ("system/Patient.rs", "system/Patient.read", true),
            ("system/Patient.s", "system/Patient.read", true),
            ("system/Patient.write", "system/Patient.cud", true),
            ("system/Patient.write", "system/Patient.cu", true),
            ("system/Patient.cud", "system/Patient.write", false),
            ("system/Patient.cruds", "system/Patient.read system/Patient.write", false),
            ("system/Patient.crus", "system/Patient.read system/Patient.write", true),
            ("system/Patient.read", "system/Patient.r", false),
            ("system/Patient.read", "system/Patient.write", false),
            ("system/Patient.read", "system/Observation.rs", false),
            ("system/Patient.read", "user/Patient.rs", false),
            ("system/Patient.read", "system/Patient.rs?_id=1", false),
            ("system/Condition.rs?category=a", "system/Condition.rs", true),
            ("system/Condition.rs?category=a", "system/Condition.read", true),
            ("system/Condition.rs?category=a", "system/Condition.rs?category=b", false),
            ("system/Condition.rs?category=a", "system/Condition.rs?category=a", true),
            ("system/*.$export", "system/*.$export", true),
            ("system/Patient.$export", "system/*.*", false),
            ("system/Patient.$export", "system/Patient.$export\tsystem/Goal.rs", true),
            ("system/Patient.read", "", false),
        ] {
            let scopes = Scopes::new([Scope::parse(asked).unwrap()]).unwrap();
            assert_eq!(scopes.missing_from(granted).is_empty(), is_covered, "{asked} in {granted}");
        }
    }

    #[test]
    fn names_what_was_dropped() {
        let scopes = Scopes::new(["system/Patient.read", "system/Goal.read"].map(|s| Scope::parse(s).unwrap())).unwrap();
        let missing = scopes.missing_from("system/Patient.read");
        assert_eq!(missing.iter().map(|s| s.as_str()).collect::<Vec<_>>(), ["system/Goal.read"]);
        assert!(scopes.missing_from("system/Goal.read system/Patient.read").is_empty());
    }
}
