//! The searches by which a client limits what an export holds of a type: `_typeFilter` (Bulk Data Access IG 2.0, "_typeFilter
//! Experimental Query Parameter").
//!
//! A value is a search such as `Observation?category=laboratory&date=gt2024`, or several with commas between them. A comma
//! stands between two searches where a type and a `?` follow it, and otherwise between two values of one parameter: clients differ in how they
//! write the latter (as it is, `%2C` within the search), and both mean the same.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::fhir::capabilities::ParameterType;
use crate::fhir::criteria::criterion::Untestable;
use crate::fhir::criteria::definition;
use crate::fhir::criteria::{Criteria, Criterion, Illegible};
use crate::fhir::prefer::Handling;
use crate::fhir::resource_type;
use crate::fhir::search_parameters::shown;
use crate::http::query::parameters;

/// The most searches in one kick-off.
const MAX_SEARCHES: usize = 100;
/// The most parameters of one search.
const MAX_PARAMETERS: usize = 50;
/// Parameters of a search that say how its answer is written, not what it finds.
const OF_THE_ANSWER: [&str; 8] = ["_count", "_sort", "_total", "_summary", "_elements", "_format", "_pretty", "_maxresults"];
/// The time of the last change, which OpenEMR makes up for most types.
const LAST_UPDATED: &str = "_lastUpdated";

/// What an export holds of one type: the resources that one of these searches finds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TypeFilter {
    /// The type.
    #[serde(rename = "type")]
    pub(crate) resource_type: String,
    /// The searches, each with its parameters: names with their modifiers, and values.
    searches: Vec<Vec<(String, String)>>,
}

/// Tests the resources of one type.
#[derive(Debug)]
pub(crate) struct TypeTest {
    /// The type.
    pub(crate) resource_type: String,
    any_of: Vec<Criteria>,
}

/// What `_typeFilter` asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The filters, one for each type.
    pub(crate) filters: Vec<TypeFilter>,
    /// Parameters that could be left out, because they select nothing.
    pub(crate) of_the_answer: Vec<String>,
}

/// Why a search in `_typeFilter` cannot be done. Without it, the export would hold more than was asked for. The text is a sentence for the
/// client, and repeats no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFilter {
    /// Too many.
    #[error("_typeFilter has more than {MAX_SEARCHES} searches, or one with more than {MAX_PARAMETERS} parameters.")]
    TooMany,
    /// No type with a `?` behind it.
    #[error("_typeFilter is no search of one type, such as Observation?category=laboratory.")]
    NoSearch,
    /// A type that FHIR does not have.
    #[error("_typeFilter names a resource type that FHIR R4 does not have.")]
    UnknownType,
    /// A search without a parameter, or a parameter without a value.
    #[error("_typeFilter has a search of {0} in which a parameter or its value is missing: it would select every resource.")]
    Empty(&'static str),
    /// A parameter by which the gateway cannot select.
    #[error("_typeFilter: {} of {of} {}", named(.name.as_deref()), because(*.why))]
    Untestable {
        /// The type.
        of: &'static str,
        /// The parameter, where it may be repeated.
        name: Option<String>,
        /// Why.
        why: Untestable,
    },
}

fn named(name: Option<&str>) -> Cow<'static, str> {
    name.map_or(Cow::Borrowed("a parameter"), |name| format!("the parameter {name}").into())
}

fn because(why: Untestable) -> &'static str {
    match why {
        Untestable::Undefined => {
            "is none by which the gateway can select, and cannot be left out: the export would hold more than was asked for."
        }
        Untestable::Modifier => "has a modifier by which the gateway cannot select.",
        Untestable::Value => "has a value that is none of its kind; a reference is written like Patient/1.",
    }
}

impl TypeFilter {
    /// Reads the values of `_typeFilter`, as they are once the query is decoded, or in a Parameters resource.
    ///
    /// # Errors
    /// A search that cannot be done as it stands.
    pub(crate) fn read(values: &[&str], handling: Option<Handling>) -> Result<Read, BadFilter> {
        let mut read = Read::default();
        let searches = values.iter().flat_map(|value| split(value)).filter(|search| !search.is_empty());
        for (at, search) in searches.enumerate() {
            if at >= MAX_SEARCHES {
                return Err(BadFilter::TooMany);
            }
            let (name, query) = search.split_once('?').ok_or(BadFilter::NoSearch)?;
            let known = resource_type::known(name.as_bytes()).ok_or(BadFilter::UnknownType)?;
            let search = one_search(known, query, handling, &mut read.of_the_answer)?;
            match read.filters.iter_mut().find(|filter| filter.resource_type == known) {
                Some(filter) => filter.searches.push(search),
                None => read.filters.push(Self { resource_type: known.to_owned(), searches: vec![search] }),
            }
        }
        Ok(read)
    }

    /// Makes the test of a resource; `None` for a filter that this version of the gateway did not write.
    #[must_use]
    pub(crate) fn test(&self) -> Option<TypeTest> {
        let known = resource_type::known(self.resource_type.as_bytes())?;
        let any_of = self.searches.iter().map(|search| {
            let mut criteria = Criteria::default();
            for (name, value) in search {
                criteria.and(Criterion::read(known, name, value).ok()?);
            }
            (!criteria.is_empty()).then_some(criteria)
        });
        let any_of = any_of.collect::<Option<Vec<_>>>().filter(|any_of| !any_of.is_empty())?;
        Some(TypeTest { resource_type: self.resource_type.clone(), any_of })
    }

    /// Whether one of the searches asks for the time of the last change.
    #[must_use]
    pub(crate) fn asks_for_times(&self) -> bool {
        self.searches.iter().flatten().any(|(name, _)| name.split(':').next() == Some(LAST_UPDATED))
    }
}

impl TypeTest {
    /// Whether an export holds a resource, a whole JSON object.
    ///
    /// # Errors
    /// The resource cannot be read, so that nobody knows.
    pub(crate) fn is_passed_by(&self, resource: &[u8]) -> Result<bool, Illegible> {
        for criteria in &self.any_of {
            if criteria.are_met_by(resource)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Splits a value at the commas behind which another search begins.
fn split(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut commas = text.match_indices(',').map(|(at, _)| at);
        let end = commas.find(|at| text.get(at + 1..).is_some_and(begins_search));
        rest = end.and_then(|at| text.get(at + 1..));
        Some(text.get(..end.unwrap_or(text.len())).unwrap_or_default().trim())
    })
}

/// Whether a text begins like a search: with a word and a `?`.
fn begins_search(text: &str) -> bool {
    let text = text.trim_start();
    let word = text.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric());
    word.len() < text.len() && word.starts_with('?')
}

/// Reads the parameters of a search, without its `?`.
fn one_search(
    known: &'static str,
    query: &str,
    handling: Option<Handling>,
    left_out: &mut Vec<String>,
) -> Result<Vec<(String, String)>, BadFilter> {
    let mut search = Vec::new();
    let query = with_zones(query);
    for parameter in parameters(query.as_bytes()) {
        let (name, value) = (parameter.name.as_ref(), parameter.value.as_ref());
        let base = name.split(':').next().unwrap_or_default();
        if let Some(of_the_answer) = OF_THE_ANSWER.iter().find(|of| **of == base) {
            if handling != Some(Handling::Lenient) {
                return Err(untestable(known, name, Untestable::Undefined));
            }
            if !left_out.iter().any(|left| left == of_the_answer) {
                left_out.push((*of_the_answer).to_owned());
            }
            continue;
        }
        if value.is_empty() {
            return Err(BadFilter::Empty(known));
        }
        if search.len() >= MAX_PARAMETERS {
            return Err(BadFilter::TooMany);
        }
        if names_absolutely(known, base, value) {
            return Err(untestable(known, name, Untestable::Value));
        }
        Criterion::read(known, name, value).map_err(|why| untestable(known, name, why))?;
        search.push((name.to_owned(), value.to_owned()));
    }
    if search.is_empty() { Err(BadFilter::Empty(known)) } else { Ok(search) }
}

/// Whether a value is a reference by an address: OpenEMR's own references are relative, so that it would find nothing.
fn names_absolutely(resource_type: &str, name: &str, value: &str) -> bool {
    let is_reference = definition::of(resource_type, name).is_some_and(|known| known.kind == ParameterType::Reference);
    is_reference && value.contains("://")
}

fn untestable(of: &'static str, name: &str, why: Untestable) -> BadFilter {
    BadFilter::Untestable { of, name: shown(name).map(str::to_owned), why }
}

/// Percent-encodes each `+` before the hours and minutes of a time zone: within a search it would be a blank, and clients that
/// encode a search once have it there as it is.
fn with_zones(query: &str) -> Cow<'_, str> {
    let is_zone =
        |rest: &str| matches!(rest.as_bytes(), [a, b, b':', c, d, ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_digit()));
    if !query.contains('+') {
        return Cow::Borrowed(query);
    }
    let mut written = String::with_capacity(query.len() + 8);
    for (at, letter) in query.char_indices() {
        match letter {
            '+' if query.get(at + 1..).is_some_and(is_zone) => written.push_str("%2B"),
            letter => written.push(letter),
        }
    }
    written.into()
}

#[cfg(test)]
mod tests;
