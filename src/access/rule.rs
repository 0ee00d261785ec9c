//! One rule of a policy: a SMART scope (SMART App Launch 2.2, "Scopes for requesting FHIR Resources") in the v1 or the v2 syntax.

use std::fmt;

use crate::access::line::Line;
use crate::fhir::capabilities::ParameterType;
use crate::fhir::criteria::criterion::Untestable;
use crate::fhir::criteria::{Criteria, Criterion, definition};
use crate::fhir::resource_type;
use crate::fhir::search_parameters;

/// The type that stands for every type in the definitions of search parameters.
const ANY_TYPE: &str = "Resource";

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

    /// All of them.
    #[must_use]
    pub(crate) fn all() -> Self {
        Letter::ALL.iter().fold(Self::default(), |letters, letter| letters.with(*letter))
    }

    /// The letters that one of both has.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
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

/// The letters in their order, as in a scope.
impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Letter::ALL.iter().filter(|letter| self.has(**letter)).try_for_each(|letter| letter.fmt(f))
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
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

impl BadScope {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

impl Rule {
    /// Reads a scope of a system client: `system/Patient.rs`, `system/*.read`,
    /// `system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory`.
    ///
    /// # Errors
    /// It is no such scope, or has a constraint that cannot be enforced.
    pub(crate) fn parse(scope: &str, line: Line) -> Result<Self, BadScope> {
        let rest = after_context(scope)?;
        let (head, query) = rest.split_once('?').map_or((rest, None), |(head, query)| (head, Some(query)));
        let (name, permission) = head.split_once('.').ok_or_else(|| {
            BadScope::new(format!("`{scope}` says not what may be done"), format!("write it like  system/{head}.rs"))
        })?;
        let resource_type = type_named(scope, name)?;
        let letters = letters(scope, name, permission)?;
        let is_v1 = matches!(permission, "read" | "write" | "*");
        let constraints = match query {
            None => Vec::new(),
            Some(_) if is_v1 => {
                let remedy = format!("write it like  system/{name}.{letters}?…");
                return Err(BadScope::new(format!("`{scope}` has a constraint, which `.{permission}` cannot have"), remedy));
            }
            Some(query) => constraints(scope, resource_type.unwrap_or(ANY_TYPE), query)?,
        };
        Ok(Self { resource_type, letters, constraints, line })
    }

    /// Whether it is about resources of a type.
    #[must_use]
    pub(crate) fn is_about(&self, resource_type: &str) -> bool {
        self.resource_type.is_none_or(|own| own == resource_type)
    }

    /// The test of its constraints; `None` where one of them cannot be tested, which [`Rule::parse`] does not let be.
    #[must_use]
    pub(crate) fn criteria(&self) -> Option<Criteria> {
        let mut criteria = Criteria::default();
        for Constraint { name, value } in &self.constraints {
            criteria.and(criterion(self.resource_type.unwrap_or(ANY_TYPE), name, value).ok()?);
        }
        Some(criteria)
    }
}

/// The test of one constraint. A type of which no parameters are known has those of any type.
fn criterion(resource_type: &str, name: &str, value: &str) -> Result<Criterion, Untestable> {
    match Criterion::read(resource_type, name, value) {
        Err(Untestable::Undefined) => Criterion::read(ANY_TYPE, name, value),
        read => read,
    }
}

/// The scope behind its context, which must be `system/`.
fn after_context(scope: &str) -> Result<&str, BadScope> {
    if let Some(rest) = scope.strip_prefix("system/") {
        return Ok(rest);
    }
    let context = ["patient", "user"].into_iter().find_map(|name| Some((name, scope.strip_prefix(name)?.strip_prefix('/')?)));
    Err(match context {
        Some((name, rest)) => BadScope::new(
            format!("`{scope}` is about the {name} of a session, and a system client has none"),
            match name {
                "patient" => format!("write  system/{rest}  and name the patients under `patients`"),
                _ => format!("write  system/{rest}"),
            },
        ),
        None => BadScope::new(format!("`{scope}` is no scope of a system client"), "write it like  system/Patient.rs"),
    })
}

/// The type; `None` for `*`.
fn type_named(scope: &str, name: &str) -> Result<Option<&'static str>, BadScope> {
    if name == "*" {
        return Ok(None);
    }
    resource_type::known(name.as_bytes()).map(Some).ok_or_else(|| {
        let remedy = match resource_type::meant(name.as_bytes()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write the name of a resource type, like  system/Patient.rs , or  *  for every type".to_owned(),
        };
        BadScope::new(format!("`{scope}` names no resource type of FHIR R4"), remedy)
    })
}

/// The letters of a permission: `rs`, or those that `read`, `write` and `*` of the v1 syntax stand for.
fn letters(scope: &str, name: &str, permission: &str) -> Result<Letters, BadScope> {
    let of = |letters: &[Letter]| letters.iter().fold(Letters::default(), |all, letter| all.with(*letter));
    match permission {
        "read" => return Ok(of(&[Letter::Read, Letter::Search])),
        "write" => return Ok(of(&[Letter::Create, Letter::Update, Letter::Delete])),
        "*" => return Ok(Letters::all()),
        _ => {}
    }
    if let Some(operation) = permission.strip_prefix('$') {
        let remedy = match operation {
            "export" => "write it under `export`:  export: [patient]".to_owned(),
            _ => format!("write it under `operations`:  operations: [{name}/${operation}]"),
        };
        return Err(BadScope::new(format!("`{scope}` is an operation, for which SMART has no scope"), remedy));
    }
    let named: Vec<Letter> = Letter::ALL.into_iter().filter(|letter| permission.contains(letter.name())).collect();
    let sorted: String = named.iter().map(|letter| letter.name()).collect();
    if !sorted.is_empty() && permission == sorted {
        return Ok(named.into_iter().fold(Letters::default(), Letters::with));
    }
    let is_of_letters = !sorted.is_empty() && permission.chars().all(|character| sorted.contains(character));
    let remedy = match is_of_letters {
        true => format!("write  system/{name}.{sorted}"),
        false => format!("write letters of  cruds  in this order, like  system/{name}.rs"),
    };
    let wrong = match permission {
        "" => "permits nothing: it has no letters",
        _ if is_of_letters => "has its letters out of order, or one twice",
        _ => "has other letters than c, r, u, d and s",
    };
    Err(BadScope::new(format!("`{scope}` {wrong}"), remedy))
}

/// The constraints in the query of a scope.
fn constraints(scope: &str, resource_type: &str, query: &str) -> Result<Vec<Constraint>, BadScope> {
    query.split('&').map(|pair| constraint(scope, resource_type, pair)).collect()
}

fn constraint(scope: &str, resource_type: &str, pair: &str) -> Result<Constraint, BadScope> {
    const FORM: &str =
        "write it like  system/Observation.rs?category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
    let bad = |wrong: &str, remedy: String| BadScope::new(format!("`{scope}` {wrong}"), remedy);
    let (name, value) = pair.split_once('=').ok_or_else(|| bad("has a constraint without `=`", FORM.to_owned()))?;
    let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
        return Err(bad("has a constraint whose percent-encoding cannot be read", FORM.to_owned()));
    };
    let is_any = resource_type == ANY_TYPE;
    let usable = || {
        let own = definition::of_type(resource_type).chain(definition::of_type(ANY_TYPE));
        let usable = own.filter(|one| one.kind != ParameterType::String).map(|one| one.name);
        let mut names: Vec<_> = usable.collect();
        names.sort_unstable();
        names.dedup();
        format!("a constraint can be on:  {}", names.join(", "))
    };
    let (base, modifier) = name.split_once(':').map_or((name.as_str(), None), |(base, modifier)| (base, Some(modifier)));
    if let Some(modifier) = modifier {
        let wrong = match search_parameters::shown(modifier) {
            Some(modifier) => format!("has a constraint with `:{modifier}`, which is experimental, not supported here"),
            None => "has a constraint with a modifier, which is experimental, not supported here".to_owned(),
        };
        return Err(bad(&wrong, format!("write the values out, with `=`:  {base}=one,two")));
    }
    if base.contains('.') || base == "_has" {
        return Err(bad("has a constraint on another resource, which is experimental, not supported here", usable()));
    }
    let Some(definition) = definition::of(resource_type, base).or_else(|| definition::of(ANY_TYPE, base)) else {
        let wrong = match is_any {
            true => "has a constraint on a parameter that not every type has",
            false => "has a constraint on a parameter that the gateway cannot test",
        };
        return Err(bad(wrong, usable()));
    };
    if definition.kind == ParameterType::String {
        return Err(bad("has a constraint on a parameter that is none of the kinds token, reference and date", usable()));
    }
    if criterion(resource_type, base, &value).is_err() {
        return Err(bad("has a constraint whose value cannot be tested", FORM.to_owned()));
    }
    Ok(Constraint { name, value })
}

/// Percent-decodes a text; `None` where that is broken, no UTF-8, or has a control character. A `+` is a plus.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || u8::try_from(char::from(rest.next()?).to_digit(16)?).ok();
                digit()? << 4 | digit()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests;
