#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

fn rule(scope: &str) -> Result<Rule, BadScope> {
    Rule::parse(scope, Line::default())
}

#[test]
fn scopes_of_both_syntaxes_are_read() {
    for (scope, resource_type, letters) in [
        ("system/Patient.rs", Some("Patient"), "rs"),
        ("system/Patient.cruds", Some("Patient"), "cruds"),
        ("system/Patient.c", Some("Patient"), "c"),
        ("system/Patient.ud", Some("Patient"), "ud"),
        ("system/*.rs", None, "rs"),
        ("system/Observation.read", Some("Observation"), "rs"),
        ("system/Observation.write", Some("Observation"), "cud"),
        ("system/Observation.*", Some("Observation"), "cruds"),
        ("system/*.*", None, "cruds"),
    ] {
        let rule = rule(scope).unwrap();
        assert_eq!((rule.resource_type, rule.letters.to_string().as_str()), (resource_type, letters), "{scope}");
        assert!(rule.constraints.is_empty());
    }
}

#[test]
fn constraints_are_decoded() {
    let of = |scope: &str| -> Vec<(String, String)> {
        rule(scope).unwrap().constraints.into_iter().map(|one| (one.name, one.value)).collect()
    };
    let category = ("category".to_owned(), format!("{CATEGORY}|laboratory"));
    for scope in [
        format!("system/Observation.rs?category={CATEGORY}|laboratory"),
        "system/Observation.rs?category=http%3A%2F%2Fterminology.hl7.org%2FCodeSystem%2Fobservation-category%7Claboratory"
            .to_owned(),
        format!("system/Observation.rs?%63ategory={CATEGORY}%7clabor%61tory"),
    ] {
        assert_eq!(of(&scope), std::slice::from_ref(&category), "{scope}");
    }
    let both = of(&format!("system/Observation.rs?category={CATEGORY}|laboratory&date=ge2024-01-01T00:00:00+01:00"));
    assert_eq!(both, [category, ("date".to_owned(), "ge2024-01-01T00:00:00+01:00".to_owned())]);
    assert_eq!(of("system/*.rs?_security=http://x|R&_tag=a,b").len(), 2);
    assert_eq!(of("system/Encounter.rs?patient=Patient/1").len(), 1);
    // A type of which no parameters are known has those of any type.
    assert_eq!(of("system/Basic.r?_tag=a").len(), 1);
}

#[test]
fn what_cannot_be_enforced_is_an_error_that_says_what_to_write() {
    for (scope, message, remedy) in [
        ("patient/Patient.rs", "a system client has none", "system/Patient.rs"),
        ("user/Observation.read", "a system client has none", "write  system/Observation.read"),
        ("Patient.rs", "no scope of a system client", "system/Patient.rs"),
        ("openid", "no scope of a system client", "system/Patient.rs"),
        ("system/Patient", "says not what may be done", "system/Patient.rs"),
        ("system/Patient.sr", "out of order", "write  system/Patient.rs"),
        ("system/Patient.rr", "one twice", "write  system/Patient.r"),
        ("system/Patient.", "no letters", "cruds"),
        ("system/Patient.rx", "other letters", "cruds"),
        ("system/Patient.READ", "other letters", "cruds"),
        ("system/patient.rs", "no resource type", "did you mean `Patient`?"),
        ("system/.rs", "no resource type", "system/Patient.rs"),
        ("system/Patient.$export", "an operation", "export: [patient]"),
        ("system/DocumentReference.$docref", "an operation", "DocumentReference/$docref"),
        ("system/Observation.rs?code:in=http://x/vs", "`:in`, which is experimental, not supported here", "code=one,two"),
        ("system/Observation.rs?code:not=a", "experimental, not supported here", "code=one,two"),
        ("system/Observation.rs?patient.name=a", "experimental, not supported here", "category"),
        ("system/Patient.rs?_has:Observation:patient:code=1", "experimental, not supported here", "_has=one,two"),
        ("system/Patient.rs?name=a", "none of the kinds token, reference and date", "gender"),
        ("system/Patient.rs?shoe-size=44", "cannot test", "gender"),
        ("system/*.rs?category=a", "not every type has", "_tag"),
        ("system/Observation.rs?category", "without `=`", "category="),
        ("system/Observation.rs?", "without `=`", "category="),
        ("system/Observation.rs?category=a&", "without `=`", "category="),
        ("system/Observation.rs?category=", "value cannot be tested", "category="),
        ("system/Observation.rs?date=yesterday", "value cannot be tested", "category="),
        ("system/Observation.rs?category=%zz", "percent-encoding", "category="),
        ("system/Observation.rs?category=%ff", "percent-encoding", "category="),
        ("system/Observation.rs?category=a%00", "percent-encoding", "category="),
        ("system/Observation.read?category=a", "`.read` cannot have", "system/Observation.rs?"),
    ] {
        let error = rule(scope).unwrap_err();
        assert!(error.message.contains(message), "{scope}: {}", error.message);
        assert!(error.remedy.contains(remedy), "{scope}: {}", error.remedy);
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_read_can_be_tested(text in "(system/)?(Observation|\\*|Patient)?\\.?[cruds]{0,5}\\??(category|_tag|date|code)?[=&%:|a-f0-9é]{0,12}") {
        if let Ok(rule) = rule(&text) {
            prop_assert!(!rule.letters.is_empty());
            prop_assert!(rule.criteria().is_some());
        }
    }
}
