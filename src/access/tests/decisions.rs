//! Decisions by tables.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::{LABORATORY, VITAL, bases, caller, client, decided, listed, policy, short};
use crate::access::caller::Caller;
use crate::access::decision::Verdict;
use crate::access::patients::PatientList;
use crate::access::policy::Policy;
use crate::access::question::{Asked, Question, Unreadable};
use crate::access::refusal::Refusal;

/// Decides on each request; what is expected is how the short form of the verdict begins.
pub(super) fn check(rows: &[(&str, &str, &str)]) {
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|(name, request, expected)| {
            let verdict = short(&decided(&client(name), request, "", None).verdict);
            let expected = expected.replace("VS", VITAL).replace("LAB", LABORATORY);
            (!verdict.starts_with(&expected)).then(|| format!("{name} {request}: {verdict}, not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(super) const UNTESTABLE: &str = "This client may see a part";

#[test]
fn each_interaction_needs_its_letters() {
    check(&[
        ("all", "GET /Patient/P1", "allow"),
        ("pat", "GET /Patient/P1", "allow"),
        ("pat", "HEAD /Patient/P1", "allow"),
        ("pat", "GET /Observation/O1", "The scope system/Observation.r is missing."),
        ("split", "GET /Observation/O1", "The scope system/Observation.r is"),
        ("split", "GET /Observation", "allow"),
        ("split", "POST /Observation/_search", "allow"),
        ("split", "GET /Patient", "The scope system/Patient.s is"),
        ("split", "GET /Patient/P1/_history/1", "allow"),
        ("split", "GET /Patient/P1/_history", "allow"),
        ("split", "GET /Patient/_history", "The scope system/Patient.s is"),
        ("split", "GET /Observation/_history", "allow"),
        ("split", "GET /_history", "The scope system/*.s is"),
        ("all", "GET /_history", "allow"),
        ("v1", "POST /Observation", "allow"),
        ("v1", "POST /Patient", "The scope system/Patient.c is"),
        ("v1", "DELETE /Observation/O1", "allow"),
        ("v1", "GET /Observation/O1", "The scope system/Observation.r is"),
        ("wri", "PUT /Patient/P1", "allow"),
        ("wri", "PATCH /Patient/P1", "allow"),
        ("wri", "DELETE /Patient/P1", "The scope system/Patient.d is"),
        ("wri", "PUT /Patient?identifier=1", "The scope system/Patient.s is"),
        ("wri", "PATCH /Patient?identifier=1", "The scope system/Patient.s is"),
        ("wri", "DELETE /Patient?identifier=1", "The scope system/Patient.d is"),
        ("all", "PUT /Patient?identifier=1", "allow"),
        ("all", "DELETE /Patient?identifier=1", "allow"),
        ("all", "GET /Binary/b", "allow"),
        ("pat", "GET /Binary/b", "The scope system/*.r is"),
        ("none", "GET /Patient/P1", "The scope system/Patient.r is"),
        ("none", "GET /metadata", "allow"),
        ("far", "GET /.well-known/smart-configuration", "allow"),
        ("claim", "GET /metadata", "allow"),
        ("far", "GET /Patient/P1", "The policy of this client does not permit this site."),
        ("all", "POST /", "The policy of this client does not permit batches"),
        ("all", "POST /Patient/P1", "This is none of FHIR's interactions"),
        ("all", "DELETE /", "This is none of FHIR's interactions"),
    ]);
}

#[test]
fn what_is_no_type_is_not_there_for_anybody() {
    for name in ["all", "pat", "panel", "none", "vit"] {
        for request in [
            "GET /patient/P1",
            "GET /PATIENT",
            "GET /Observatoin/O1",
            "GET /%50atient/P1",
            "POST /patient",
            "PUT /patient/P1",
            "DELETE /patient?x=1",
            "GET /patient/_history",
            "GET /patient/P1/Observation",
            "GET /Patient/P1/observation",
            "POST /patient/$docref",
        ] {
            let verdict = decided(&client(name), request, "", None).verdict;
            assert!(matches!(verdict, Verdict::Refuse(Refusal::NotFound)), "{name} {request}: {verdict:?}");
        }
    }
}

#[test]
fn searches_over_all_types_need_a_wildcard_without_constraints() {
    check(&[
        ("all", "GET /?_type=Patient,Observation", "allow"),
        ("all", "POST /_search", "allow"),
        ("pat", "GET /?_type=Patient", "The scope system/*.s is"),
        ("tag", "GET /?_type=Patient", "The scope system/*.s is"),
        ("panel", "GET /?_type=Patient", UNTESTABLE),
        ("panel", "GET /?_type=Organization", UNTESTABLE),
        ("all", "GET /?_filter=a", "_filter, _query, _list"),
    ]);
}

#[test]
fn searches_are_narrowed_by_constraints() {
    check(&[
        ("vit", "GET /Observation", "narrow category=VS"),
        ("vit", "GET /Observation?patient=P1", "narrow category=VS"),
        ("vit", "GET /Observation?category=vital-signs", "narrow category=VS"),
        ("vit", "GET /Observation?category=VS,LAB", "narrow category=VS"),
        ("vit", "GET /Observation?category:not=VS", "narrow category=VS"),
        ("vit", "GET /Observation?category:missing=true", "narrow category=VS"),
        ("vit", "GET /Observation?category=http://terminology.hl7.org/CodeSystem/observation-category%7Cvital-signs", "check"),
        ("two", "GET /Observation?patient=P1", "narrow category=VS,LAB"),
        ("pair", "GET /Observation", "narrow category=VS&status=final"),
        ("wide", "GET /Observation", "allow"),
        ("tag", "GET /Observation", "narrow _tag=a"),
        // Parameters of which the gateway knows nothing cannot be added: the answer is tested alone.
        ("tag", "GET /Basic", "check"),
        ("vit", "GET /Observation/O1", "check"),
        ("vit", "GET /Observation/O1/_history", UNTESTABLE),
        ("vit", "GET /Observation/O1/_history/1", UNTESTABLE),
        ("tag", "GET /Observation/_history", UNTESTABLE),
        ("tag", "GET /Binary/b", "The scope system/*.r is"),
        ("tag", "GET /Bundle?x=1", UNTESTABLE),
        ("vit", "GET /Patient/P1", "The scope system/Patient.r is"),
        ("vit", "GET /Patient/P1/Observation", UNTESTABLE),
        ("inc", "GET /Patient/P1", "allow"),
    ]);
}

#[test]
fn several_constraints_of_different_names_are_tested_alone() {
    let caller = caller(policy("system/Observation.rs?category=a system/Observation.rs?code=b"));
    assert_eq!(short(&decided(&caller, "GET /Observation", "", None).verdict), "check");
    let caller = self::caller(policy("system/Observation.rs?category=a system/Observation.rs?category=b&status=final"));
    assert_eq!(short(&decided(&caller, "GET /Observation", "", None).verdict), "check");
    // A rule without the letter plays no part.
    let caller = self::caller(policy("system/Observation.s?category=a system/Observation.r"));
    assert_eq!(short(&decided(&caller, "GET /Observation", "", None).verdict), "narrow category=a");
    assert_eq!(short(&decided(&caller, "GET /Observation/1", "", None).verdict), "allow");
}

#[test]
fn searches_are_narrowed_to_patients() {
    const FOREIGN: &str = "The search names a patient that is not";
    check(&[
        ("panel", "GET /Patient", "narrow _id=P1,P2"),
        ("panel", "GET /Patient?name=a", "narrow _id=P1,P2"),
        ("panel", "GET /Patient?_id=P1", "check"),
        ("panel", "GET /Patient?_id=P2,P1", "check"),
        ("panel", "GET /Patient?_id=P1,P9", FOREIGN),
        ("panel", "GET /Patient?_id=P1&_id=P9", FOREIGN),
        ("panel", "GET /Patient?_id=", "narrow _id=P1,P2"),
        ("panel", "GET /Patient?_id=p1", FOREIGN),
        ("panel", "GET /Patient?_id:missing=false", "narrow _id=P1,P2"),
        ("panel", "GET /Observation", "narrow patient=P1,P2"),
        ("panel", "GET /Observation?patient=P1", "check"),
        ("panel", "GET /Observation?subject=Patient/P1", "check"),
        ("panel", "GET /Observation?subject:Patient=P1", "check"),
        ("panel", "GET /Observation?subject:Patient=P9", FOREIGN),
        ("panel", "GET /Observation?patient=P9", FOREIGN),
        ("panel", "GET /Observation?pa%74ient=P9", FOREIGN),
        ("panel", "GET /Observation?patient=P1%2CP9", FOREIGN),
        ("panel", "GET /Observation?patient=P1\\,P9", FOREIGN),
        ("panel", "GET /Observation?patient=P1;patient=P9", FOREIGN),
        ("panel", "GET /Observation?patient=P1&subject=P9", FOREIGN),
        ("panel", "GET /Observation?patient=https://gw/fhir/Patient/P1", "check"),
        ("panel", "GET /Observation?patient=https://emr/apis/default/fhir/Patient/P2", "check"),
        ("panel", "GET /Observation?patient=Patient/P1,https://gw/fhir/Patient/P9", FOREIGN),
        ("panel", "GET /Observation?patient=https://evil/fhir/Patient/P1", FOREIGN),
        ("panel", "GET /Observation?patient=Group/P1", FOREIGN),
        ("panel", "GET /Observation?subject=Device/P1", FOREIGN),
        // These name nobody.
        ("panel", "GET /Observation?patient:not=P9", "narrow patient=P1,P2"),
        ("panel", "GET /Observation?patient:missing=true", "narrow patient=P1,P2"),
        ("panel", "GET /Observation?subject:identifier=x", "narrow patient=P1,P2"),
        ("panel", "GET /Observation?subject:Group=P9", "narrow patient=P1,P2"),
        ("panel", "GET /Observation?code=1", "narrow patient=P1,P2"),
        ("pvit", "GET /Observation", "narrow category=VS&patient=P1,P2"),
        ("pvit", "GET /Observation?patient=P1", "narrow category=VS"),
        // No parameter can say it.
        ("panel", "GET /Account", "check"),
        ("panel", "GET /Group", "check"),
        // Outside of the compartment.
        ("panel", "GET /Organization?name=a", "check"),
        ("panel", "GET /Organization/1", "check"),
        ("panel", "GET /Patient/P1", "check"),
        ("panel", "GET /Patient/P9", "This patient is not among"),
        ("panel", "GET /Patient/p1", "This patient is not among"),
        ("panel", "GET /Observation/O9", "check"),
        ("panel", "GET /Binary/b", UNTESTABLE),
        ("panel", "GET /Observation/_history", UNTESTABLE),
        ("panel", "GET /Organization/_history", UNTESTABLE),
        ("panel", "GET /Patient/P1/Observation", UNTESTABLE),
        ("panel", "GET /Patient/P9/Observation", "This patient is not among"),
        ("panel", "GET /Patient/P1/$everything", UNTESTABLE),
        ("panel", "GET /Observation?patient.name=a", "Chained parameters and _has cannot"),
        ("panel", "GET /Patient?_has:Observation:patient:code=1", "Chained parameters and _has cannot"),
        ("panel", "GET /Encounter?location.name=a", "Chained parameters and _has cannot"),
        ("nobody", "GET /Patient", "No patient is on the list"),
        ("nobody", "GET /Organization", "check"),
        ("claim", "GET /Patient/P1", "The patients of this client are not known"),
        ("claim", "GET /Organization/1", "The patients of this client are not known"),
    ]);
}

#[test]
fn a_long_list_is_tested_alone() {
    for (count, expected) in [(1_u8, "narrow patient=100"), (20, "narrow patient=100,101,"), (21, "check")] {
        let ids: Vec<String> = (100..100 + count).map(|id| id.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let caller = caller(Policy { patients: listed(&ids), ..policy("system/*.rs") });
        let verdict = short(&decided(&caller, "GET /Observation", "", None).verdict);
        assert!(verdict.starts_with(expected), "{count}: {verdict}");
    }
}

#[test]
fn a_list_that_was_found_counts_as_one_that_is_written() {
    let unknown = client("claim");
    let found: PatientList = ["P1"].into_iter().collect();
    let caller = Caller { found: Some(Arc::new(found)), ..unknown };
    assert_eq!(short(&decided(&caller, "GET /Observation", "", None).verdict), "narrow patient=P1");
    // What a token says does not count where the policy lists patients itself.
    let found: PatientList = ["P9"].into_iter().collect();
    let caller = Caller { found: Some(Arc::new(found)), ..client("panel") };
    assert_eq!(short(&decided(&caller, "GET /Observation", "", None).verdict), "narrow patient=P1,P2");
}

#[test]
fn what_a_search_reaches_needs_scopes_too() {
    const CHAINED: &str = "Chained parameters and _has cannot";
    check(&[
        ("vit", "GET /Observation?_include=Observation:patient", "The scope system/Patient.r is"),
        ("vit", "GET /Observation?_include:iterate=Observation:patient", "The scope system/Patient.r is"),
        ("vit", "GET /Observation?_include:recurse=Observation:patient", "The scope system/Patient.r is"),
        ("vit", "GET /Observation?%5Finclude=Observation:patient", "The scope system/Patient.r is"),
        ("vit", "GET /Observation?_include%3Aiterate=Observation:patient", "The scope system/Patient.r is"),
        ("vit", "GET /Observation?_include=*", "The scope system/*.r is"),
        ("vit", "GET /Observation?_include=Observation:*", "The scope system/*.r is"),
        ("vit", "GET /Observation?_include=Observation:shoe", "The scope system/*.r is"),
        ("vit", "GET /Observation?_include=Shoe:patient", "The scope system/*.r is"),
        ("vit", "GET /Observation?_include=", "The scope system/*.r is"),
        ("vit", "GET /Observation?_include=Observation:subject:Shoe", "The scope system/*.r is"),
        ("vit", "GET /Observation?_include=Observation:has-member", "The scope system/MolecularSequence.r is"),
        ("inc", "GET /Observation?_include=Observation:subject", "narrow category=VS"),
        ("inc", "GET /Observation?_include=Observation:subject:Patient", "narrow category=VS"),
        ("inc", "GET /Observation?_include=Observation:patient,Observation:encounter", "The scope system/Encounter.r is"),
        (
            "inc",
            "GET /Observation?_include=Observation:patient&_include=Patient:organization",
            "The scope system/Organization.r is",
        ),
        ("all", "GET /Observation?_include=*", "allow"),
        ("panel", "GET /Organization?_include=*", "check"),
        ("pat", "GET /Patient?_revinclude=Observation:subject", "The scope system/Observation.r is"),
        ("split", "GET /Observation?_revinclude=Patient:link", "The scope system/Patient.s is"),
        ("pat", "GET /Patient?_revinclude:iterate=Provenance:target", "The scope system/Provenance.r is"),
        ("pat", "GET /Patient?_revinclude=*", "The scope system/*.r is"),
        ("all", "GET /Patient?_revinclude=Provenance:target", "allow"),
        ("vit", "GET /Observation?patient.name=a", "The scope system/Patient.s is"),
        ("vit", "GET /Observation?subject:Patient.name=a", "The scope system/Patient.s is"),
        ("vit", "GET /Observation?subject:Shoe.name=a", "The scope system/*.s is"),
        ("pat", "GET /Patient?organization.name=a", "The scope system/Organization.s is"),
        ("split", "GET /Observation?subject.name=a", "The scope system/Device.s is"),
        ("pat", "GET /Patient?general-practitioner:Practitioner.name=a", "The scope system/Practitioner.s is"),
        ("pat", "GET /Patient?shoe.name=a", "The scope system/*.s is"),
        ("pat", "GET /Patient?_has:Observation:patient:code=1", "The scope system/Observation.s is"),
        ("pat", "GET /Patient?_has:Shoe:patient:code=1", "The scope system/*.s is"),
        ("pat", "GET /Patient?_has:Patient:link:name=a", "allow"),
        ("pat", "GET /Patient?_has:Patient:link:_has:Observation:patient:code=1", "The scope system/Observation.s is"),
        ("pat", "GET /Patient?_has:Patient:link:organization.name=1", "The scope system/Organization.s is"),
        ("pat", "GET /Patient?_has:Patient=1", "A parameter with _has is not of the form"),
        ("pat", "GET /Patient?_has=1", "A parameter with _has is not of the form"),
        ("vit", "GET /Observation?has-member:Observation.code=1", CHAINED),
        ("vit", "GET /Observation?_has:Observation:has-member:code=1", CHAINED),
        ("all", "GET /Observation?patient.organization.name=a", "allow"),
        ("pat", "GET /Patient?_filter=a", "_filter, _query, _list"),
        ("pat", "GET /Patient?_FILTER=a", "_filter, _query, _list"),
        ("vit", "GET /Observation?_INCLUDE=Observation:patient", "The scope system/Patient.r is"),
        ("pat", "GET /Patient?_Has:Observation:patient:code=1", "The scope system/Observation.s is"),
        ("pat", "GET /Patient?_query=a", "_filter, _query, _list"),
        ("all", "GET /Patient?_list=a", "_filter, _query, _list"),
        ("panel", "GET /Patient?_text=a", "_filter, _query, _list"),
        ("panel", "GET /Patient?_content:x=a", "_filter, _query, _list"),
    ]);
    let verdict = decided(&client("vit"), "POST /Observation/_search", "patient=P1&_include=Observation:patient", None).verdict;
    assert_eq!(short(&verdict), "The scope system/Patient.r is missing.");
}

#[test]
fn refusals_repeat_nothing_of_the_request() {
    for name in ["pat", "vit", "panel", "none", "exp", "doc"] {
        for request in [
            "GET /secret/P1",
            "GET /Observation/secret",
            "GET /Patient?_id=secret",
            "GET /Observation?patient=secret",
            "GET /Observation?_include=secret:secret",
            "GET /Observation?secret.name=secret",
            "GET /Patient?_has:secret:secret:secret=secret",
            "GET /Patient?_has:secret=secret",
            "POST /Patient/$secret",
            "GET /Patient/secret/$everything",
            "GET /Patient/$export?_type=secret&patient=secret",
            "GET /Patient/secret/secret",
        ] {
            if let Verdict::Refuse(refusal) = decided(&client(name), request, "", None).verdict {
                assert!(!refusal.to_string().contains("secret"), "{name} {request}: {refusal}");
            }
        }
    }
}

#[test]
fn where_php_would_read_something_else_nothing_is_decided() {
    let (method, fields, bases) = (Method::GET, HeaderMap::new(), bases());
    let read = |query: &'static str, form: &'static str, fields: &HeaderMap| {
        let asked = Asked {
            site: "default",
            method: &method,
            path: b"/Observation",
            query: query.as_bytes(),
            form: form.as_bytes(),
            fields,
            bases: &bases,
            plans_searches: true,
        };
        Question::read(&asked).map(|question| question.parameters)
    };
    for query in ["patient[]=P9", "patient[0]=P9", "patient%5B%5D=P9", ".id=P9", "_REWRITE_COMMAND=x", "_count=1&_count=2"] {
        assert!(matches!(read(query, "", &fields), Err(Unreadable::Parameters(_))), "{query}");
        assert!(matches!(read("", query, &fields), Err(Unreadable::Parameters(_))), "{query}");
    }
    let both = read("?patient=P1;patient=P9", "a=%62", &fields).unwrap();
    assert_eq!(both, [("patient".to_owned(), "P1;patient=P9".to_owned()), ("a".to_owned(), "b".to_owned())]);
    let mut twice = HeaderMap::new();
    for condition in ["a=1", "b=1"] {
        twice.append("if-none-exist", condition.parse().unwrap());
    }
    assert_eq!(read("", "", &twice), Err(Unreadable::Condition));
}

#[test]
fn a_decision_names_the_lines_that_it_rests_on() {
    let lines = |name: &str, request: &str| -> Vec<String> {
        decided(&client(name), request, "", None).by.iter().map(ToString::to_string).collect()
    };
    assert_eq!(lines("two", "GET /Observation").len(), 2);
    assert_eq!(lines("split", "GET /Observation"), ["access.policies.test.scopes[1] (line 1)"]);
    assert_eq!(lines("split", "GET /Goal"), ["access.policies.test (line 1)"]);
}
