//! The scopes that OpenEMR knows, which requested ones it grants, and what a granted one allows.
//!
//! 8.0 compares context and resource, then permissions; 7.0.3 compares strings. Neither knows wildcards.

use std::collections::HashSet;

use serde_json::Value;

use super::{discovery, personality::Personality};

/// The scopes that a server lists in its `openid-configuration`.
pub(super) struct KnownScopes {
    personality: Personality,
    listed: Vec<String>,
    set: HashSet<String>,
    /// Context and resource of the listed scopes other than operations, as in `system/Patient`.
    subjects: HashSet<String>,
}

impl KnownScopes {
    /// Reads the scopes of a release from its recording.
    pub(super) fn of(personality: Personality) -> KnownScopes {
        let template = discovery::openid_configuration_template(personality);
        let listed: Vec<String> = serde_json::from_str::<Value>(template)
            .ok()
            .and_then(|document| document.get("scopes_supported").and_then(Value::as_array).cloned())
            .unwrap_or_default()
            .iter()
            .filter_map(|scope| scope.as_str().map(str::to_owned))
            .collect();
        let subjects = listed
            .iter()
            .filter_map(|scope| Scope::parse(scope))
            .filter(|scope| !scope.permission.starts_with('$'))
            .map(|scope| scope.subject.to_owned())
            .collect();
        KnownScopes { personality, set: listed.iter().cloned().collect(), listed, subjects }
    }

    /// Returns the scopes in the order of the discovery document.
    pub(super) fn listed(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().map(String::as_str)
    }

    /// Returns whether a token request may name `scope`; otherwise it is answered with `invalid_scope`.
    pub(super) fn knows(&self, scope: &str) -> bool {
        if self.set.contains(scope) {
            return true;
        }
        match self.personality {
            Personality::V7_0_3 => false,
            Personality::V8_0 | Personality::Next => Scope::parse(scope).is_some_and(|parsed| {
                parsed.restriction.is_none()
                    && self.subjects.contains(parsed.subject)
                    && parsed.letters().is_some_and(|letters| {
                        let has = |wanted: &str| wanted.chars().all(|letter| letters.contains(letter));
                        has("rs") || has("cud") || letters == "r" || letters == "s"
                    })
            }),
        }
    }

    /// Returns whether a client registered for `registered` is granted `requested`. Scopes that are not granted are dropped
    /// silently.
    pub(super) fn grants(&self, registered: &[String], requested: &str) -> bool {
        if registered.iter().any(|scope| scope == requested) {
            return true;
        }
        match self.personality {
            Personality::V7_0_3 => false,
            Personality::V8_0 | Personality::Next => {
                let Some(wanted) = Scope::parse(requested) else {
                    return false;
                };
                let Some(letters) = wanted.letters() else {
                    return false;
                };
                letters.chars().all(|letter| {
                    registered.iter().filter_map(|scope| Scope::parse(scope)).any(|held| {
                        held.subject == wanted.subject
                            && (held.restriction.is_none() || held.restriction == wanted.restriction)
                            && held.letters().is_some_and(|held| held.contains(letter))
                    })
                })
            }
        }
    }
}

impl Personality {
    /// Returns the system scopes that a SMART Backend Services client of this release can be granted: those for FHIR
    /// resources, those for exports, and those for writing.
    pub fn system_scopes(self) -> Vec<String> {
        let mut scopes: Vec<String> = KnownScopes::of(self)
            .listed()
            .filter(|scope| {
                scope.strip_prefix("system/").is_some_and(|rest| {
                    let listed_for_fhir = rest.starts_with(|first: char| first.is_ascii_uppercase() || first == '*');
                    // The other v2 forms repeat these, and the restricted ones grant less.
                    listed_for_fhir && (rest.ends_with(".read") || rest.contains(".$") || is_only_v2(rest))
                })
            })
            .map(str::to_owned)
            .collect();
        scopes.extend(self.written_types().iter().map(|name| format!("system/{name}.write")));
        scopes
    }
}

/// Returns whether 8.0 lists the scope's type in the v2 syntax alone.
fn is_only_v2(rest: &str) -> bool {
    ["Media", "MedicationDispense", "Questionnaire", "QuestionnaireResponse", "RelatedPerson", "ServiceRequest", "Specimen"]
        .iter()
        .any(|only| rest.strip_suffix(".rs") == Some(only))
}

/// A parsed scope, as in `system/Observation.rs?category=…`.
struct Scope<'a> {
    subject: &'a str,
    permission: &'a str,
    restriction: Option<&'a str>,
}

impl<'a> Scope<'a> {
    fn parse(scope: &'a str) -> Option<Scope<'a>> {
        let (unrestricted, restriction) = match scope.split_once('?') {
            Some((left, right)) => (left, Some(right)),
            None => (scope, None),
        };
        let (subject, permission) = unrestricted.split_once('.')?;
        subject.contains('/').then_some(Scope { subject, permission, restriction })
    }

    /// Returns the permission in v2 letters: `read` is `rs`, `write` is `cud`. `None` for operations, and for letters
    /// that are repeated or out of order.
    fn letters(&self) -> Option<&'a str> {
        match self.permission {
            "read" => Some("rs"),
            "write" => Some("cud"),
            letters => {
                let mut rest = "cruds";
                for letter in letters.chars() {
                    let at = rest.find(letter)?;
                    rest = rest.get(at + 1..)?;
                }
                (!letters.is_empty()).then_some(letters)
            }
        }
    }
}

/// What a request does with a resource type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interaction {
    /// `GET /{type}`, `POST /{type}/_search`.
    Search,
    /// `GET /{type}/{id}`.
    Read,
    /// `POST /{type}`.
    Create,
    /// `PUT /{type}/{id}`.
    Update,
}

/// Returns whether a token with these scopes allows an interaction: on 8.0 by letter, on 7.0.3 `read` for GET and `write`
/// for the rest.
pub(super) fn allows(personality: Personality, granted: &[String], resource_type: &str, interaction: Interaction) -> bool {
    let letter = match interaction {
        Interaction::Search => 's',
        Interaction::Read => 'r',
        Interaction::Create => 'c',
        Interaction::Update => 'u',
    };
    granted.iter().filter_map(|scope| Scope::parse(scope)).any(|scope| {
        scope.subject.strip_prefix("system/") == Some(resource_type)
            && match personality {
                Personality::V8_0 | Personality::Next => scope.letters().is_some_and(|letters| letters.contains(letter)),
                Personality::V7_0_3 => match interaction {
                    Interaction::Search | Interaction::Read => scope.permission == "read",
                    Interaction::Create | Interaction::Update => scope.permission == "write",
                },
            }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    #[test]
    fn known_and_unknown_scopes_by_version() {
        let cases = [
            ("system/Patient.read", true, true),
            ("system/Patient.rs", true, false),
            ("system/Patient.r", true, false),
            ("system/Patient.s", true, false),
            ("system/Patient.write", true, false),
            ("system/Patient.cruds", true, false),
            ("system/Patient.cu", false, false),
            ("system/Patient.c", false, false),
            ("system/Patient.sr", false, false),
            ("system/Patient.", false, false),
            ("system/Nonsense.read", false, false),
            ("system/*.read", false, false),
            ("system/*.write", false, false),
            ("system/*.$export", true, true),
            ("system/Media.read", true, false),
            ("nonsense", false, false),
        ];
        let eight = KnownScopes::of(Personality::V8_0);
        let seven = KnownScopes::of(Personality::V7_0_3);
        for (scope, in_eight, in_seven) in cases {
            assert_eq!(eight.knows(scope), in_eight, "8.0 {scope}");
            assert_eq!(seven.knows(scope), in_seven, "7.0.3 {scope}");
        }
    }

    #[test]
    fn a_registered_scope_covers_its_parts_on_8_0_only() {
        let registered = vec!["system/Patient.read".to_owned(), "system/Patient.write".to_owned()];
        let eight = KnownScopes::of(Personality::V8_0);
        let seven = KnownScopes::of(Personality::V7_0_3);
        for (asked, in_eight) in [
            ("system/Patient.rs", true),
            ("system/Patient.s", true),
            ("system/Patient.cruds", true),
            ("system/Observation.read", false),
        ] {
            assert_eq!(eight.grants(&registered, asked), in_eight, "{asked}");
            assert!(!seven.grants(&registered, asked), "{asked}");
        }
        assert!(seven.grants(&registered, "system/Patient.read"));
    }

    #[test]
    fn every_offered_scope_is_known() {
        for personality in [Personality::V8_0, Personality::V7_0_3] {
            let known = KnownScopes::of(personality);
            let offered = personality.system_scopes();
            assert!(offered.len() > 25);
            assert!(offered.iter().all(|scope| known.knows(scope)));
        }
    }

    #[test]
    fn letters_decide_on_8_0_words_on_7_0_3() {
        let granted = vec!["system/Patient.s".to_owned(), "system/Encounter.read".to_owned()];
        let allowed = |personality, resource_type, interaction| allows(personality, &granted, resource_type, interaction);
        assert!(allowed(Personality::V8_0, "Patient", Interaction::Search));
        assert!(!allowed(Personality::V8_0, "Patient", Interaction::Read));
        assert!(!allowed(Personality::V8_0, "Patient", Interaction::Create));
        assert!(allowed(Personality::V7_0_3, "Encounter", Interaction::Read));
        assert!(!allowed(Personality::V7_0_3, "Patient", Interaction::Search));
    }
}
