//! The types that the parameters of a search reach beside the one that is searched: included resources, chains and `_has`.

use crate::access::caller::{Caller, PatientsOf};
use crate::access::question::Question;
use crate::access::refusal::{Refusal, missing};
use crate::access::rule::Letter;
use crate::fhir::criteria::definition;
use crate::fhir::resource_type;

/// Parameters that are languages of their own: nobody can tell what they select.
const OTHER_LANGUAGES: [&str; 5] = ["_filter", "_query", "_list", "_text", "_content"];

/// What a parameter reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Types<'a> {
    /// These types.
    These(&'a [&'static str]),
    /// Nobody can tell.
    Any,
}

/// Checks that the caller may have the types that the parameters reach.
///
/// # Errors
/// It may not, or nobody can tell what they reach.
pub(super) fn check(caller: &Caller, question: &Question<'_>) -> Result<(), Refusal> {
    for (name, value) in &question.parameters {
        let (base, _) = name.split_once(':').unwrap_or((name, ""));
        match base {
            // Whatever the case: nobody else decides whether that counts.
            _ if OTHER_LANGUAGES.iter().any(|language| base.eq_ignore_ascii_case(language)) => {
                return Err(Refusal::Unclear(
                    "_filter, _query, _list, _text and _content are open to clients alone that may have everything.",
                ));
            }
            _ if base.eq_ignore_ascii_case("_include") => included(caller, value)?,
            _ if base.eq_ignore_ascii_case("_revinclude") => including(caller, value)?,
            _ if base.eq_ignore_ascii_case("_has") => having(caller, name)?,
            _ if name.contains('.') => chained(caller, question.interaction.resource_type, name)?,
            _ => {}
        }
    }
    Ok(())
}

/// `Observation:subject:Patient`, or several with commas.
fn included(caller: &Caller, value: &str) -> Result<(), Refusal> {
    for one in value.split(',') {
        let mut parts = one.trim().split(':');
        let (source, parameter, target) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        match target.map(|target| resource_type::known(target.as_bytes())) {
            Some(Some(target)) => need(caller, Types::These(&[target]), &[Letter::Read])?,
            Some(None) => need(caller, Types::Any, &[Letter::Read])?,
            None => need(caller, targets(source, parameter.unwrap_or_default()), &[Letter::Read])?,
        }
    }
    Ok(())
}

/// `Provenance:target`, or several with commas: their sources are shown.
fn including(caller: &Caller, value: &str) -> Result<(), Refusal> {
    for one in value.split(',') {
        let source = one.trim().split(':').next().unwrap_or_default();
        match resource_type::known(source.as_bytes()) {
            Some(source) => need(caller, Types::These(&[source]), &[Letter::Read])?,
            None => need(caller, Types::Any, &[Letter::Read])?,
        }
    }
    Ok(())
}

/// `_has:Observation:patient:code`, also several within each other.
fn having(caller: &Caller, name: &str) -> Result<(), Refusal> {
    let mut parts = name.split(':');
    while let Some(part) = parts.next() {
        if !part.eq_ignore_ascii_case("_has") {
            continue;
        }
        match parts.next().and_then(|source| resource_type::known(source.as_bytes())) {
            Some(source) => select(caller, Types::These(&[source]))?,
            None => select(caller, Types::Any)?,
        }
    }
    if name.contains('.') { select(caller, Types::Any) } else { Ok(()) }
}

/// `patient.name`, `subject:Patient.organization.name`.
fn chained(caller: &Caller, searched: Option<&'static str>, name: &str) -> Result<(), Refusal> {
    let mut from = searched;
    let mut links = name.split('.').collect::<Vec<_>>();
    links.pop();
    for link in links {
        let (parameter, named) = link.split_once(':').map_or((link, None), |(parameter, named)| (parameter, Some(named)));
        let named = named.and_then(|named| resource_type::known(named.as_bytes()));
        match (named, from) {
            (Some(named), _) => select(caller, Types::These(&[named]))?,
            (None, Some(from)) => select(caller, targets(from, parameter))?,
            (None, None) => select(caller, Types::Any)?,
        }
        from = named;
    }
    Ok(())
}

/// The types that a reference parameter leads to.
fn targets(source: &str, parameter: &str) -> Types<'static> {
    match definition::of(source, parameter) {
        Some(definition) if !definition.targets.is_empty() => Types::These(&definition.targets),
        _ => Types::Any,
    }
}

/// Needs the types for a selection by their content, which tells of it as much as a search: all resources of them.
fn select(caller: &Caller, types: Types<'_>) -> Result<(), Refusal> {
    need(caller, types, &[Letter::Search])?;
    let is_whole = |name: &&str| caller.policy.rules_of(name, Letter::Search).any(|rule| rule.constraints.is_empty());
    let is_known = match types {
        Types::These(types) => types.iter().all(is_whole),
        Types::Any => true,
    };
    match caller.patients() {
        PatientsOf::All if is_known => Ok(()),
        _ => Err(Refusal::Forbidden("A client that may not have all resources of a type cannot search by what they contain.")),
    }
}

fn need(caller: &Caller, types: Types<'_>, letters: &[Letter]) -> Result<(), Refusal> {
    for letter in letters {
        match types {
            Types::These(types) => {
                let lacking = types.iter().find(|name| caller.policy.rules_of(name, *letter).next().is_none());
                if let Some(lacking) = lacking {
                    return Err(missing(lacking, *letter));
                }
            }
            Types::Any if !caller.policy.is_of_every_type(*letter) => return Err(missing("*", *letter)),
            Types::Any => {}
        }
    }
    Ok(())
}
