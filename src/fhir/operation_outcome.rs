//! OperationOutcome: how FHIR says that something went wrong (FHIR R4, "OperationOutcome").

use serde::Serialize;

/// `OperationOutcome.issue.code` (FHIR R4, value set issue-type), as far as the gateway needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssueCode {
    /// The request is not one that can be understood.
    Invalid,
    /// The caller may not do this.
    Forbidden,
    /// There is nothing at this path.
    NotFound,
    /// The server does not do this.
    NotSupported,
    /// More than a limit allows.
    TooCostly,
    /// It will work later.
    Transient,
    /// Something took too long.
    Timeout,
    /// Something in the gateway or behind it broke.
    Exception,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationOutcome<'a> {
    resource_type: &'static str,
    issue: [Issue<'a>; 1],
}

#[derive(Serialize)]
struct Issue<'a> {
    severity: &'static str,
    code: IssueCode,
    diagnostics: &'a str,
}

/// An OperationOutcome of one error, as JSON. `diagnostics` is a sentence for a human.
#[must_use]
pub fn json(code: IssueCode, diagnostics: &str) -> String {
    let outcome = OperationOutcome { resource_type: "OperationOutcome", issue: [Issue { severity: "error", code, diagnostics }] };
    serde_json::to_string(&outcome).expect("strings and unit variants always serialize")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_shape_that_fhir_wants() {
        assert_eq!(
            json(IssueCode::NotFound, r#"no "such" path"#),
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found","diagnostics":"no \"such\" path"}]}"#
        );
    }
}
