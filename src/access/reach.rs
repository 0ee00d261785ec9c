//! The types that a search reaches besides its own: by includes, reverse includes, chains and `_has`.

use crate::access::caller::{Caller, PatientsOf};
use crate::access::compartment;
use crate::access::refusal::Refusal;
use crate::access::rule::Letter;
use crate::access::table::Extent;
use crate::fhir::criteria::definition;
use crate::fhir::resource_type;

/// A type that is reached; `None`: any.
type Reached = Option<&'static str>;

/// How far a caller may do something with a type, its patients taken into account; `None`: with every type.
#[must_use]
pub(crate) fn extent(caller: &Caller, reached: Reached, letter: Letter) -> Extent {
    let table = caller.policy.table();
    let by_rules = reached.map_or(table.of_every_type(), |name| table.of(name)).extent(letter);
    let is_about_patients = || reached.is_none_or(|name| compartment::of(name).is_some() || compartment::is_of_anything(name));
    let has_list = !matches!(caller.patients(), PatientsOf::All);
    match by_rules {
        // A type that a rule names has rules of its own beside those of every type, which never narrow these.
        Extent::All if has_list && is_about_patients() => Extent::Some,
        extent => extent,
    }
}

/// Checks the value of an `_include`, or of a `_revinclude`; whether what it adds to the answer must be tested.
///
/// # Errors
/// The caller may not read what it reaches, or search where it comes from.
pub(super) fn include(caller: &Caller, value: &str, is_reverse: bool) -> Result<bool, Refusal> {
    let mut is_limited = false;
    for one in value.split(',') {
        let mut parts = one.trim().split(':');
        let source = parts.next().and_then(|name| resource_type::known(name.as_bytes()));
        let (parameter, target) = (parts.next().unwrap_or_default(), parts.next());
        if is_reverse {
            for letter in [Letter::Read, Letter::Search] {
                is_limited |= need(caller, source, letter)? == Extent::Some;
            }
            continue;
        }
        for reached in targets(source, parameter, target) {
            is_limited |= need(caller, reached, Letter::Read)? == Extent::Some;
        }
    }
    Ok(is_limited)
}

/// Checks the name of a parameter with dots in it, such as `subject:Patient.name`. `from`: the type whose parameter it is.
///
/// # Errors
/// The caller may not search all resources of the types that are reached.
pub(super) fn chain(caller: &Caller, from: Reached, name: &str) -> Result<(), Refusal> {
    let mut links = name.split('.').peekable();
    let mut at = vec![from];
    while let Some(link) = links.next() {
        if links.peek().is_none() {
            break;
        }
        let (parameter, modifier) = link.split_once(':').map_or((link, None), |(name, modifier)| (name, Some(modifier)));
        let mut next: Vec<Reached> = at.iter().flat_map(|from| targets(*from, parameter, modifier)).collect();
        next.sort_unstable();
        next.dedup();
        next.iter().try_for_each(|reached| need_all(caller, *reached))?;
        at = next;
    }
    Ok(())
}

/// Checks a parameter such as `_has:Observation:patient:code`.
///
/// # Errors
/// The caller may not search all resources of the types that are reached, or the parameter cannot be read.
pub(super) fn has(caller: &Caller, name: &str) -> Result<(), Refusal> {
    let mut rest = name;
    while let Some(behind) = after_has(rest) {
        let mut parts = behind.splitn(3, ':');
        let (Some(source), Some(_), Some(parameter)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Refusal::Unclear("A parameter with _has is not of the form _has:Type:reference:parameter."));
        };
        let source = resource_type::known(source.as_bytes());
        need_all(caller, source)?;
        if after_has(parameter).is_none() {
            return chain(caller, source, parameter);
        }
        rest = parameter;
    }
    Err(Refusal::Unclear("A parameter with _has is not of the form _has:Type:reference:parameter."))
}

/// What follows `_has:`, whatever the case.
fn after_has(name: &str) -> Option<&str> {
    let (begin, behind) = name.split_once(':')?;
    begin.eq_ignore_ascii_case("_has").then_some(behind)
}

/// The types to which a reference parameter leads.
fn targets(from: Reached, parameter: &str, named: Option<&str>) -> Vec<Reached> {
    if let Some(named) = named {
        return vec![resource_type::known(named.as_bytes())];
    }
    let definition = from.and_then(|from| definition::of(from, parameter));
    match definition.map(definition::Definition::targets) {
        Some(targets) if !targets.is_empty() => targets.iter().copied().map(Some).collect(),
        _ => vec![None],
    }
}

/// Checks that something can be done with a type.
fn need(caller: &Caller, reached: Reached, letter: Letter) -> Result<Extent, Refusal> {
    match extent(caller, reached, letter) {
        Extent::Nothing => Err(Refusal::scope(reached, letter)),
        extent => Ok(extent),
    }
}

/// Checks that all resources of a type can be searched. For a client with a list of patients that is never so: what it finds would
/// tell of others.
fn need_all(caller: &Caller, reached: Reached) -> Result<(), Refusal> {
    match need(caller, reached, Letter::Search)? {
        Extent::All if matches!(caller.patients(), PatientsOf::All) => Ok(()),
        _ => Err(Refusal::Forbidden(
            "Chained parameters and _has cannot be limited to the resources that this client may see. Ask for them first, and \
             then by their ids.",
        )),
    }
}
