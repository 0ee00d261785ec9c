//! What a search was asked and did not do: said to the caller, in an OperationOutcome, by the parameter's name. Values are
//! never repeated.

use serde::Serialize;

use crate::fhir::operation_outcome::IssueCode;

/// The longest name that is repeated.
const LONGEST_NAME: usize = 64;
/// So many are told; more are no more helpful.
const MOST_TOLD: usize = 20;

/// A parameter that was not used as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    name: Option<String>,
    why: Why,
}

/// Why a parameter was not used as it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The type cannot be searched by it.
    NotSearchable,
    /// Nothing can be included by it.
    NotIncluded,
    /// It cannot be sorted by that.
    NotSorted,
    /// Its value makes no sense.
    Invalid,
    /// It stands there twice, with different values.
    Repeated,
    /// Not used along with another one.
    NotBoth,
    /// Pages cannot be cut here, or not by this.
    NotPaged,
    /// More than a page can hold.
    TooMany,
    /// The matches cannot be counted along with a page.
    NotCounted,
}

impl Why {
    fn code(self) -> IssueCode {
        match self {
            Self::Invalid | Self::Repeated => IssueCode::Invalid,
            Self::NotSearchable
            | Self::NotIncluded
            | Self::NotSorted
            | Self::NotBoth
            | Self::NotPaged
            | Self::TooMany
            | Self::NotCounted => IssueCode::NotSupported,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::NotSearchable => "cannot be searched by here and was left out: there may be more matches than were asked for.",
            Self::NotIncluded => "is not supported: nothing is included by it.",
            Self::NotSorted => "names what cannot be sorted by here, which was left out.",
            Self::Invalid => "has a value that makes no sense, and was left out.",
            Self::Repeated => "is repeated with another value: the first one was used.",
            Self::NotBoth => "cannot be used along with the others, and was left out.",
            Self::NotPaged => "cannot be used here, and was left out.",
            Self::TooMany => "is larger than a page can be: this one holds as many as it can.",
            Self::NotCounted => "cannot be had along with a page, and was left out.",
        }
    }
}

impl Remark {
    /// About the parameter of that name, which is repeated where it looks like FHIR's.
    #[must_use]
    pub fn new(name: &str, why: Why) -> Self {
        let looks_like_one =
            name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
        Self { name: looks_like_one.then(|| name.to_owned()), why }
    }

    fn words(&self) -> String {
        let sentence = self.why.sentence();
        match &self.name {
            Some(name) => format!("The parameter {name} {sentence}"),
            None => format!("A parameter whose name is none of FHIR's {sentence}"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationOutcome {
    resource_type: &'static str,
    issue: Vec<Issue>,
}

#[derive(Serialize)]
struct Issue {
    severity: &'static str,
    code: IssueCode,
    diagnostics: String,
    /// FHIR R4, "OperationOutcome": "http." and the parameter's name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    location: Vec<String>,
}

/// The OperationOutcome that tells of them, as JSON; `None` where there is nothing to tell.
#[must_use]
pub fn outcome(remarks: &[Remark]) -> Option<String> {
    if remarks.is_empty() {
        return None;
    }
    let issue = remarks.iter().take(MOST_TOLD).map(|remark| Issue {
        severity: "warning",
        code: remark.why.code(),
        diagnostics: remark.words(),
        location: remark.name.iter().map(|name| format!("http.{name}")).collect(),
    });
    let outcome = OperationOutcome { resource_type: "OperationOutcome", issue: issue.collect() };
    Some(serde_json::to_string(&outcome).expect("strings and unit variants always serialize"))
}

/// What is said in place of an answer, where the caller wants no parameter left out.
#[must_use]
pub fn refusal(remarks: &[Remark]) -> (IssueCode, String) {
    let code = remarks.first().map_or(IssueCode::NotSupported, |remark| remark.why.code());
    let mut names: Vec<&str> = remarks.iter().filter_map(|remark| remark.name.as_deref()).collect();
    names.dedup();
    names.truncate(MOST_TOLD);
    let names = if names.is_empty() { "one whose name is none of FHIR's".to_owned() } else { names.join(", ") };
    (code, format!("With handling=strict these parameters cannot be used as they are here: {names}."))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_names_parameters() {
        assert_eq!(outcome(&[]), None);
        let remarks = [Remark::new("name:exact", Why::NotSearchable), Remark::new("Doe, \"John\"", Why::Invalid)];
        let told: serde_json::Value = serde_json::from_str(&outcome(&remarks).unwrap()).unwrap();
        assert_eq!(told["resourceType"], "OperationOutcome");
        let issue = &told["issue"][0];
        assert_eq!((&issue["severity"], &issue["code"]), (&"warning".into(), &"not-supported".into()));
        assert_eq!(issue["location"][0], "http.name:exact");
        assert!(issue["diagnostics"].as_str().unwrap().starts_with("The parameter name:exact cannot be searched by"));
        assert!(told["issue"][1].get("location").is_none() && !told.to_string().contains("Doe"));
    }

    #[test]
    fn a_refusal_names_parameters_and_not_what_looks_like_a_value() {
        let remarks = [Remark::new("foo", Why::NotSearchable), Remark::new("_count", Why::Invalid)];
        let (code, words) = refusal(&remarks);
        assert_eq!(code, IssueCode::NotSupported);
        assert!(words.ends_with(": foo, _count."), "{words}");
        let (_, words) = refusal(&[Remark::new("John Doe", Why::NotSearchable)]);
        assert!(!words.contains("Doe"), "{words}");
        assert!(outcome(&vec![Remark::new("x", Why::Invalid); 1000]).unwrap().len() < 10_000);
    }
}
