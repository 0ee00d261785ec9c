use super::*;
use proptest::prelude::*;

/// A part of OpenEMR 8.0's CapabilityStatement, with `more` added.
fn offered(more: &str) -> Capabilities {
    let statement = format!(
        r#"{{"resourceType":"CapabilityStatement","software":{{"name":"OpenEMR"}},"rest":[{{"mode":"server","resource":[
                {{"type":"Patient","interaction":[{{"code":"create"}},{{"code":"update"}},{{"code":"search-type"}},{{"code":"read"}}],"operation":[{{"name":"export"}}]}},
                {{"type":"Observation","interaction":[{{"code":"search-type"}},{{"code":"read"}}]}},
                {{"type":"Questionnaire","interaction":[{{"code":"search-type"}}]}}
            ]}}{more}]}}"#
    );
    Capabilities::parse(statement.as_bytes()).unwrap()
}

fn rejection(method: &Method, path: &str, offered: &Capabilities) -> Option<(u16, String)> {
    let interaction = Interaction::of(method, path.as_bytes());
    let error = check(method, path.as_bytes(), interaction, offered).err()?;
    Some((error.status().as_u16(), error.allowed().map(|allowed| allowed.to_string()).unwrap_or_default()))
}

#[test]
fn what_openemr_does_not_do_is_refused() {
    for (method, path, status, allow) in [
        ("PATCH", "/Patient/1", 405, "GET, HEAD, PUT"),
        ("DELETE", "/Patient/1", 405, "GET, HEAD, PUT"),
        ("POST", "/Patient/1", 405, "GET, HEAD, PUT"),
        ("PUT", "/Observation/1", 405, "GET, HEAD"),
        ("POST", "/Observation", 405, "GET, HEAD"),
        ("PUT", "/Patient", 405, "GET, HEAD, POST"),
        ("DELETE", "/Patient", 405, "GET, HEAD, POST"),
        ("PATCH", "/Patient", 405, "GET, HEAD, POST"),
        ("FROB", "/Patient", 405, "GET, HEAD, POST"),
        ("PUT", "/metadata", 405, "GET, HEAD"),
        ("GET", "/Patient/_search", 405, "GET, HEAD, POST"),
        ("GET", "/Patient/1/_history", 501, ""),
        ("GET", "/Patient/1/_history/1", 501, ""),
        ("GET", "/Patient/_history", 501, ""),
        ("GET", "/Patient/1/Observation", 501, ""),
        ("GET", "/_history", 501, ""),
        ("POST", "", 501, ""),
        ("GET", "", 501, ""),
        ("PUT", "", 501, ""),
        ("GET", "/Patient/1/$everything", 501, ""),
        ("GET", "/Patient/$jane", 501, ""),
        ("GET", "/Nonsense", 404, ""),
        ("GET", "/patient/1", 404, ""),
        ("POST", "/Claim", 404, ""),
    ] {
        let found = rejection(&method.parse().unwrap(), path, &offered(""));
        assert_eq!(found, Some((status, allow.to_owned())), "{method} {path}");
    }
}

#[test]
fn what_works_passes_listed_or_not() {
    for (method, path) in [
        ("GET", "/Patient"),
        ("HEAD", "/Patient/1"),
        ("POST", "/Patient"),
        ("PUT", "/Patient/1"),
        ("POST", "/Observation/_search"),
        ("GET", "/Questionnaire/1"),
        ("GET", "/Claim"),
        ("GET", "/Binary/1"),
        ("GET", "/$export"),
        ("GET", "/Group/1/$export"),
        ("GET", "/Patient/%24export"),
        ("GET", "/$bulkdata-status"),
        ("DELETE", "/$bulkdata-status"),
        ("POST", "/DocumentReference/$docref"),
        ("GET", "/DocumentReference/$docref"),
        ("GET", "/OperationDefinition"),
        ("GET", "/OperationDefinition/$export"),
        ("GET", "/metadata"),
        ("GET", "/.well-known/smart-configuration"),
        ("GET", "/.well-known/other"),
        ("OPTIONS", "/Patient"),
        ("OPTIONS", "/Nonsense"),
    ] {
        assert_eq!(rejection(&method.parse().unwrap(), path, &offered("")), None, "{method} {path}");
    }
}

#[test]
fn an_operation_by_post_alone_is_known_at_its_type() {
    let of = |method: &str, path: &str| Interaction::of(&method.parse().unwrap(), path.as_bytes());
    for (path, is) in [
        ("/DocumentReference/$docref", true),
        ("/DocumentReference/%24docref/", true),
        ("/Patient/1/$docref", false),
        ("/$docref", false),
        ("/DocumentReference/$export", false),
        ("/Patient/1/$everything", false),
        ("/DocumentReference/docref", false),
    ] {
        assert_eq!(is_by_post_alone(of("GET", path)), is, "{path}");
    }
    for (method, allow) in
        [("GET", None), ("HEAD", None), ("POST", None), ("OPTIONS", None), ("PUT", Some(405)), ("DELETE", Some(405))]
    {
        let refused = check_method(&method.parse().unwrap(), of(method, "/DocumentReference/$docref")).err().map(Rejection::from);
        assert_eq!(refused.as_ref().map(|refused| refused.status.as_u16()), allow, "{method}");
        assert_eq!(refused.and_then(|refused| refused.allow).is_some_and(|allow| *allow == "GET, HEAD, POST"), allow.is_some());
        assert!(check_method(&method.parse().unwrap(), of(method, "/Patient/1/$everything")).is_ok());
    }
}

#[test]
fn what_a_newer_openemr_announces_passes() {
    let newer = offered(
        r#",{"interaction":[{"code":"transaction"},{"code":"history-system"},{"code":"search-system"}],"operation":[{"name":"$jane"}],"resource":[
                {"type":"Patient","interaction":[{"code":"patch"},{"code":"delete"},{"code":"vread"},{"code":"history-instance"},{"code":"history-type"}],"conditionalUpdate":true,"conditionalDelete":"single","operation":[{"name":"everything"}]},
                {"type":"Observation","interaction":[{"code":"create"}]},{"type":"NutritionIntake","interaction":[{"code":"read"}]},{"type":"Claim","interaction":[{"code":"create"}]}]}"#,
    );
    for (method, path) in [
        ("PATCH", "/Patient/1"),
        ("DELETE", "/Patient/1"),
        ("GET", "/Patient/1/_history"),
        ("GET", "/Patient/1/_history/1"),
        ("GET", "/Patient/_history"),
        ("GET", "/_history"),
        ("GET", ""),
        ("POST", ""),
        ("PUT", "/Patient"),
        ("DELETE", "/Patient"),
        ("POST", "/Observation"),
        ("POST", "/Claim"),
        ("GET", "/NutritionIntake/1"),
        ("GET", "/Patient/1/$everything"),
        ("POST", "/$jane"),
    ] {
        assert_eq!(rejection(&method.parse().unwrap(), path, &newer), None, "{method} {path}");
    }
    assert_eq!(rejection(&Method::PATCH, "/Observation/1", &newer), Some((405, "GET, HEAD".to_owned())));
}

#[test]
fn a_misspelt_type_is_guessed() {
    let hint = |path: &str| {
        check(&Method::GET, path.as_bytes(), Interaction::of(&Method::GET, path.as_bytes()), &offered(""))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(hint("/patient"), "FHIR R4 has no such resource type. Is Patient meant?");
    assert_eq!(hint("/Patients/1"), "FHIR R4 has no such resource type. Is Patient meant?");
    assert_eq!(hint("/Obsevation"), "FHIR R4 has no such resource type. Is Observation meant?");
    assert_eq!(hint("/jane-doe"), "FHIR R4 has no such resource type.");
}

proptest! {
    #[test]
    fn nothing_of_the_callers_own_words_is_said(word in "[a-z]{12,20}", method in "GET|PUT|POST|DELETE", tail in "(/[a-z]{12,20})?(/[$][a-z]{12,20})?") {
        let path = format!("/{word}{tail}");
        let method: Method = method.parse().unwrap();
        if let Err(rejection) = check(&method, path.as_bytes(), Interaction::of(&method, path.as_bytes()), &offered("")) {
            let text = rejection.to_string();
            prop_assert!(!path.split(['/', '$']).filter(|part| !part.is_empty()).any(|part| text.contains(part)));
            prop_assert!(matches!(rejection.status().as_u16(), 404 | 405 | 501));
        }
    }

    #[test]
    fn no_bytes_panic(path in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = check(&Method::PUT, &path, Interaction::of(&Method::PUT, &path), &offered(""));
    }
}
