//! Warnings to the client about search parameters that were not used as they were asked for. They name parameters, and
//! never repeat a value.

use crate::fhir::media_type::Format;
use crate::fhir::operation_outcome::{Issue, IssueCode, OperationOutcome, Severity};

/// The longest name that is repeated, in bytes.
const MAX_NAME: usize = 64;
/// The most parameters that are named; more would not help.
const MAX_NAMED: usize = 20;

/// A parameter that was not used as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warning {
    parameter: Option<String>,
    reason: Reason,
}

/// The reason why a parameter was not used as it was asked for. The text goes on from "The parameter x".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    /// The type cannot be searched by it.
    #[error("cannot be searched by here and was left out: there may be more matches than were asked for.")]
    NotSearchable,
    /// Nothing can be included by it.
    #[error("is not supported: nothing is included by it.")]
    NotIncluded,
    /// The type cannot be sorted by that.
    #[error("has a key that cannot be sorted by here, which was left out.")]
    NotSortable,
    /// Its value is not valid.
    #[error("has an invalid value, and was left out.")]
    Invalid,
    /// It is repeated with another value.
    #[error("is repeated with another value: the first one was used.")]
    Repeated,
    /// It contradicts another parameter.
    #[error("cannot be combined with the others, and was left out.")]
    Contradictory,
    /// Pages cannot be cut here, or not by this parameter.
    #[error("cannot be used here, and was left out.")]
    NotPaged,
    /// More entries than a page can have.
    #[error("is larger than a page can be: the page has the most entries that it can.")]
    TooLarge,
    /// The matches cannot be counted and paged at once.
    #[error("cannot be combined with a page, and was left out.")]
    NotCounted,
}

impl Reason {
    fn code(self) -> IssueCode {
        match self {
            Self::Invalid | Self::Repeated => IssueCode::Invalid,
            Self::NotSearchable
            | Self::NotIncluded
            | Self::NotSortable
            | Self::Contradictory
            | Self::NotPaged
            | Self::TooLarge
            | Self::NotCounted => IssueCode::NotSupported,
        }
    }
}

impl Warning {
    /// Makes a warning about the parameter of that name, which is repeated only where it looks like one of FHIR's.
    #[must_use]
    pub(crate) fn new(parameter: &str, reason: Reason) -> Self {
        let looks_like_fhir =
            parameter.len() <= MAX_NAME && parameter.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
        Self { parameter: looks_like_fhir.then(|| parameter.to_owned()), reason }
    }

    /// The code of the warning's issue.
    #[must_use]
    pub(crate) fn code(&self) -> IssueCode {
        self.reason.code()
    }

    fn issue(&self) -> Issue {
        let reason = self.reason;
        let text = match &self.parameter {
            Some(name) => format!("The parameter {name} {reason}"),
            None => format!("A parameter with a name that FHIR does not have {reason}"),
        };
        let issue = Issue { severity: Severity::Warning, ..Issue::error(self.code(), text) };
        match &self.parameter {
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

/// Lists the parameters of warnings by name, for a search that is rejected because of them.
#[must_use]
pub(crate) fn names(warnings: &[Warning]) -> String {
    let mut names: Vec<&str> = warnings.iter().filter_map(|warning| warning.parameter.as_deref()).collect();
    names.dedup();
    names.truncate(MAX_NAMED);
    if names.is_empty() { "one with a name that FHIR does not have".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_names_parameters() {
        assert_eq!(outcome(&[]), None);
        let warnings = [Warning::new("name:exact", Reason::NotSearchable), Warning::new("Doe, \"John\"", Reason::Invalid)];
        let resource: serde_json::Value = serde_json::from_str(&outcome(&warnings).unwrap()).unwrap();
        assert_eq!(resource["resourceType"], "OperationOutcome");
        let issue = &resource["issue"][0];
        assert_eq!((&issue["severity"], &issue["code"]), (&"warning".into(), &"not-supported".into()));
        assert_eq!(issue["location"][0], "http.name:exact");
        assert!(issue["diagnostics"].as_str().unwrap().starts_with("The parameter name:exact cannot be searched by"));
        assert!(resource["issue"][1].get("location").is_none() && !resource.to_string().contains("Doe"));
    }

    #[test]
    fn names_are_listed_and_not_what_looks_like_a_value() {
        let warnings = [Warning::new("foo", Reason::NotSearchable), Warning::new("_count", Reason::Invalid)];
        assert_eq!(names(&warnings), "foo, _count");
        assert!(!names(&[Warning::new("John Doe", Reason::NotSearchable)]).contains("Doe"));
        assert!(outcome(&vec![Warning::new("x", Reason::Invalid); 1000]).unwrap().len() < 10_000);
    }
}
