//! Decisions by tables: writes, operations, exports and tokens.

use super::decisions::{UNTESTABLE, check};
use super::{caller, client, decided, listed, policy, rules, short};
use crate::access::grants::{ExportGrant, LocalGrants, OperationGrant};
use crate::access::policy::Policy;
use crate::access::rule::{Letter, Rule};

#[test]
fn writes_of_limited_clients_are_tested_before_and_behind() {
    for (name, request, expected, tests_existing) in [
        ("vwri", "POST /Observation", "check", false),
        ("vwri", "PUT /Observation/O1", "check", true),
        ("vwri", "DELETE /Observation/O1", "check", true),
        ("vwri", "PATCH /Observation/O1", UNTESTABLE, false),
        ("vwri", "PUT /Observation?status=final", "The scope system/Observation.s is", false),
        ("tag", "PUT /Observation?status=final", UNTESTABLE, false),
        ("tag", "DELETE /Observation?status=final", UNTESTABLE, false),
        ("tag", "POST /Bundle", UNTESTABLE, false),
        ("pwri", "PUT /Patient/P1", "check", true),
        ("pwri", "PUT /Patient/P9", "This patient is not among", false),
        ("pwri", "DELETE /Patient/P9", "This patient is not among", false),
        ("pwri", "PATCH /Patient/P9", "This patient is not among", false),
        ("pwri", "POST /Patient", "A new patient is not among", false),
        ("pwri", "POST /Observation", "check", false),
        ("pwri", "DELETE /Observation?patient=P1", UNTESTABLE, false),
        ("pwri", "POST /", "The policy of this client does not permit batches", false),
        ("wri", "PUT /Patient/P1", "allow", false),
    ] {
        let decision = decided(&client(name), request, "", None);
        let verdict = short(&decision.verdict);
        assert!(verdict.starts_with(expected), "{name} {request}: {verdict}");
        assert_eq!(decision.tests_existing, tests_existing, "{name} {request}");
    }
}

#[test]
fn a_conditional_create_is_a_search_too() {
    for (name, request, condition, expected) in [
        ("wri", "POST /Patient", "identifier=1", "The scope system/Patient.s is"),
        ("all", "POST /Patient", "identifier=1", "allow"),
        ("all", "POST /Patient", "_filter=1", "_filter, _query, _list"),
        ("tag", "POST /Patient", "identifier=1", "If-None-Exist looks among all"),
        ("pwri", "POST /Observation", "code=1", "If-None-Exist looks among all"),
        ("vwri", "POST /Observation", "code=1", "The scope system/Observation.s is"),
    ] {
        let verdict = short(&decided(&client(name), request, "", Some(("if-none-exist", condition))).verdict);
        assert!(verdict.starts_with(expected), "{name} {condition}: {verdict}");
    }
    let chain = caller(policy("system/Patient.cs"));
    let verdict = decided(&chain, "POST /Patient", "", Some(("if-none-exist", "organization.name=a"))).verdict;
    assert_eq!(short(&verdict), "The scope system/Organization.s is missing.");
}

#[test]
fn operations_are_permitted_by_name() {
    const NOT_PERMITTED: &str = "The policy of this client does not permit this operation";
    check(&[
        ("all", "POST /DocumentReference/$docref?patient=P1", NOT_PERMITTED),
        ("all", "GET /Patient/$unknown", NOT_PERMITTED),
        ("all", "POST /$closure", NOT_PERMITTED),
        ("doc", "POST /DocumentReference/$docref?patient=P1", "allow"),
        ("doc", "POST /DocumentReference/%24docref?patient=P1", "allow"),
        ("doc", "POST /Patient/$docref", NOT_PERMITTED),
        ("doc", "POST /$docref", NOT_PERMITTED),
        ("doc", "POST /$closure", "allow"),
        ("doc", "POST /Patient/$closure", NOT_PERMITTED),
        ("pwri", "POST /DocumentReference/$docref?patient=P1", "check"),
        ("pwri", "POST /DocumentReference/$docref?patient=P9", "The operation is not about a patient"),
        ("pwri", "POST /DocumentReference/$docref", "The operation is not about a patient"),
        ("pwri", "POST /DocumentReference/$lastn?patient=P1", UNTESTABLE),
        ("all", "GET /Patient/P1/$everything", "allow"),
        ("all", "GET /Patient/$everything", "allow"),
        ("pat", "GET /Patient/P1/$everything", "The scope system/*."),
        ("tag", "GET /Patient/P1/$everything", UNTESTABLE),
    ]);
}

#[test]
fn exports_are_permitted_by_level_and_hold_the_types_of_the_scopes() {
    const NO_LEVEL: &str = "The policy of this client does not permit";
    check(&[
        ("exp", "GET /Patient/$export", "allow"),
        ("exp", "GET /Patient/$export?_type=Patient,Observation", "allow"),
        ("exp", "GET /Patient/$export?_type=Patient,Condition", "The scope system/Condition.r is missing."),
        ("exp", "GET /Patient/$export?_type=Patient&_type=Condition", "The scope system/Condition.r is missing."),
        ("exp", "GET /Patient/$export?type=Condition", "The scope system/Condition.r is missing."),
        ("exp", "GET /Patient/$export?_type=Goal", "The scope system/Goal.s is missing."),
        ("exp", "GET /$export", NO_LEVEL),
        ("exp", "GET /Group/G1/$export", NO_LEVEL),
        ("exp", "GET /Observation/$export", "FHIR R4 has no resource type"),
        ("grp", "GET /Group/G1/$export?_type=Patient", "allow"),
        ("grp", "GET /Group/G9/$export?_type=Patient", NO_LEVEL),
        ("grp", "GET /Patient/$export", NO_LEVEL),
        ("vexp", "GET /Patient/$export", "allow"),
        ("pwri", "GET /Patient/$export", "allow"),
        ("pwri", "GET /Patient/$export?patient=Patient/P1", "allow"),
        ("pwri", "GET /Patient/$export?patient=Patient/P1,Patient/P9", "The export names a patient"),
        ("all", "GET /Patient/$export", NO_LEVEL),
        ("exp", "GET /$bulkdata-status?job=1", "allow"),
    ]);
    // A lenient export leaves out what it may not have.
    let lenient = Some(("prefer", "handling=lenient"));
    let verdict = decided(&client("exp"), "GET /Patient/$export?_type=Patient,Condition", "", lenient).verdict;
    assert_eq!(short(&verdict), "allow");
}

#[test]
fn a_token_narrows_and_never_widens() {
    let texts = |policy: &Policy| -> Vec<String> {
        let text = |rule: &Rule| {
            let pairs: Vec<_> = rule.constraints.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
            format!("{}.{}?{}", rule.resource_type.unwrap_or("*"), rule.letters, pairs.join("&"))
        };
        policy.rules.iter().map(text).collect()
    };
    for (own, token, expected) in [
        ("system/*.rs", "system/Patient.r", &["Patient.r?"][..]),
        ("system/Patient.r", "system/*.cruds", &["Patient.r?"]),
        ("system/Patient.rs", "system/Observation.rs", &[]),
        ("system/Patient.c", "system/Patient.rs", &[]),
        ("system/Patient.rs", "", &[]),
        ("system/Observation.rs?status=final", "system/Observation.r?category=a", &["Observation.r?status=final&category=a"]),
        ("system/Observation.rs?status=final", "system/Observation.rs?status=final", &["Observation.rs?status=final"]),
        ("system/*.rs?_tag=a", "system/Patient.rs?gender=male", &["Patient.rs?_tag=a&gender=male"]),
        ("system/*.rs system/Patient.r", "system/Patient.rs", &["Patient.rs?"]),
        ("system/Patient.r system/*.rs", "system/Patient.rs", &["Patient.rs?"]),
        ("system/*.cruds", "system/Patient.read system/Patient.write", &["Patient.rs?", "Patient.cud?"]),
    ] {
        assert_eq!(texts(&policy(own).narrowed_to(&rules(token))), expected, "{own} {token}");
    }
    let everything = Policy::everything().narrowed_to(&rules("system/Patient.r"));
    assert!(!everything.is_everything);
    assert_eq!(texts(&everything), ["Patient.r?"]);
}

#[test]
fn a_token_leaves_the_grants_that_its_scopes_reach() {
    let own = Policy {
        operations: [(Some("DocumentReference"), "docref"), (Some("Patient"), "match"), (None, "closure")]
            .map(|(resource_type, name)| OperationGrant { resource_type, name: name.to_owned() })
            .to_vec(),
        export: vec![ExportGrant::Patient],
        local: LocalGrants { force_refresh: true, token: false },
        patients: listed(&["P1"]),
        ..policy("system/*.rs")
    };
    // The table was asked for before: a copy has its own.
    assert!(own.may_export_type("Observation"));
    let narrowed = own.narrowed_to(&rules("system/Patient.rs"));
    let names: Vec<_> = narrowed.operations.iter().map(|grant| grant.name.as_str()).collect();
    assert_eq!(names, ["match"]);
    assert!(!narrowed.may_export_type("Observation") && narrowed.may_export_type("Patient"));
    assert_eq!((&narrowed.export, &narrowed.patients), (&own.export, &own.patients));
    assert_eq!(narrowed.table().of("Observation").lines(Letter::Read).count(), 0);
    assert!(Policy::everything().narrowed_to(&rules("system/*.cruds")).operations.is_empty());
}
