//! The OperationOutcomes that replace OpenEMR's error answers.
//!
//! OpenEMR writes errors in many ways: `{"error":…,"message":…,"code":…}`, the members of OAuth,
//! `{"validationErrors":{field: text}}`, `[]`, an object twice in a row, text before JSON, HTML of Apache's or PHP's, an empty
//! body, and sometimes an OperationOutcome. Its own text is shown to a client only if it is about the request (4xx) and
//! [may be disclosed](is_disclosable).
//!
//! Decision: `docs/decisions/15-errors.md`.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::fhir::operation_outcome::{Issue, IssueCode, OperationOutcome, Severity};
use crate::openemr::disclosure::is_disclosable;

/// The most of a body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The most issues of an outcome.
const MAX_ISSUES: usize = 50;
/// The number of opening brackets at which JSON is looked for.
const MAX_BRACKETS: usize = 8;

/// What is said when the database cannot be reached: by OpenEMR, by its code that then has no connection, and by PHP's clients of
/// MySQL (client errors 2002, 2003, 2006 and 2013, server errors 1040 and 1203). What stands before it names the server.
const DATABASE_IS_DOWN: [&str; 11] = [
    "Check that you can ping the server",
    "prepare() on bool",
    "SQLSTATE[HY000] [2002]",
    "SQLSTATE[HY000] [2003]",
    "SQLSTATE[HY000] [2006]",
    "SQLSTATE[HY000] [1040]",
    "SQLSTATE[HY000] [1203]",
    "MySQL server has gone away",
    "Lost connection to MySQL server",
    "Can't connect to MySQL server",
    "Too many connections",
];

/// An error answer of OpenEMR's, apart from its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorAnswer {
    /// The status, 400 or above.
    pub(crate) status: u16,
    /// The resource type of the request.
    pub(crate) resource_type: Option<&'static str>,
}

/// Makes the OperationOutcome for an error answer.
#[must_use]
pub(crate) fn outcome(answer: ErrorAnswer, body: &[u8]) -> OperationOutcome {
    let own = if answer.status < 500 { own_text(answer, body) } else { None };
    own.unwrap_or_else(|| OperationOutcome::of(general(answer)))
}

/// Returns the status for the client. 401 and 407 are about the gateway's credentials, not about the client's.
#[must_use]
pub(crate) fn status(openemrs: u16) -> u16 {
    match openemrs {
        401 => 403,
        407 => 502,
        other => other,
    }
}

/// Whether this is the answer to a read whose id OpenEMR cannot have: it validates nothing else of a read.
#[must_use]
pub(crate) fn is_malformed_id(status: StatusCode, body: &[u8]) -> bool {
    status == StatusCode::BAD_REQUEST
        && matches!(first_json(body), Some(Value::Object(body)) if body.get("validationErrors").is_some_and(Value::is_object))
}

/// Returns the status that says what happened: OpenEMR answers 500 when its database is down, which is 503.
#[must_use]
pub(crate) fn cause(openemrs: u16, body: &[u8]) -> u16 {
    if openemrs >= 500 && says_the_database_is_down(body) { 503 } else { openemrs }
}

/// Whether a body tells, in the words of OpenEMR's, PHP's or the database client's, that the database cannot be reached.
#[must_use]
pub(crate) fn says_the_database_is_down(body: &[u8]) -> bool {
    let body = body.get(..MAX_BODY).unwrap_or(body);
    DATABASE_IS_DOWN.iter().any(|sign| memchr::memmem::find(body, sign.as_bytes()).is_some())
}

/// Makes the outcome of OpenEMR's own text, as far as that can be shown.
fn own_text(answer: ErrorAnswer, body: &[u8]) -> Option<OperationOutcome> {
    let Value::Object(body) = first_json(body)? else { return None };
    if body.get("resourceType").and_then(Value::as_str) == Some("OperationOutcome") {
        return own_outcome(answer, &body);
    }
    if let Some(Value::Object(fields)) = body.get("validationErrors") {
        return OperationOutcome::of_all(validation_issues(answer, fields).take(MAX_ISSUES));
    }
    // `message` is more specific than `error`, and OAuth's `hint` more than `message`.
    let text = ["hint", "message", "error_description"].into_iter().find_map(|member| body.get(member)?.as_str());
    let text = text.filter(|text| is_specific(text) && is_disclosable(text))?;
    Some(OperationOutcome::of(Issue { diagnostics: quoted(text), ..general(answer) }))
}

/// Whether a text says more than the gateway's own sentence for the status.
fn is_specific(text: &str) -> bool {
    !matches!(
        text.trim(),
        "An error occurred" | "Route not found" | "Unauthorized" | "System error occurred" | "Not found" | "Not Found"
    ) && !text.contains("resource owner")
        && !text.contains("token")
}

fn quoted(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("OpenEMR says: {text}")
}

/// Returns the first JSON value in a body, whatever stands before or after it.
fn first_json(body: &[u8]) -> Option<Value> {
    let body = body.get(..MAX_BODY).unwrap_or(body);
    let brackets = memchr::memchr2_iter(b'{', b'[', body).take(MAX_BRACKETS);
    brackets.filter_map(|at| body.get(at..)).find_map(|rest| {
        let value = serde_json::Deserializer::from_slice(rest).into_iter::<Value>().next()?.ok()?;
        // An array such as `[0]` within a text is no answer.
        (value.is_object() || rest.len() == body.len()).then_some(value)
    })
}

/// Copies OpenEMR's own OperationOutcome, as far as it is valid and can be shown.
fn own_outcome(answer: ErrorAnswer, body: &Map<String, Value>) -> Option<OperationOutcome> {
    let issues = body.get("issue")?.as_array()?;
    OperationOutcome::of_all(issues.iter().take(MAX_ISSUES).filter_map(|issue| own_issue(answer, issue)))
}

fn own_issue(answer: ErrorAnswer, issue: &Value) -> Option<Issue> {
    let general = general(answer);
    let member = |name: &str| issue.get(name).cloned();
    let severity = member("severity").and_then(|word| serde_json::from_value(word).ok()).unwrap_or(Severity::Error);
    let code = member("code").and_then(|word| serde_json::from_value(word).ok()).unwrap_or(general.code);
    let texts = [issue.pointer("/details/text"), issue.get("diagnostics"), issue.pointer("/details/coding/0/display")];
    let text = texts.into_iter().flatten().filter_map(Value::as_str).find(|text| is_disclosable(text))?;
    let expression = issue.get("expression").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let expression = expression.iter().filter_map(Value::as_str).filter(|path| is_disclosable(path)).map(str::to_owned).collect();
    Some(Issue { severity, expression, ..Issue::error(code, text) })
}

/// Makes issues of validation errors such as
/// `{"fname":{"Required::NON_EXISTENT_KEY":"fname must be provided, but does not exist"}}` and `{"_id":"…"}`.
fn validation_issues<'a>(answer: ErrorAnswer, fields: &'a Map<String, Value>) -> impl Iterator<Item = Issue> + use<'a> {
    fields.iter().flat_map(move |(field, texts)| {
        let texts: Vec<(&str, &str)> = match texts {
            Value::String(text) => vec![("", text.as_str())],
            Value::Object(rules) => rules.iter().map(|(rule, text)| (rule.as_str(), text.as_str().unwrap_or_default())).collect(),
            Value::Array(all) => all.iter().map(|text| ("", text.as_str().unwrap_or_default())).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => vec![("", "")],
        };
        texts.into_iter().map(move |(rule, text)| validation_issue(answer, field, rule, text))
    })
}

fn validation_issue(answer: ErrorAnswer, field: &str, rule: &str, text: &str) -> Issue {
    let is_missing = rule.starts_with("Required") || rule.starts_with("NotEmpty");
    let code = if is_missing { IssueCode::Required } else { IssueCode::Value };
    let element = answer.resource_type.and_then(|resource_type| Some((resource_type, element(field)?)));
    let expression = element.map(|(resource_type, element)| format!("{resource_type}.{element}"));
    let text = match (&expression, is_missing) {
        (Some(expression), true) => format!("{expression} must be given."),
        // Where the sentence begins with the name of the column, that of the element replaces it.
        (Some(expression), false) => match text.strip_prefix(field).filter(|rest| rest.starts_with(' ')) {
            Some(rest) if is_disclosable(rest) => format!("{expression}{rest}"),
            None if is_disclosable(text) => quoted(text),
            Some(_) | None => format!("The value of {expression} is not one that OpenEMR takes."),
        },
        (None, true) => "OpenEMR requires a value that is missing.".to_owned(),
        (None, false) if is_disclosable(text) && !text.starts_with(field) => quoted(text),
        (None, false) => "A value is not one that OpenEMR takes.".to_owned(),
    };
    let issue = Issue::error(code, text);
    match expression {
        Some(expression) => issue.about(expression),
        None => issue,
    }
}

/// Returns the element of Patient, Practitioner or Organization that a column of OpenEMR's database or a search parameter
/// stands for.
fn element(field: &str) -> Option<&'static str> {
    Some(match field {
        "_id" | "uuid" | "puuid" | "id" => "id",
        "fname" | "mname" => "name.given",
        "lname" => "name.family",
        "title" => "name.prefix",
        "suffix" => "name.suffix",
        "name" => "name",
        "sex" | "gender" => "gender",
        "DOB" | "birthdate" | "birthDate" => "birthDate",
        "street" | "street_line_2" | "line1" => "address.line",
        "city" => "address.city",
        "state" => "address.state",
        "postal_code" | "zip" => "address.postalCode",
        "country_code" => "address.country",
        "address" => "address",
        "phone" | "phone_home" | "phone_biz" | "phone_cell" | "phone_contact" | "phonew1" | "phonecell" | "fax" | "email" => {
            "telecom"
        }
        "ss" | "pubpid" | "npi" | "facility_npi" | "identifier" => "identifier",
        "deceased_date" => "deceased",
        "language" => "communication.language",
        "active" => "active",
        _ => return None,
    })
}

/// Makes an issue of the status alone, with a sentence of the gateway's own.
fn general(answer: ErrorAnswer) -> Issue {
    let (code, text) = match answer.status {
        400 => (IssueCode::Invalid, "OpenEMR does not understand the request."),
        401 => (IssueCode::Forbidden, "OpenEMR does not let the gateway's client do this, whatever access token it brings."),
        403 => (IssueCode::Forbidden, "OpenEMR does not allow this."),
        404 => match answer.resource_type {
            Some(resource_type) => {
                return Issue::error(IssueCode::NotFound, format!("OpenEMR has no {resource_type} at this address."));
            }
            None => (IssueCode::NotFound, "OpenEMR has nothing at this address."),
        },
        405 => (IssueCode::NotSupported, "OpenEMR does not do this at this address."),
        406 => (IssueCode::NotSupported, "OpenEMR does not have this in the form that was asked for."),
        407 => (IssueCode::Exception, "A proxy between the gateway and OpenEMR refuses the gateway."),
        408 => (IssueCode::Timeout, "The request did not reach OpenEMR in time."),
        409 | 412 => (IssueCode::Conflict, "The request contradicts what OpenEMR has."),
        410 => (IssueCode::Deleted, "OpenEMR no longer has this."),
        413 => (IssueCode::TooLong, "The request is larger than OpenEMR takes."),
        414 | 431 => (IssueCode::TooLong, "The request's address or head is longer than OpenEMR takes."),
        415 => (IssueCode::NotSupported, "OpenEMR does not take content of this type."),
        422 => (IssueCode::Processing, "OpenEMR understands the resource, and cannot take it."),
        423 => (IssueCode::LockError, "OpenEMR has this locked."),
        429 => (IssueCode::Throttled, "OpenEMR has been asked too often of late."),
        501 => (IssueCode::NotSupported, "OpenEMR does not do this."),
        502 => (IssueCode::Transient, "A server between the gateway and OpenEMR cannot reach it."),
        503 => (IssueCode::Transient, "OpenEMR is not available at the moment."),
        504 => (IssueCode::Timeout, "OpenEMR did not finish in time."),
        500.. => (IssueCode::Exception, "OpenEMR failed."),
        _ => (IssueCode::Processing, "OpenEMR refuses the request."),
    };
    Issue::error(code, text)
}

#[cfg(test)]
mod tests;
