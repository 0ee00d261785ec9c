//! OperationOutcome: how FHIR says that something went wrong (FHIR R4, "OperationOutcome"), in JSON and in XML.

use std::borrow::Cow;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::fhir::id::is_id;
use crate::fhir::media_type::Format;

/// `OperationOutcome.issue.severity` (FHIR R4, value set issue-severity).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Nothing more could be done at all.
    Fatal,
    /// It was not done.
    Error,
    /// It was done, and could be better.
    Warning,
    /// It was done.
    Information,
}

/// `OperationOutcome.issue.code` (FHIR R4, value set issue-type).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssueCode {
    /// The request is not one that can be understood.
    Invalid,
    /// Its structure is wrong.
    Structure,
    /// Something that must be there is missing.
    Required,
    /// A value is not one that is allowed.
    Value,
    /// A rule of the content is broken.
    Invariant,
    /// Something about authentication, authorization or consent.
    Security,
    /// Who asks is not known.
    Login,
    /// A user cannot be found.
    Unknown,
    /// A session has ended.
    Expired,
    /// The caller may not do this.
    Forbidden,
    /// A part is not shown.
    Suppressed,
    /// It cannot be done.
    Processing,
    /// The server does not do this.
    NotSupported,
    /// It is there already.
    Duplicate,
    /// More than one fits.
    MultipleMatches,
    /// There is nothing at this path.
    NotFound,
    /// It was there once.
    Deleted,
    /// More text than is taken.
    TooLong,
    /// A code that nobody knows.
    CodeInvalid,
    /// An extension that is not known.
    Extension,
    /// More than a limit allows.
    TooCostly,
    /// A rule of the server's business is broken.
    BusinessRule,
    /// Another version was there first.
    Conflict,
    /// It will work later.
    Transient,
    /// Something is locked.
    LockError,
    /// There is no room.
    NoStore,
    /// Something in the gateway or behind it broke.
    Exception,
    /// Something took too long.
    Timeout,
    /// Not everything could be told.
    Incomplete,
    /// Too many requests.
    Throttled,
    /// Nothing is wrong.
    Informational,
}

/// One thing that is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// FHIR's word for it.
    pub code: IssueCode,
    /// A sentence for a human.
    pub diagnostics: String,
    /// The HTTP parameters that it is about, as `http.` and a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub location: Vec<String>,
    /// FHIRPaths of the elements that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expression: Vec<String>,
}

impl Issue {
    /// An error.
    #[must_use]
    pub fn error(code: IssueCode, diagnostics: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, diagnostics: diagnostics.into(), location: Vec::new(), expression: Vec::new() }
    }

    /// Adds the HTTP parameter that the issue is about (FHIR R4, `OperationOutcome.issue.location`).
    #[must_use]
    pub fn of_parameter(mut self, name: &str) -> Self {
        self.location.push(format!("http.{name}"));
        self
    }

    /// Adds the element that the issue is about, as a FHIRPath.
    #[must_use]
    pub fn about(mut self, expression: impl Into<String>) -> Self {
        self.expression.push(expression.into());
        self
    }
}

/// An OperationOutcome; it always has an issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationOutcome {
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
    /// Of one issue.
    #[must_use]
    pub fn of(issue: Issue) -> Self {
        Self { id: None, first: cleaned(issue), others: Vec::new() }
    }

    /// Of several; none when there are none.
    #[must_use]
    pub fn of_all(issues: impl IntoIterator<Item = Issue>) -> Option<Self> {
        let mut issues = issues.into_iter().map(cleaned);
        Some(Self { id: None, first: issues.next()?, others: issues.collect() })
    }

    /// Names the request: as its `id` where FHIR allows that (R4, data type id), else in words.
    #[must_use]
    pub fn of_request(mut self, request: &str) -> Self {
        if is_id(request) {
            self.id = Some(request.to_owned());
        } else {
            let words = format!("{} (request {request})", self.first.diagnostics);
            self.first.diagnostics = clean(&words).into_owned();
        }
        self
    }

    /// Everything that is said.
    pub fn issues(&self) -> impl Iterator<Item = &Issue> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// As it travels.
    #[must_use]
    pub fn write(&self, format: Format) -> String {
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

/// An OperationOutcome of one error, as JSON. `diagnostics` is a sentence for a human.
#[must_use]
pub fn json(code: IssueCode, diagnostics: &str) -> String {
    OperationOutcome::of(Issue::error(code, diagnostics)).json()
}

/// The code itself, without the quotes of its JSON.
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
            // An attribute's line breaks would be read as blanks (XML 1.0, 3.3.3).
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

/// A string as FHIR takes it (R4, data type string): not empty, and no character that XML has no way to write.
fn clean(text: &str) -> Cow<'_, str> {
    let is_bad = |character: char| {
        (character.is_control() && !matches!(character, '\n' | '\r' | '\t')) || matches!(character, '\u{fffe}' | '\u{ffff}')
    };
    let text = if text.contains(is_bad) { Cow::Owned(text.replace(is_bad, " ")) } else { Cow::Borrowed(text) };
    if text.trim().is_empty() { Cow::Borrowed("No more is known.") } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_the_shape_that_fhir_wants() {
        assert_eq!(
            json(IssueCode::NotFound, r#"no "such" path"#),
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
        /// What XML cannot hold is not in it, and what JSON says is the same text.
        #[test]
        fn any_text_can_be_said(text in any::<String>(), expression in any::<String>(), request in any::<String>()) {
            let outcome = OperationOutcome::of(Issue::error(IssueCode::Processing, text).about(expression)).of_request(&request);
            let json: serde_json::Value = serde_json::from_str(&outcome.write(Format::Json)).unwrap();
            let said = json["issue"][0]["diagnostics"].as_str().unwrap();
            prop_assert!(!said.trim().is_empty());
            prop_assert!(!said.chars().any(|c| c.is_control() && !"\n\r\t".contains(c)));
            let xml = outcome.write(Format::Xml);
            prop_assert_eq!(xml.matches('<').count(), xml.matches('>').count());
            prop_assert!(xml.ends_with("</issue></OperationOutcome>"));
        }
    }
}
