use super::*;
use crate::fhir::media_type::Format;
use proptest::prelude::*;

fn written(status: u16, resource_type: Option<&'static str>, body: &str) -> Value {
    let outcome = outcome(ErrorAnswer { status, resource_type }, body.as_bytes());
    serde_json::from_str(&outcome.write(Format::Json)).unwrap()
}

#[test]
fn every_way_of_openemrs_is_understood() {
    let denied = r#"{"error":"An error occurred","message":"Organization policy does not have permit access resource","code":0}"#;
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
        (501, "", "not-supported", "OpenEMR does not do this."),
        (503, "<html>", "transient", "OpenEMR is not available at the moment."),
        (504, "<html>", "timeout", "OpenEMR did not finish in time."),
        (599, "", "exception", "OpenEMR failed."),
        (418, "", "processing", "OpenEMR refuses the request."),
    ] {
        let outcome = written(status, Some("Patient"), body);
        assert_eq!(outcome["issue"][0]["code"], code, "{status} {body}");
        assert_eq!(outcome["issue"][0]["diagnostics"], text, "{status} {body}");
        assert_eq!(outcome["issue"][0]["severity"], "error");
    }
    assert_eq!(written(404, None, "[]")["issue"][0]["diagnostics"], "OpenEMR has nothing at this address.");
}

#[test]
fn what_is_wrong_with_fields_names_the_elements() {
    let body = r#"{"validationErrors":{"fname":{"Required::NON_EXISTENT_KEY":"fname must be provided, but does not exist"},"DOB":{"NotEmpty::EMPTY_VALUE":"Date of Birth must not be empty","Datetime::INVALID_VALUE":"DOB must be a valid date"},"patient_data_x":{"Lengths":"patient_data_x is too long"},"email":["not an address"],"sex":7}}"#;
    let outcome = written(400, Some("Patient"), body);
    let issues: Vec<_> = outcome["issue"]
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
    let outcome = written(400, Some("Patient"), body);
    assert_eq!(outcome["issue"][0]["expression"][0], "Patient.id");
    assert_eq!(
        outcome["issue"][0]["diagnostics"],
        "OpenEMR says: The search field argument was invalid, improperly formatted, or could not be parsed. Inner message: UUID columns must be a valid UUID string"
    );
    assert_eq!(outcome["issue"].as_array().unwrap().len(), 1);
}

#[test]
fn an_outcome_of_openemrs_own_is_kept_where_it_is_disclosable() {
    let own = r#"{"id":"f44d4bbb","resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"processing","details":{"text":"'Prefer' header invalid"}},{"severity":"none","code":"what","diagnostics":"Odd"},{"severity":"error","code":"invalid","details":{"text":"in /var/www/x.php"}}]}"#;
    assert_eq!(
        written(400, None, own),
        serde_json::json!({ "resourceType": "OperationOutcome", "issue": [
                { "severity": "warning", "code": "processing", "diagnostics": "'Prefer' header invalid" },
                { "severity": "error", "code": "invalid", "diagnostics": "Odd" },
            ] })
    );
    let unclean = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","details":{"text":"in /var/www/x.php"}}]}"#;
    assert_eq!(written(400, None, unclean)["issue"][0]["diagnostics"], "OpenEMR does not understand the request.");
    assert_eq!(written(500, None, own)["issue"][0]["diagnostics"], "OpenEMR failed.");
}

#[test]
fn a_database_that_is_down_is_a_server_that_is_not_available() {
    let call = r#"{"error":"An error occurred","message":"Call to a member function prepare() on bool","code":0}"#;
    let ping = format!("Check that you can ping the server 127.0.0.1.<p>{call}");
    for (openemrs, body, status) in [
        (500, ping.as_str(), 503),
        (500, call, 503),
        (500, "Warning: mysqli_connect(): (HY000/2002): x<br>SQLSTATE[HY000] [2002] Connection refused", 503),
        (500, "<b>Fatal error</b>: MySQL server has gone away", 503),
        (500, "", 500),
        (500, r#"{"error":"An error occurred","message":"SQLSTATE[42S22]: Unknown column","code":0}"#, 500),
        (502, "<html>", 502),
        (400, ping.as_str(), 400),
    ] {
        assert_eq!(cause(openemrs, body.as_bytes()), status, "{openemrs} {body}");
    }
    assert_eq!(written(503, Some("Patient"), &ping)["issue"][0]["diagnostics"], "OpenEMR is not available at the moment.");
}

#[test]
fn a_refused_credential_is_never_the_callers() {
    assert_eq!([400, 401, 403, 404, 407, 422, 500, 503].map(status), [400, 403, 403, 404, 502, 422, 500, 503]);
}

/// Error bodies in many shapes, with a text that must not be shown.
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
        let text = serde_json::to_string(&format!("{before} {secret} {after}")).unwrap();
        (shape.replace('@', text.trim_matches('"')), secret)
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
