//! The decision on the parameters of a search.

use crate::access::caller::{Caller, PatientsOf};
use crate::access::compartment;
use crate::access::patients::PatientList;
use crate::access::question::Question;
use crate::access::reach;
use crate::access::reference::are_listed;
use crate::access::refusal::Refusal;
use crate::access::rule::Letter;
use crate::access::table::Extent;
use crate::fhir::capabilities::ParameterType;
use crate::fhir::criteria::definition;
use crate::openemr::php::name::{Name, is_plain};

/// Parameters that are languages of their own, or lead to other resources: nobody can tell what they select.
const OTHER_LANGUAGES: [&str; 5] = ["_filter", "_query", "_list", "_text", "_content"];

/// Checks the parameters of a search; whether what they add to the answer must be tested. `resource_type`: `None` where it is over all
/// types.
///
/// # Errors
/// The caller may not have what they reach, or one cannot be read.
pub(super) fn check(
    caller: &Caller,
    resource_type: Option<&'static str>,
    parameters: &[(String, String)],
) -> Result<bool, Refusal> {
    let mut is_limited = false;
    for (name, value) in parameters {
        let is_clear = Name::read(name.as_bytes()).is_some_and(|read| !read.is_array) && is_plain(name.as_bytes());
        if !(is_clear || name.is_empty() && value.is_empty()) {
            return Err(Refusal::Unclear("OpenEMR would read the name of a parameter otherwise than it is written."));
        }
        let base = name.split(':').next().unwrap_or_default();
        match base {
            _ if base.eq_ignore_ascii_case("_include") => is_limited |= reach::include(caller, value, false)?,
            _ if base.eq_ignore_ascii_case("_revinclude") => is_limited |= reach::include(caller, value, true)?,
            _ if base.eq_ignore_ascii_case("_has") => reach::has(caller, name)?,
            _ if name.contains('.') => reach::chain(caller, resource_type, name)?,
            _ => {
                // Whatever the case: nobody else decides whether that counts.
                if OTHER_LANGUAGES.iter().any(|language| base.eq_ignore_ascii_case(language)) {
                    return Err(Refusal::Unclear(
                        "_filter, _query, _list, _text and _content are open to clients alone that may have everything: nobody can \
                         tell what they select.",
                    ));
                }
            }
        }
    }
    Ok(is_limited)
}

/// What is added to a search for a type so that it finds what the caller may see, as far as parameters can say it.
///
/// # Errors
/// The search names a patient that is not on the caller's list.
pub(super) fn narrowing(
    caller: &Caller,
    resource_type: &'static str,
    question: &Question<'_>,
) -> Result<Vec<(String, String)>, Refusal> {
    let rules = caller.policy.table().of(resource_type);
    let mut narrowing = match rules.extent(Letter::Search) {
        Extent::Some => rules.narrowing(resource_type).cloned().collect(),
        Extent::All | Extent::Nothing => Vec::new(),
    };
    if let (PatientsOf::Listed(list), Some(_)) = (caller.patients(), compartment::of(resource_type)) {
        narrowing.extend(patients(list, resource_type, question)?);
    }
    // What the client says itself need not be said twice.
    narrowing.retain(|added| !question.parameters.contains(added));
    Ok(narrowing)
}

/// The parameter that narrows a search to the patients on a list; `None` where the search names some of them, or where no parameter
/// can.
fn patients(list: &PatientList, resource_type: &str, question: &Question<'_>) -> Result<Option<(String, String)>, Refusal> {
    if list.len() == 0 {
        return Err(Refusal::Forbidden("No patient is on the list of this client."));
    }
    let own = if resource_type == "Patient" { &["_id"][..] } else { &["patient", "subject"] };
    let is_own = |name: &str| {
        let (base, modifier) = name.split_once(':').map_or((name, None), |(base, modifier)| (base, Some(modifier)));
        // Other modifiers name no patients, or those that are not meant.
        own.contains(&base) && modifier.is_none_or(|modifier| modifier == "Patient")
    };
    let mut are_named = false;
    for (_, value) in question.parameters.iter().filter(|(name, value)| is_own(name) && !value.is_empty()) {
        if !are_listed(value, list, question.bases) {
            return Err(Refusal::Forbidden("The search names a patient that is not among those of this client."));
        }
        are_named = true;
    }
    if are_named {
        return Ok(None);
    }
    let name = match resource_type {
        "Patient" => Some("_id"),
        other => definition::of(other, "patient").filter(|one| one.kind == ParameterType::Reference).map(|one| one.name),
    };
    Ok(name.zip(list.as_value()).map(|(name, ids)| (name.to_owned(), ids.to_owned())))
}
