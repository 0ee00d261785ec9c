//! OperationOutcome, the resource for errors and warnings (FHIR R4, "OperationOutcome"), in JSON and in XML.

use std::borrow::Cow;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::fhir::id::is_id;
use crate::fhir::media_type::Format;

/// `OperationOutcome.issue.severity` (FHIR R4, value set issue-severity).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// The request failed, and nothing more can be checked.
    Fatal,
    /// The request failed.
    Error,
    /// The request was done, with a problem.
    Warning,
    /// The request was done.
    Information,
}

/// `OperationOutcome.issue.code` (FHIR R4, value set issue-type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IssueCode {
    /// The request is invalid.
    Invalid,
    /// The structure of the content is wrong.
    Structure,
    /// A required element is missing.
    Required,
    /// A value is not allowed.
    Value,
    /// The content breaks a rule of FHIR's.
    Invariant,
    /// Authentication, authorization or consent failed.
    Security,
    /// The client must authenticate.
    Login,
    /// The user is not known.
    Unknown,
    /// The session has expired.
    Expired,
    /// The client lacks the permission.
    Forbidden,
    /// Some information was withheld.
    Suppressed,
    /// The content cannot be processed.
    Processing,
    /// The server does not support this.
    NotSupported,
    /// The record exists already.
    Duplicate,
    /// More than one record matches.
    MultipleMatches,
    /// There is nothing at this address.
    NotFound,
    /// The record was deleted.
    Deleted,
    /// The content is too long.
    TooLong,
    /// A code is not known.
    CodeInvalid,
    /// An extension is not known.
    Extension,
    /// The request exceeds a limit.
    TooCostly,
    /// The request breaks a rule of the server's business.
    BusinessRule,
    /// The request conflicts with the current version.
    Conflict,
    /// A temporary problem; the request can be repeated later.
    Transient,
    /// A record is locked.
    LockError,
    /// The storage is full.
    NoStore,
    /// An internal error.
    Exception,
    /// A time limit was exceeded.
    Timeout,
    /// Not all data is included.
    Incomplete,
    /// Too many requests.
    Throttled,
    /// Information without a problem.
    Informational,
}

/// One error, warning or piece of information.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Issue {
    /// The severity.
    pub(crate) severity: Severity,
    /// The kind of issue.
    pub(crate) code: IssueCode,
    /// A sentence for a person.
    pub(crate) diagnostics: String,
    /// The HTTP parameters that it is about, as `http.` and a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) location: Vec<String>,
    /// FHIRPaths of the elements that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) expression: Vec<String>,
}

impl Issue {
    /// Makes an error.
    #[must_use]
    pub(crate) fn error(code: IssueCode, diagnostics: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, diagnostics: diagnostics.into(), location: Vec::new(), expression: Vec::new() }
    }

    /// Adds the HTTP parameter that the issue is about (FHIR R4, `OperationOutcome.issue.location`).
    #[must_use]
    pub(crate) fn of_parameter(mut self, name: &str) -> Self {
        self.location.push(format!("http.{name}"));
        self
    }

    /// Adds the element that the issue is about, as a FHIRPath.
    #[must_use]
    pub(crate) fn about(mut self, expression: impl Into<String>) -> Self {
        self.expression.push(expression.into());
        self
    }
}

/// An OperationOutcome, which has at least one issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationOutcome {
    id: Option<String>,
    first: Issue,
    others: Vec<Issue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    resource_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    issue: Vec<&'a Issue>,
}

impl OperationOutcome {
    /// Makes an OperationOutcome of one issue.
    #[must_use]
    pub(crate) fn of(issue: Issue) -> Self {
        Self { id: None, first: cleaned(issue), others: Vec::new() }
    }

    /// Makes an OperationOutcome of several issues; `None` when there are none.
    #[must_use]
    pub(crate) fn of_all(issues: impl IntoIterator<Item = Issue>) -> Option<Self> {
        let mut issues = issues.into_iter().map(cleaned);
        Some(Self { id: None, first: issues.next()?, others: issues.collect() })
    }

    /// Adds the id of the request: as the resource's `id` where it is a valid one (FHIR R4, data type id), else in the text.
    #[must_use]
    pub(crate) fn of_request(mut self, request: &str) -> Self {
        if is_id(request) {
            self.id = Some(request.to_owned());
        } else {
            let text = format!("{} (request {request})", self.first.diagnostics);
            self.first.diagnostics = clean(&text).into_owned();
        }
        self
    }

    /// Returns the issues.
    pub(crate) fn issues(&self) -> impl Iterator<Item = &Issue> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Writes the resource in a format.
    #[must_use]
    pub(crate) fn write(&self, format: Format) -> String {
        match format {
            Format::Json => self.json(),
            Format::Xml => self.xml(),
        }
    }

    fn json(&self) -> String {
        let written = Written { resource_type: "OperationOutcome", id: self.id.as_deref(), issue: self.issues().collect() };
        serde_json::to_string(&written).expect("strings and unit variants always serialize")
    }

    fn xml(&self) -> String {
        let mut xml = String::from(r#"<?xml version="1.0" encoding="UTF-8"?><OperationOutcome xmlns="http://hl7.org/fhir">"#);
        if let Some(id) = &self.id {
            element(&mut xml, "id", id);
        }
        for issue in self.issues() {
            xml.push_str("<issue>");
            element(&mut xml, "severity", &word(issue.severity));
            element(&mut xml, "code", &word(issue.code));
            element(&mut xml, "diagnostics", &issue.diagnostics);
            for location in &issue.location {
                element(&mut xml, "location", location);
            }
            for expression in &issue.expression {
                element(&mut xml, "expression", expression);
            }
            xml.push_str("</issue>");
        }
        xml.push_str("</OperationOutcome>");
        xml
    }
}

/// Returns a code without the quotes of its JSON.
fn word(code: impl Serialize) -> String {
    serde_json::to_value(code).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn element(xml: &mut String, name: &str, value: &str) {
    let _ = write!(xml, "<{name} value=\"");
    for character in value.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            // A line break in an attribute would be read as a space (XML 1.0, 3.3.3).
            '\n' => xml.push_str("&#10;"),
            '\r' => xml.push_str("&#13;"),
            '\t' => xml.push_str("&#9;"),
            other => xml.push(other),
        }
    }
    xml.push_str("\"/>");
}

fn cleaned(mut issue: Issue) -> Issue {
    issue.diagnostics = clean(&issue.diagnostics).into_owned();
    for texts in [&mut issue.location, &mut issue.expression] {
        texts.retain(|text| !text.trim().is_empty());
        for text in texts {
            *text = clean(text).into_owned();
        }
    }
    issue
}

/// Makes a valid string of a text (FHIR R4, data type string): one that is not empty and has no character that XML cannot
/// represent.
fn clean(text: &str) -> Cow<'_, str> {
    let is_bad = |character: char| {
        (character.is_control() && !matches!(character, '\n' | '\r' | '\t')) || matches!(character, '\u{fffe}' | '\u{ffff}')
    };
    let text = if text.contains(is_bad) { Cow::Owned(text.replace(is_bad, " ")) } else { Cow::Borrowed(text) };
    if text.trim().is_empty() { Cow::Borrowed("There are no details.") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_outcome_has_the_shape_of_the_resource() {
        assert_eq!(
            OperationOutcome::of(Issue::error(IssueCode::NotFound, r#"no "such" path"#)).json(),
            r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found","diagnostics":"no \"such\" path"}]}"#
        );
    }

    #[test]
    fn several_issues_in_both_formats() {
        let outcome = OperationOutcome::of_all([
            Issue::error(IssueCode::Required, "a < b & \"c\"\n").about("Patient.birthDate"),
            Issue { severity: Severity::Warning, ..Issue::error(IssueCode::TooCostly, "slow") }.of_parameter("_count"),
        ])
        .unwrap()
        .of_request("00ff");
        let json: serde_json::Value = serde_json::from_str(&outcome.write(Format::Json)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "resourceType": "OperationOutcome", "id": "00ff", "issue": [
                { "severity": "error", "code": "required", "diagnostics": "a < b & \"c\"\n", "expression": ["Patient.birthDate"] },
                { "severity": "warning", "code": "too-costly", "diagnostics": "slow", "location": ["http._count"] },
            ] })
        );
        assert_eq!(
            outcome.write(Format::Xml),
            concat!(
                r#"<?xml version="1.0" encoding="UTF-8"?><OperationOutcome xmlns="http://hl7.org/fhir"><id value="00ff"/>"#,
                r#"<issue><severity value="error"/><code value="required"/><diagnostics value="a &lt; b &amp; &quot;c&quot;&#10;"/>"#,
                r#"<expression value="Patient.birthDate"/></issue>"#,
                r#"<issue><severity value="warning"/><code value="too-costly"/><diagnostics value="slow"/>"#,
                r#"<location value="http._count"/></issue></OperationOutcome>"#
            )
        );
        assert_eq!(OperationOutcome::of_all([]), None);
    }

    #[test]
    fn a_request_id_that_is_no_fhir_id_is_said_in_words() {
        let outcome = OperationOutcome::of(Issue::error(IssueCode::Invalid, "No.")).of_request("a/b_c");
        assert_eq!(outcome.id, None);
        assert_eq!(outcome.first.diagnostics, "No. (request a/b_c)");
        assert_eq!(
            OperationOutcome::of(Issue::error(IssueCode::Invalid, "No.")).of_request("a-1.B").id.as_deref(),
            Some("a-1.B")
        );
    }

    proptest! {
        /// No text makes an invalid outcome, in JSON or in XML.
        #[test]
        fn any_text_can_be_said(text in any::<String>(), expression in any::<String>(), request in any::<String>()) {
            let outcome = OperationOutcome::of(Issue::error(IssueCode::Processing, text).about(expression)).of_request(&request);
            let json: serde_json::Value = serde_json::from_str(&outcome.write(Format::Json)).unwrap();
            let diagnostics = json["issue"][0]["diagnostics"].as_str().unwrap();
            prop_assert!(!diagnostics.trim().is_empty());
            prop_assert!(!diagnostics.chars().any(|c| c.is_control() && !"\n\r\t".contains(c)));
            let xml = outcome.write(Format::Xml);
            prop_assert_eq!(xml.matches('<').count(), xml.matches('>').count());
            prop_assert!(xml.ends_with("</issue></OperationOutcome>"));
        }
    }
}
