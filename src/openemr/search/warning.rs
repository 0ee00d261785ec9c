//! Warnings to the client about search parameters that were not used as they were asked for. They name parameters, and
//! never repeat a value.

use std::fmt;

use crate::fhir::media_type::Format;
use crate::fhir::operation_outcome::{Issue, IssueCode, OperationOutcome, Severity};
use crate::fhir::search_parameters::shown;

/// The most parameters that are named; more would not help.
pub(super) const MAX_NAMED: usize = 20;

/// A parameter that was not used as it was asked for, or that does not mean what it seems to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    parameter: Parameter,
    reason: Reason,
}

/// The name of a parameter, where it looks like one of FHIR's. Any other may be a value that stands in the wrong place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter(Option<String>);

/// The reason of a warning. The text goes on from "The parameter x".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// Neither FHIR R4 nor OpenEMR knows it for the type.
    #[error("is known neither to FHIR R4 nor to OpenEMR for this type")]
    Unknown,
    /// Nothing can be included by it.
    #[error("names nothing that can be included here")]
    NotIncluded,
    /// The type cannot be sorted by that.
    #[error("has a key that cannot be sorted by here")]
    NotSortable,
    /// Its value is not valid.
    #[error("has an invalid value")]
    Invalid,
    /// It is repeated with another value.
    #[error("is repeated with another value")]
    Repeated,
    /// It contradicts another parameter.
    #[error("cannot be combined with the others, and was left out")]
    Contradictory,
    /// Pages cannot be cut here, or not by this parameter.
    #[error("cannot be used here, and was left out")]
    NotPaged,
    /// More entries than a page can have.
    #[error("is larger than a page can be: the page has the most entries that it can")]
    TooLarge,
    /// The matches cannot be counted and paged at once.
    #[error("cannot be combined with a page, and was left out")]
    NotCounted,
    /// Browsers' tools have added it.
    #[error("is none of a search's, but one that browsers' tools add, and was left out")]
    OfBrowsers,
    /// It has no value (FHIR R4, "Search", 3.1.1.3.2).
    #[error("has no value, and selects nothing")]
    NoValue,
    /// OpenEMR compares the beginning of a period alone.
    #[error(
        "is compared with the beginning of each period alone: those that began before it are missing, and how long they last does \
         not count; beside patient or _id, the gateway compares whole periods"
    )]
    ByTheStart,
    /// OpenEMR makes up what it selects by.
    #[error("means nothing for this type: OpenEMR makes its times up when it answers")]
    Invented,
}

/// What becomes of a search with such a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It is rejected unless what cannot be used may be left out.
    Unusable,
    /// It is done, and rejected only under `handling=strict`.
    Limited,
    /// It is done in any case.
    Remarkable,
}

impl Reason {
    /// What becomes of a search with such a parameter.
    #[must_use]
    pub(crate) fn weight(self) -> Weight {
        match self {
            Self::Unknown | Self::NotIncluded | Self::NotSortable | Self::Invalid | Self::Repeated => Weight::Unusable,
            Self::Contradictory | Self::NotPaged | Self::TooLarge | Self::NotCounted | Self::OfBrowsers | Self::ByTheStart => {
                Weight::Limited
            }
            Self::NoValue | Self::Invented => Weight::Remarkable,
        }
    }

    /// The code of an issue with this reason.
    #[must_use]
    pub(crate) fn code(self) -> IssueCode {
        match self {
            Self::Invalid | Self::Repeated => IssueCode::Invalid,
            Self::OfBrowsers | Self::NoValue => IssueCode::Informational,
            _ => IssueCode::NotSupported,
        }
    }

    /// What was done about it, where the reason does not say so.
    fn consequence(self) -> &'static str {
        match self {
            Self::Unknown => ", and was left out: there may be more matches than were asked for",
            Self::NotIncluded => ": nothing was included by it",
            Self::NotSortable | Self::Invalid => ", which was left out",
            Self::Repeated => ": the first one was used",
            _ => "",
        }
    }
}

impl Parameter {
    /// Makes the name of a parameter, which is repeated only where it looks like one of FHIR's.
    #[must_use]
    pub(crate) fn new(name: &str) -> Self {
        Self(shown(name).map(str::to_owned))
    }

    /// The name, where it may be repeated.
    #[must_use]
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Writes the beginning of a sentence.
impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "The parameter {name}"),
            None => f.write_str("A parameter with a name that FHIR does not have"),
        }
    }
}

impl Warning {
    /// Makes a warning about the parameter of that name.
    #[must_use]
    pub(crate) fn new(parameter: &str, reason: Reason) -> Self {
        Self { parameter: Parameter::new(parameter), reason }
    }

    /// The parameter.
    #[must_use]
    pub(crate) fn parameter(&self) -> &Parameter {
        &self.parameter
    }

    /// The reason.
    #[must_use]
    pub(crate) fn reason(&self) -> Reason {
        self.reason
    }

    fn issue(&self) -> Issue {
        let Self { parameter, reason } = self;
        let severity = match reason.code() {
            IssueCode::Informational => Severity::Information,
            _ => Severity::Warning,
        };
        let text = format!("{parameter} {reason}{}.", reason.consequence());
        let issue = Issue { severity, ..Issue::error(reason.code(), text) };
        match parameter.name() {
            Some(name) => issue.of_parameter(name),
            None => issue,
        }
    }
}

/// Writes warnings as an OperationOutcome in JSON; `None` where there are none.
#[must_use]
pub(crate) fn outcome(warnings: &[Warning]) -> Option<String> {
    let outcome = OperationOutcome::of_all(warnings.iter().take(MAX_NAMED).map(Warning::issue));
    outcome.map(|outcome| outcome.write(Format::Json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_names_parameters() {
        assert_eq!(outcome(&[]), None);
        let warnings = [
            Warning::new("shoe-size", Reason::Unknown),
            Warning::new("Doe, \"John\"", Reason::Invalid),
            Warning::new("_", Reason::OfBrowsers),
        ];
        let resource: serde_json::Value = serde_json::from_str(&outcome(&warnings).unwrap()).unwrap();
        assert_eq!(resource["resourceType"], "OperationOutcome");
        let issue = &resource["issue"][0];
        assert_eq!((&issue["severity"], &issue["code"]), (&"warning".into(), &"not-supported".into()));
        assert_eq!(issue["location"][0], "http.shoe-size");
        let text = "The parameter shoe-size is known neither to FHIR R4 nor to OpenEMR for this type, and was left out: there may \
                    be more matches than were asked for.";
        assert_eq!(issue["diagnostics"], text);
        assert!(resource["issue"][1].get("location").is_none() && !resource.to_string().contains("Doe"));
        assert_eq!(resource["issue"][2]["severity"], "information");
    }

    #[test]
    fn an_outcome_has_an_end() {
        assert!(outcome(&vec![Warning::new("x", Reason::Invalid); 1000]).unwrap().len() < 10_000);
    }
}
