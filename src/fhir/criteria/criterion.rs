//! One criterion of a search: a parameter with its modifier and its values, of which a resource must meet one.

use crate::fhir::capabilities::ParameterType;
use crate::fhir::criteria::date::Dates;
use crate::fhir::criteria::definition::{self, DataType, Definition};
use crate::fhir::criteria::json::{Illegible, Json};
use crate::fhir::criteria::reference::References;
use crate::fhir::criteria::text::{Place, Texts};
use crate::fhir::criteria::token::Tokens;

pub(crate) use crate::fhir::criteria::values::Untestable;

/// One criterion of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Criterion {
    pub(super) definition: &'static Definition,
    test: Test,
}

/// What is asked of the elements.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// Whether there are none.
    Missing(bool),
    Tokens(Tokens),
    /// The resource has none of them.
    NoTokens(Tokens),
    Dates(Dates),
    References(References),
    Texts(Texts),
}

/// What is known of a resource in view of one criterion.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Findings {
    is_present: bool,
    is_met: bool,
}

impl Criterion {
    /// Reads a parameter of a search for a type: its name with its modifier, and its value with commas as the client meant them
    /// (percent-decoded).
    ///
    /// # Errors
    /// It cannot be tested.
    pub(crate) fn read(resource_type: &str, name: &str, value: &str) -> Result<Self, Untestable> {
        let (base, modifier) = name.split_once(':').map_or((name, None), |(base, modifier)| (base, Some(modifier)));
        let definition = definition::of(resource_type, base).ok_or(Untestable::Undefined)?;
        let test = match (definition.kind, modifier) {
            (_, Some("missing")) => Test::Missing(match value {
                "true" => true,
                "false" => false,
                _ => return Err(Untestable::Value),
            }),
            (ParameterType::Token, None) => Test::Tokens(Tokens::read(value)?),
            (ParameterType::Token, Some("not")) => Test::NoTokens(Tokens::read(value)?),
            (ParameterType::Date, None) => Test::Dates(Dates::read(value)?),
            (ParameterType::Reference, modifier) => Test::References(References::read(definition, modifier, value)?),
            (ParameterType::String, None) => Test::Texts(Texts::read(Place::Start, value)?),
            (ParameterType::String, Some("contains")) => Test::Texts(Texts::read(Place::Anywhere, value)?),
            (ParameterType::String, Some("exact")) => Test::Texts(Texts::read(Place::Whole, value)?),
            (ParameterType::Token | ParameterType::Date | ParameterType::String, Some(_)) => return Err(Untestable::Modifier),
        };
        Ok(Self { definition, test })
    }

    /// Whether an element meets it.
    fn is_met_by(&self, element: &Json<'_>, data_type: DataType) -> Result<bool, Illegible> {
        match &self.test {
            Test::Missing(_) => Ok(false),
            Test::Tokens(tokens) | Test::NoTokens(tokens) => tokens.are_met_by(element, data_type),
            Test::Dates(dates) => dates.are_met_by(element, data_type),
            Test::References(references) => references.are_met_by(element, data_type),
            Test::Texts(texts) => texts.are_met_by(element, data_type),
        }
    }
}

impl Findings {
    /// Looks at a member of a resource.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn look_at(&mut self, criterion: &Criterion, name: &str, member: &Json<'_>) -> Result<(), Illegible> {
        for element in criterion.definition.elements.iter().filter(|element| element.first.name == name) {
            member.select(element.first.only, &element.rest, &mut |found| {
                self.is_present = true;
                self.is_met = self.is_met || criterion.is_met_by(found, element.data_type)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whether the resource meets the criterion, of which all members have been looked at.
    pub(super) fn conclude(self, criterion: &Criterion) -> bool {
        let otherwise = criterion.definition.otherwise.filter(|_| !self.is_present);
        match &criterion.test {
            Test::Missing(is_missing) => *is_missing != self.is_present,
            Test::Tokens(tokens) => self.is_met || otherwise.is_some_and(|code| tokens.have_code(code)),
            Test::NoTokens(tokens) => !self.is_met && !otherwise.is_some_and(|code| tokens.have_code(code)),
            Test::Dates(_) | Test::References(_) | Test::Texts(_) => self.is_met,
        }
    }
}
