//! One rule of a policy: a SMART scope (SMART App Launch 2.2, "Scopes for requesting FHIR Resources") in the v1 or the v2 syntax.

use crate::access::line::Line;
use crate::fhir::capabilities::ParameterType;
use crate::fhir::criteria::definition;
use crate::fhir::criteria::{Criteria, Criterion};
use crate::fhir::resource_type;

/// The interactions that a rule permits, as the letters of the v2 syntax: create, read, update, delete, search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Letters(u8);

/// One of the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Letter {
    /// `c`
    Create = 1,
    /// `r`, which also permits vread and the history of one resource.
    Read = 2,
    /// `u`, which also permits patch.
    Update = 4,
    /// `d`
    Delete = 8,
    /// `s`, which also permits the histories of a type and of the system.
    Search = 16,
}

impl Letter {
    /// All, in the order in which scopes write them.
    pub(crate) const ALL: [Self; 5] = [Self::Create, Self::Read, Self::Update, Self::Delete, Self::Search];

    /// The letter, as scopes write it.
    #[must_use]
    pub(crate) fn name(self) -> char {
        match self {
            Self::Create => 'c',
            Self::Read => 'r',
            Self::Update => 'u',
            Self::Delete => 'd',
            Self::Search => 's',
        }
    }
}

impl Letters {
    /// Adds a letter.
    #[must_use]
    pub(crate) fn with(self, letter: Letter) -> Self {
        Self(self.0 | letter as u8)
    }

    /// Whether the letter is one of them.
    #[must_use]
    pub(crate) fn has(self, letter: Letter) -> bool {
        self.0 & letter as u8 != 0
    }

    /// The letters that both have.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A search parameter with the value that a resource must have: `category=http://…|laboratory`. Commas mean *or*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Constraint {
    /// The parameter, without modifier.
    pub(crate) name: String,
    /// The value, percent-decoded.
    pub(crate) value: String,
}

/// A rule: some interactions with the resources of one type, or of all, that meet every constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The type; `None` is every type.
    pub(crate) resource_type: Option<&'static str>,
    /// The interactions.
    pub(crate) letters: Letters,
    /// What a resource must meet.
    pub(crate) constraints: Vec<Constraint>,
    /// Where the scope is written.
    pub(crate) line: Line,
}

/// Why a scope cannot be a rule. The text goes on from the scope in backquotes, and the remedy says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct BadScope {
    /// What is wrong.
    pub(crate) message: String,
    /// What to write instead.
    pub(crate) remedy: String,
}

/// The constraints of a scope can only be on what every resource has where the scope is of every type.
const ANY_TYPE: &str = "Basic";

impl Rule {
    /// Reads a scope of a system client: `system/Patient.rs`, `system/*.read`,
    /// `system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory`.
    ///
    /// # Errors
    /// It is no such scope, or has a constraint that cannot be enforced.
    pub(crate) fn parse(scope: &str, line: Line) -> Result<Self, BadScope> {
        let bad = |what: &str, remedy: &str| BadScope { message: format!("`{scope}` {what}"), remedy: remedy.to_owned() };
        let Some(rest) = scope.strip_prefix("system/") else {
            let is_of_user = scope.starts_with("patient/") || scope.starts_with("user/");
            return Err(match is_of_user {
                true => bad("is a scope of a patient or a user, whom a system client does not have", "begin it with  system/"),
                false => bad("is no scope of SMART's", "write it like  system/Patient.rs"),
            });
        };
        let Some((subject, rest)) = rest.split_once('.') else {
            return Err(bad("permits nothing", "say behind the type what is permitted:  system/Patient.rs"));
        };
        let resource_type = match subject {
            "*" => None,
            name => Some(resource_type::known(name.as_bytes()).ok_or_else(|| match resource_type::meant(name.as_bytes()) {
                Some(meant) => bad("names no resource type of FHIR R4", &format!("did you mean `{meant}`?")),
                None => bad("names no resource type of FHIR R4", "write a type of FHIR R4, or * for every type"),
            })?),
        };
        let (letters, query) = rest.split_once('?').map_or((rest, None), |(letters, query)| (letters, Some(query)));
        if letters.starts_with('$') {
            return Err(bad("is the scope of an operation", "grant it under  export  or  operations"));
        }
        let letters = Letters::parse(letters).ok_or_else(|| {
            bad("does not say what is permitted", "write read, write or *, or letters of cruds in this order, such as rs")
        })?;
        let constraints = match query {
            None => Vec::new(),
            Some(query) => constraints(resource_type, query).map_err(|(what, remedy)| bad(&what, &remedy))?,
        };
        Ok(Self { resource_type, letters, constraints, line })
    }

    /// Whether it permits this interaction with resources of a type, perhaps not with all of them.
    #[must_use]
    pub(crate) fn is_of(&self, resource_type: &str, letter: Letter) -> bool {
        self.letters.has(letter) && self.resource_type.is_none_or(|own| own == resource_type)
    }

    /// What both rules permit, if that is anything.
    #[must_use]
    pub(crate) fn and(&self, other: &Self) -> Option<Self> {
        let resource_type = match (self.resource_type, other.resource_type) {
            (Some(one), Some(other)) if one != other => return None,
            (one, other) => one.or(other),
        };
        let letters = self.letters.and(other.letters);
        let mut constraints = self.constraints.clone();
        constraints.extend(other.constraints.iter().filter(|one| !self.constraints.contains(one)).cloned());
        (!letters.is_empty()).then(|| Self { resource_type, letters, constraints, line: self.line.clone() })
    }

    /// The criteria that a resource of a type must meet; `None` where the type lacks a parameter of them, and so no resource does.
    #[must_use]
    pub(crate) fn criteria(&self, resource_type: &str) -> Option<Criteria> {
        let mut criteria = Criteria::default();
        for Constraint { name, value } in &self.constraints {
            criteria.and(Criterion::read(resource_type, name, value).ok()?);
        }
        Some(criteria)
    }
}

impl Letters {
    /// Reads what a scope permits, in the v1 or the v2 syntax.
    fn parse(text: &str) -> Option<Self> {
        use Letter::{Create, Delete, Read, Search, Update};
        let all = |letters: &[Letter]| letters.iter().fold(Self::default(), |all, letter| all.with(*letter));
        match text {
            "read" => return Some(all(&[Read, Search])),
            "write" => return Some(all(&[Create, Update, Delete])),
            "*" => return Some(all(&Letter::ALL)),
            _ => {}
        }
        let mut rest = text;
        let mut letters = Self::default();
        for letter in Letter::ALL {
            if let Some(behind) = rest.strip_prefix(letter.name()) {
                (rest, letters) = (behind, letters.with(letter));
            }
        }
        (rest.is_empty() && !letters.is_empty()).then_some(letters)
    }
}

/// Reads the constraints of a scope.
///
/// # Errors
/// What is wrong with one, and what to do instead.
fn constraints(resource_type: Option<&str>, query: &str) -> Result<Vec<Constraint>, (String, String)> {
    let mut constraints = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name.contains(':') || name.contains('.') {
            let what = "has a constraint with a modifier or a chain, which is experimental, and not supported here";
            return Err((what.to_owned(), "write a token, reference or date parameter:  ?category=system|code".to_owned()));
        }
        let named = resource_type.unwrap_or(ANY_TYPE);
        let kind = definition::of(named, &name).map(|definition| definition.kind);
        let is_usable = matches!(kind, Some(ParameterType::Token | ParameterType::Reference | ParameterType::Date));
        if !is_usable || Criterion::read(named, &name, &value).is_err() {
            let what = "has a constraint that cannot be enforced";
            let whose = if resource_type.is_some() { "of this type" } else { "that every type has, such as _tag" };
            return Err((
                what.to_owned(),
                format!("write a token, reference or date parameter {whose}, with a value that is not empty"),
            ));
        }
        constraints.push(Constraint { name: name.into_owned(), value: value.into_owned() });
    }
    if constraints.is_empty() {
        return Err(("has a ? without a constraint".to_owned(), "leave the ? out".to_owned()));
    }
    Ok(constraints)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use Letter::{Create, Delete, Read, Search, Update};

    fn rule(scope: &str) -> Rule {
        Rule::parse(scope, Line::default()).unwrap()
    }

    #[test]
    fn both_syntaxes_are_read() {
        for (scope, resource_type, letters) in [
            ("system/Patient.read", Some("Patient"), &[Read, Search][..]),
            ("system/Patient.write", Some("Patient"), &[Create, Update, Delete]),
            ("system/*.*", None, &[Create, Read, Update, Delete, Search]),
            ("system/*.cruds", None, &[Create, Read, Update, Delete, Search]),
            ("system/Observation.rs", Some("Observation"), &[Read, Search]),
            ("system/Observation.s", Some("Observation"), &[Search]),
            ("system/Patient.cu", Some("Patient"), &[Create, Update]),
        ] {
            let rule = rule(scope);
            assert_eq!(rule.resource_type, resource_type, "{scope}");
            for letter in [Create, Read, Update, Delete, Search] {
                assert_eq!(rule.letters.has(letter), letters.contains(&letter), "{scope} {letter:?}");
            }
        }
    }

    #[test]
    fn constraints_are_decoded() {
        let category = "http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
        for scope in [
            format!("system/Observation.rs?category={category}"),
            format!("system/Observation.rs?category={}", category.replace('|', "%7C")),
        ] {
            assert_eq!(rule(&scope).constraints, [Constraint { name: "category".to_owned(), value: category.to_owned() }]);
        }
        assert_eq!(rule("system/Observation.rs?status=final&code=a|b").constraints.len(), 2);
    }

    #[test]
    fn what_cannot_be_a_rule_is_refused_with_a_remedy() {
        for (scope, what, remedy) in [
            ("patient/Patient.rs", "whom a system client does not have", "system/"),
            ("user/Patient.rs", "whom a system client does not have", "system/"),
            ("openid", "no scope", "system/Patient.rs"),
            ("system/Patient", "permits nothing", "system/Patient.rs"),
            ("system/patient.rs", "no resource type", "`Patient`"),
            ("system/Patient.sr", "does not say", "in this order"),
            ("system/Patient.", "does not say", "in this order"),
            ("system/Patient.rr", "does not say", "in this order"),
            ("system/Patient.readwrite", "does not say", "in this order"),
            ("system/Patient.$export", "of an operation", "export"),
            ("system/Observation.rs?", "without a constraint", "leave"),
            ("system/Observation.rs?code:in=x", "experimental", "token"),
            ("system/Observation.rs?patient.name=x", "experimental", "token"),
            ("system/Observation.rs?nonsense=x", "cannot be enforced", "token"),
            ("system/Patient.rs?name=x", "cannot be enforced", "token"),
            ("system/*.rs?category=x", "cannot be enforced", "every type"),
        ] {
            let error = Rule::parse(scope, Line::default()).unwrap_err();
            assert!(error.message.contains(what) && error.message.contains(scope), "{scope}: {}", error.message);
            assert!(error.remedy.contains(remedy), "{scope}: {}", error.remedy);
        }
    }

    #[test]
    fn both_rules_narrow_each_other() {
        let and = |one: &str, other: &str| rule(one).and(&rule(other));
        assert_eq!(and("system/*.cruds", "system/Patient.rs"), Some(rule("system/Patient.rs")));
        assert_eq!(and("system/Patient.rs", "system/Patient.cud"), None);
        assert_eq!(and("system/Patient.rs", "system/Observation.rs"), None);
        assert_eq!(
            and("system/Observation.rs?status=final", "system/Observation.s?code=a|b"),
            Some(rule("system/Observation.s?status=final&code=a|b"))
        );
    }
}
