//! What OpenEMR says when it refuses or breaks, said as FHIR says it.
//!
//! OpenEMR has many ways: `{"error":…,"message":…,"code":…}`, OAuth's members, `{"validationErrors":{field: words}}`, `[]`, an object
//! twice in a row, text before JSON, HTML of Apache's or PHP's, nothing at all, and sometimes an OperationOutcome. Its own words
//! are shown to a caller only where they are about his request (4xx) and clean ([`is_disclosable`]).

use serde_json::{Map, Value};

use crate::fhir::operation_outcome::{Issue, IssueCode, OperationOutcome, Severity};
use crate::openemr::disclosure::is_disclosable;

/// More of a body is not read.
pub const MOST: usize = 64 * 1024;
/// More issues are not told.
const MOST_ISSUES: usize = 50;
/// Behind so many brackets no JSON is looked for.
const MOST_TRIES: usize = 8;

/// What is known besides the body.
#[derive(Debug, Clone, Copy)]
pub struct ErrorAnswer {
    /// OpenEMR's status, 400 or above.
    pub status: u16,
    /// What the request was about.
    pub resource_type: Option<&'static str>,
}

/// The OperationOutcome for an error answer of OpenEMR's.
#[must_use]
pub fn outcome(answer: ErrorAnswer, body: &[u8]) -> OperationOutcome {
    let told = if answer.status < 500 { told(answer, body) } else { None };
    told.unwrap_or_else(|| OperationOutcome::of(general(answer)))
}

/// The status that a caller sees. 401 and 407 are about the gateway's own credentials, not about his.
#[must_use]
pub fn status(openemrs: u16) -> u16 {
    match openemrs {
        401 => 403,
        407 => 502,
        other => other,
    }
}

/// What OpenEMR said, as far as it can be shown.
fn told(answer: ErrorAnswer, body: &[u8]) -> Option<OperationOutcome> {
    let Value::Object(said) = first_json(body)? else { return None };
    if said.get("resourceType").and_then(Value::as_str) == Some("OperationOutcome") {
        return own_outcome(answer, &said);
    }
    if let Some(Value::Object(fields)) = said.get("validationErrors") {
        return OperationOutcome::of_all(validation_issues(answer, fields).take(MOST_ISSUES));
    }
    // `message` says more than `error`, and OAuth's `hint` more than `message`.
    let words = ["hint", "message", "error_description"].into_iter().find_map(|member| said.get(member)?.as_str());
    let words = words.filter(|words| says_something(words) && is_disclosable(words))?;
    Some(OperationOutcome::of(Issue { diagnostics: quoted(words), ..general(answer) }))
}

/// OpenEMR's texts for "something": a sentence of the gateway's own says more.
fn says_something(words: &str) -> bool {
    !matches!(
        words.trim(),
        "An error occurred" | "Route not found" | "Unauthorized" | "System error occurred" | "Not found" | "Not Found"
    ) && !words.contains("resource owner")
        && !words.contains("token")
}

fn quoted(words: &str) -> String {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("OpenEMR says: {words}")
}

/// The first JSON value of a body, whatever stands before or behind it.
fn first_json(body: &[u8]) -> Option<Value> {
    let body = body.get(..MOST).unwrap_or(body);
    let brackets = memchr::memchr2_iter(b'{', b'[', body).take(MOST_TRIES);
    brackets.filter_map(|at| body.get(at..)).find_map(|rest| {
        let value = serde_json::Deserializer::from_slice(rest).into_iter::<Value>().next()?.ok()?;
        // `[0]` in a text is no answer.
        (value.is_object() || rest.len() == body.len()).then_some(value)
    })
}

/// OpenEMR's own OperationOutcome, as far as it is valid and clean.
fn own_outcome(answer: ErrorAnswer, said: &Map<String, Value>) -> Option<OperationOutcome> {
    let issues = said.get("issue")?.as_array()?;
    OperationOutcome::of_all(issues.iter().take(MOST_ISSUES).filter_map(|issue| own_issue(answer, issue)))
}

fn own_issue(answer: ErrorAnswer, said: &Value) -> Option<Issue> {
    let general = general(answer);
    let word = |member: &str| said.get(member).cloned();
    let severity = word("severity").and_then(|word| serde_json::from_value(word).ok()).unwrap_or(Severity::Error);
    let code = word("code").and_then(|word| serde_json::from_value(word).ok()).unwrap_or(general.code);
    let words = [said.pointer("/details/text"), said.get("diagnostics"), said.pointer("/details/coding/0/display")];
    let words = words.into_iter().flatten().filter_map(Value::as_str).find(|words| is_disclosable(words))?;
    let expression = said.get("expression").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let expression = expression.iter().filter_map(Value::as_str).filter(|path| is_disclosable(path)).map(str::to_owned).collect();
    Some(Issue { severity, expression, ..Issue::error(code, words) })
}

/// `{"fname":{"Required::NON_EXISTENT_KEY":"fname must be provided, but does not exist"}}` and `{"_id":"…"}`.
fn validation_issues<'a>(answer: ErrorAnswer, fields: &'a Map<String, Value>) -> impl Iterator<Item = Issue> + use<'a> {
    fields.iter().flat_map(move |(field, said)| {
        let said: Vec<(&str, &str)> = match said {
            Value::String(words) => vec![("", words.as_str())],
            Value::Object(rules) => {
                rules.iter().map(|(rule, words)| (rule.as_str(), words.as_str().unwrap_or_default())).collect()
            }
            Value::Array(all) => all.iter().map(|words| ("", words.as_str().unwrap_or_default())).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => vec![("", "")],
        };
        said.into_iter().map(move |(rule, words)| validation_issue(answer, field, rule, words))
    })
}

fn validation_issue(answer: ErrorAnswer, field: &str, rule: &str, words: &str) -> Issue {
    let is_missing = rule.starts_with("Required") || rule.starts_with("NotEmpty");
    let code = if is_missing { IssueCode::Required } else { IssueCode::Value };
    let element = answer.resource_type.and_then(|resource_type| Some((resource_type, element(field)?)));
    let expression = element.map(|(resource_type, element)| format!("{resource_type}.{element}"));
    let text = match (&expression, is_missing) {
        (Some(expression), true) => format!("{expression} must be given."),
        // A sentence that begins with a column's name begins with the element's.
        (Some(expression), false) => match words.strip_prefix(field).filter(|rest| rest.starts_with(' ')) {
            Some(rest) if is_disclosable(rest) => format!("{expression}{rest}"),
            None if is_disclosable(words) => quoted(words),
            Some(_) | None => format!("The value of {expression} is not one that OpenEMR takes."),
        },
        (None, true) => "OpenEMR misses something that must be given.".to_owned(),
        (None, false) if is_disclosable(words) && !words.starts_with(field) => quoted(words),
        (None, false) => "A value is not one that OpenEMR takes.".to_owned(),
    };
    let issue = Issue::error(code, text);
    match expression {
        Some(expression) => issue.about(expression),
        None => issue,
    }
}

/// The element that OpenEMR keeps in a column, or takes by a search parameter, of Patient, Practitioner and Organization.
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

/// A sentence of the gateway's own, by the status alone.
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fhir::media_type::Format;
    use proptest::prelude::*;

    fn said(status: u16, resource_type: Option<&'static str>, body: &str) -> Value {
        let outcome = outcome(ErrorAnswer { status, resource_type }, body.as_bytes());
        serde_json::from_str(&outcome.write(Format::Json)).unwrap()
    }

    #[test]
    fn every_way_of_openemrs_is_understood() {
        let denied =
            r#"{"error":"An error occurred","message":"Organization policy does not have permit access resource","code":0}"#;
        let twice = format!("{denied}{denied}");
        let prefixed = format!("Some text [0] before {denied}");
        for (status, body, code, text) in [
            (403, denied, "forbidden", "OpenEMR says: Organization policy does not have permit access resource"),
            (403, &twice, "forbidden", "OpenEMR says: Organization policy does not have permit access resource"),
            (403, &prefixed, "forbidden", "OpenEMR says: Organization policy does not have permit access resource"),
            (
                404,
                r#"{"error":"An error occurred","message":"Route not found","code":0}"#,
                "not-found",
                "OpenEMR has no Patient at this address.",
            ),
            (404, "[]", "not-found", "OpenEMR has no Patient at this address."),
            (404, "", "not-found", "OpenEMR has no Patient at this address."),
            (404, "<html><body><h1>Not Found</h1></body></html>", "not-found", "OpenEMR has no Patient at this address."),
            (
                400,
                r#"{"error":"invalid_request","error_description":"The request is malformed","hint":"Look at the date","message":"The request is malformed"}"#,
                "invalid",
                "OpenEMR says: Look at the date",
            ),
            (
                401,
                r#"{"error":"An error occurred","message":"Unauthorized","code":0}"#,
                "forbidden",
                "OpenEMR does not let the gateway's client do this, whatever access token it brings.",
            ),
            (400, r#"{"message":"FhirPatientService is broken"}"#, "invalid", "OpenEMR does not understand the request."),
            (400, r#"{"message":{"a":1}}"#, "invalid", "OpenEMR does not understand the request."),
            (500, denied, "exception", "OpenEMR failed."),
            (
                500,
                "Check that you can ping the server 127.0.0.1.<p>{\"error\":\"An error occurred\",\"message\":\"Call to a member function prepare() on bool\",\"code\":0}",
                "exception",
                "OpenEMR failed.",
            ),
            (501, "", "not-supported", "OpenEMR does not do this."),
            (503, "<html>", "transient", "OpenEMR is not available at the moment."),
            (504, "<html>", "timeout", "OpenEMR did not finish in time."),
            (599, "", "exception", "OpenEMR failed."),
            (418, "", "processing", "OpenEMR refuses the request."),
        ] {
            let said = said(status, Some("Patient"), body);
            assert_eq!(said["issue"][0]["code"], code, "{status} {body}");
            assert_eq!(said["issue"][0]["diagnostics"], text, "{status} {body}");
            assert_eq!(said["issue"][0]["severity"], "error");
        }
        assert_eq!(said(404, None, "[]")["issue"][0]["diagnostics"], "OpenEMR has nothing at this address.");
    }

    #[test]
    fn what_is_wrong_with_fields_names_the_elements() {
        let body = r#"{"validationErrors":{"fname":{"Required::NON_EXISTENT_KEY":"fname must be provided, but does not exist"},"DOB":{"NotEmpty::EMPTY_VALUE":"Date of Birth must not be empty","Datetime::INVALID_VALUE":"DOB must be a valid date"},"patient_data_x":{"Lengths":"patient_data_x is too long"},"email":["not an address"],"sex":7}}"#;
        let said = said(400, Some("Patient"), body);
        let issues: Vec<_> = said["issue"]
            .as_array()
            .unwrap()
            .iter()
            .map(|issue| {
                (
                    issue["code"].as_str().unwrap(),
                    issue["expression"][0].as_str().unwrap_or("-"),
                    issue["diagnostics"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            issues,
            [
                ("required", "Patient.name.given", "Patient.name.given must be given."),
                ("required", "Patient.birthDate", "Patient.birthDate must be given."),
                ("value", "Patient.birthDate", "Patient.birthDate must be a valid date"),
                ("value", "-", "A value is not one that OpenEMR takes."),
                ("value", "Patient.telecom", "OpenEMR says: not an address"),
                ("value", "Patient.gender", "The value of Patient.gender is not one that OpenEMR takes."),
            ]
        );
    }

    #[test]
    fn a_malformed_id_is_about_the_id() {
        let body = r#"{"validationErrors":{"_id":"The search field argument was invalid, improperly formatted, or could not be parsed.  Inner message: UUID columns must be a valid UUID string"}}"#;
        let said = said(400, Some("Patient"), body);
        assert_eq!(said["issue"][0]["expression"][0], "Patient.id");
        assert_eq!(
            said["issue"][0]["diagnostics"],
            "OpenEMR says: The search field argument was invalid, improperly formatted, or could not be parsed. Inner message: UUID columns must be a valid UUID string"
        );
        assert_eq!(said["issue"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn an_outcome_of_openemrs_own_is_kept_where_it_is_disclosable() {
        let own = r#"{"id":"f44d4bbb","resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"processing","details":{"text":"'Prefer' header invalid"}},{"severity":"none","code":"what","diagnostics":"Odd"},{"severity":"error","code":"invalid","details":{"text":"in /var/www/x.php"}}]}"#;
        assert_eq!(
            said(400, None, own),
            serde_json::json!({ "resourceType": "OperationOutcome", "issue": [
                { "severity": "warning", "code": "processing", "diagnostics": "'Prefer' header invalid" },
                { "severity": "error", "code": "invalid", "diagnostics": "Odd" },
            ] })
        );
        let unclean = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","details":{"text":"in /var/www/x.php"}}]}"#;
        assert_eq!(said(400, None, unclean)["issue"][0]["diagnostics"], "OpenEMR does not understand the request.");
        assert_eq!(said(500, None, own)["issue"][0]["diagnostics"], "OpenEMR failed.");
    }

    #[test]
    fn a_refused_credential_is_never_the_callers() {
        assert_eq!([400, 401, 403, 404, 407, 422, 500, 503].map(status), [400, 403, 403, 404, 502, 422, 500, 503]);
    }

    /// Whatever OpenEMR's words hold, in whatever shape.
    fn body() -> impl Strategy<Value = (String, &'static str)> {
        let secret = prop_oneof![
            Just("<b>markup</b>"),
            Just("/var/www/html/x.php"),
            Just("FhirPatientService"),
            Just("OpenEMR\\Services"),
            Just("patient_data"),
            Just("10.1.2.3"),
            Just("emr.internal.example"),
            Just("SQLSTATE"),
            Just("#0 main"),
        ];
        let shape = prop_oneof![
            Just(r#"{"error":"@","message":"@","code":0}"#),
            Just(r#"{"error":"a","hint":"@"}"#),
            Just(r#"{"validationErrors":{"@":"@"}}"#),
            Just(r#"{"validationErrors":{"fname":{"Length":"fname @"}}}"#),
            Just(r#"{"validationErrors":{"fname":["@"],"x":{"@":"@"}}}"#),
            Just(
                r#"{"resourceType":"OperationOutcome","id":"@","issue":[{"severity":"@","code":"@","details":{"text":"@"},"diagnostics":"@","expression":["@"]}]}"#
            ),
            Just(
                r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value","diagnostics":"fine","expression":["@"]}]}"#
            ),
            Just("@"),
            Just("@{}"),
            Just(r#"[{"message":"@"}]"#),
            Just(r#"@{"message":"fine @"}"#),
        ];
        (shape, secret, "[a-z ]{0,10}", "[a-z ]{0,10}").prop_map(|(shape, secret, before, after)| {
            let words = serde_json::to_string(&format!("{before} {secret} {after}")).unwrap();
            (shape.replace('@', words.trim_matches('"')), secret)
        })
    }

    proptest! {
        #[test]
        fn nothing_of_the_server_leaks((body, secret) in body(), status in 400_u16..600) {
            let outcome = outcome(ErrorAnswer { status, resource_type: Some("Patient") }, body.as_bytes());
            for format in [Format::Json, Format::Xml] {
                let written = outcome.write(format).replace("\\\\", "\\");
                prop_assert!(!written.contains(secret), "{}: {}", body, written);
            }
        }

        #[test]
        fn any_body_makes_a_valid_outcome(body in proptest::collection::vec(any::<u8>(), 0..300), status in 0_u16..1000) {
            let outcome = outcome(ErrorAnswer { status, resource_type: None }, &body);
            let value: Value = serde_json::from_str(&outcome.write(Format::Json)).unwrap();
            prop_assert_eq!(&value["resourceType"], "OperationOutcome");
            for issue in value["issue"].as_array().unwrap() {
                prop_assert!(issue["diagnostics"].as_str().is_some_and(|text| !text.is_empty()));
            }
        }

        #[test]
        fn any_json_makes_a_valid_outcome(members in proptest::collection::hash_map("error|message|hint|validationErrors|resourceType|issue|[a-z]{1,4}", "[ -~]{0,30}", 0..6), depth in 0_usize..200) {
            let mut value = serde_json::json!(members);
            for _ in 0..depth {
                value = serde_json::json!({ "validationErrors": value, "issue": [value] });
                if value.to_string().len() > 4096 { break; }
            }
            let outcome = outcome(ErrorAnswer { status: 400, resource_type: Some("Patient") }, value.to_string().as_bytes());
            prop_assert!(outcome.issues().count() >= 1);
        }
    }
}
