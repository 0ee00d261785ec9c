//! What search parameters select by: their kinds, and the elements that they look at (FHIR R4, `SearchParameter`).
//!
//! The table is `definitions.txt`, a parameter a line: the type, the name, the kind with the types that a reference can lead to,
//! and the elements. An element is written by the names of its members in JSON with dots between them, as they follow the resource
//! (`code.coding`), and its data type behind a colon. `[system=email]` chooses among the items of an array. Behind a `code` stands
//! the system that FHIR binds it to. `otherwise` is the value of a resource without the elements.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::fhir::capabilities::ParameterType;

/// What a search parameter of one type selects by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    /// The type; `Resource` for any.
    pub(crate) resource_type: &'static str,
    /// The name.
    pub(crate) name: &'static str,
    /// The kind.
    pub(crate) kind: ParameterType,
    /// The types that a reference can lead to; empty for any.
    pub(crate) targets: Vec<&'static str>,
    /// The elements that are looked at.
    pub(super) elements: Vec<Element>,
    /// The code of a resource that has none of the elements.
    pub(super) otherwise: Option<&'static str>,
}

/// An element of a resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// The member of the resource.
    pub(super) first: Step,
    /// The members from there on.
    pub(super) rest: Vec<Step>,
    /// Its data type.
    pub(super) data_type: DataType,
}

/// A member on the way to an element.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its name.
    pub(super) name: &'static str,
    /// The member, and its value, by which an item of it is chosen.
    pub(super) only: Option<(&'static str, &'static str)>,
}

/// How an element is compared (FHIR R4, "Data Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataType {
    /// `code`, with the system that it is bound to.
    Code(Option<&'static str>),
    /// `string`, `id`, `uri` or `markdown`.
    String,
    /// `boolean`
    Boolean,
    /// Any: what counts is that it is there, which is the code `true`.
    Exists,
    /// `Coding`
    Coding,
    /// `CodeableConcept`
    CodeableConcept,
    /// `Identifier`
    Identifier,
    /// `ContactPoint`
    ContactPoint,
    /// `date` or `dateTime`
    DateTime,
    /// `instant`
    Instant,
    /// `Period`
    Period,
    /// `Timing`
    Timing,
    /// `Reference`
    Reference,
    /// `canonical`
    Canonical,
    /// `HumanName`
    HumanName,
    /// `Address`
    Address,
}

impl Definition {
    /// The types that a reference can lead to; empty for any.
    #[must_use]
    pub(crate) fn targets(&self) -> &[&'static str] {
        &self.targets
    }
}

static TABLE: LazyLock<HashMap<&'static str, Vec<Definition>>> = LazyLock::new(|| {
    let mut table: HashMap<_, Vec<Definition>> = HashMap::new();
    for definition in include_str!("definitions.txt").lines().filter_map(read) {
        table.entry(definition.resource_type).or_default().push(definition);
    }
    table
});

/// Returns the definition of a type's parameter; `None` where the gateway cannot test it.
#[must_use]
pub(crate) fn of(resource_type: &str, name: &str) -> Option<&'static Definition> {
    of_type(resource_type).find(|definition| definition.name == name)
}

/// Iterates over the definitions of a type's parameters, those of every type among them.
pub(crate) fn of_type(resource_type: &str) -> impl Iterator<Item = &'static Definition> + use<> {
    let own = TABLE.get(resource_type);
    own.into_iter().chain(TABLE.get("Resource").filter(|_| own.is_some())).flatten()
}

fn read(line: &'static str) -> Option<Definition> {
    let mut words = line.split(' ');
    let (resource_type, name, kind) = (words.next()?, words.next()?, words.next()?);
    let (kind, targets) = kind.split_once('(').unwrap_or((kind, ""));
    let (mut elements, mut otherwise) = (Vec::new(), None);
    for word in words {
        match word.strip_prefix("otherwise=") {
            Some(code) => otherwise = Some(code),
            None => elements.push(element(word)?),
        }
    }
    Some(Definition {
        resource_type,
        name,
        kind: match kind {
            "string" => ParameterType::String,
            "token" => ParameterType::Token,
            "reference" => ParameterType::Reference,
            "date" => ParameterType::Date,
            _ => return None,
        },
        targets: targets.trim_end_matches(')').split(',').filter(|target| !target.is_empty()).collect(),
        elements,
        otherwise,
    })
}

fn element(text: &'static str) -> Option<Element> {
    // The URL of an extension has dots and colons, too.
    let (choice, behind) = match text.split_once('[') {
        Some((_, choice)) => choice.split_once(']').map(|(only, behind)| (only.split_once('='), behind))?,
        None => (None, text),
    };
    let (rest, data_type) = behind.split_once(':')?;
    let step = |name| Step { name, only: None };
    let names = |path: &'static str| path.split('.').filter(|name| !name.is_empty());
    let mut steps: Vec<Step> = match text.split_once('[') {
        Some((before, _)) => names(before).map(step).collect(),
        None => Vec::new(),
    };
    if let Some(chosen) = steps.last_mut() {
        chosen.only = choice;
    }
    steps.extend(names(rest).map(step));
    (!steps.is_empty()).then(|| Some(Element { first: steps.remove(0), rest: steps, data_type: data_type_of(data_type)? }))?
}

fn data_type_of(text: &'static str) -> Option<DataType> {
    let (name, system) = text.split_once('=').map_or((text, None), |(name, system)| (name, Some(system)));
    Some(match name {
        "code" => DataType::Code(system),
        "string" => DataType::String,
        "boolean" => DataType::Boolean,
        "exists" => DataType::Exists,
        "Coding" => DataType::Coding,
        "CodeableConcept" => DataType::CodeableConcept,
        "Identifier" => DataType::Identifier,
        "ContactPoint" => DataType::ContactPoint,
        "dateTime" => DataType::DateTime,
        "instant" => DataType::Instant,
        "Period" => DataType::Period,
        "Timing" => DataType::Timing,
        "Reference" => DataType::Reference,
        "canonical" => DataType::Canonical,
        "HumanName" => DataType::HumanName,
        "Address" => DataType::Address,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::{resource_type, search_parameters};

    #[test]
    fn every_line_is_read() {
        let read: usize = TABLE.values().map(Vec::len).sum();
        assert_eq!(read, include_str!("definitions.txt").lines().count());
        for (resource_type, definitions) in TABLE.iter() {
            assert!(*resource_type == "Resource" || resource_type::known(resource_type.as_bytes()).is_some(), "{resource_type}");
            for (at, definition) in definitions.iter().enumerate() {
                assert!(definitions[..at].iter().all(|before| before.name != definition.name), "{definition:?}");
                assert!(!definition.elements.is_empty(), "{definition:?}");
                for target in &definition.targets {
                    assert!(resource_type::known(target.as_bytes()).is_some(), "{definition:?}");
                }
                for element in &definition.elements {
                    assert_eq!(kind_of(element.data_type, definition.kind), definition.kind, "{definition:?}");
                }
            }
        }
    }

    /// The kind of parameter that compares a data type.
    fn kind_of(data_type: DataType, kind: ParameterType) -> ParameterType {
        match data_type {
            DataType::String if kind == ParameterType::String => ParameterType::String,
            DataType::Code(_)
            | DataType::String
            | DataType::Boolean
            | DataType::Exists
            | DataType::Coding
            | DataType::CodeableConcept
            | DataType::Identifier
            | DataType::ContactPoint => ParameterType::Token,
            DataType::DateTime | DataType::Instant | DataType::Period | DataType::Timing => ParameterType::Date,
            DataType::Reference | DataType::Canonical => ParameterType::Reference,
            DataType::HumanName | DataType::Address => ParameterType::String,
        }
    }

    #[test]
    fn an_element_is_read_as_it_is_written() {
        let step = |name, only| Step { name, only };
        let only_url = "http://hl7.org/fhir/StructureDefinition/condition-assertedDate";
        let asserted = of("Condition", "asserted-date").unwrap();
        let expected = Element {
            first: step("extension", Some(("url", only_url))),
            rest: vec![step("valueDateTime", None)],
            data_type: DataType::DateTime,
        };
        assert_eq!((asserted.kind, &asserted.elements), (ParameterType::Date, &vec![expected]));
        let email = &of("Patient", "email").unwrap().elements;
        let expected =
            Element { first: step("telecom", Some(("system", "email"))), rest: vec![], data_type: DataType::ContactPoint };
        assert_eq!(email, &vec![expected]);
        let status = &of("Encounter", "status").unwrap().elements;
        let expected = Element {
            first: step("status", None),
            rest: vec![],
            data_type: DataType::Code(Some("http://hl7.org/fhir/encounter-status")),
        };
        assert_eq!(status, &vec![expected]);
        let location = of("Encounter", "location").unwrap();
        let expected =
            Element { first: step("location", None), rest: vec![step("location", None)], data_type: DataType::Reference };
        assert_eq!((&location.targets, &location.elements), (&vec!["Location"], &vec![expected]));
        assert_eq!(of("Patient", "deceased").unwrap().otherwise, Some("false"));
    }

    #[test]
    fn every_type_has_the_parameters_of_any() {
        assert!(of("Encounter", "_id").is_some() && of("ValueSet", "_lastUpdated").is_some());
        assert_eq!((of("Shoe", "_id"), of("Encounter", "shoe"), of("Resource", "status")), (None, None, None));
    }

    #[test]
    fn the_names_are_those_of_fhir_and_a_few_of_openemrs_own() {
        let strange: Vec<_> = TABLE
            .values()
            .flatten()
            .filter(|one| one.resource_type != "Resource" && !search_parameters::defines(one.resource_type, one.name))
            .map(|one| (one.resource_type, one.name))
            .collect();
        let mut own = [
            ("Media", "content-type"),
            ("Media", "title"),
            ("Patient", "generalPractitioner"),
            ("Person", "active"),
            ("Person", "family"),
            ("Person", "given"),
        ]
        .to_vec();
        let mut strange = strange;
        strange.sort_unstable();
        own.sort_unstable();
        assert_eq!(strange, own);
    }
}
