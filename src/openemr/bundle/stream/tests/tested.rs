//! Entries that are tested: what does not meet the criteria is neither sent nor counted, and nor is what belongs to it.

use super::*;
use crate::fhir::criteria::{Criteria, Criterion};

/// An entry of a Bundle: a patient, or the Provenance of the patients of these numbers.
#[derive(Debug, Clone)]
enum Entry {
    Patient { is_female: bool },
    Provenance { of: Vec<usize> },
}

fn tested(terms: SearchTerms) -> SearchTerms {
    let mut criteria = Criteria::default();
    criteria.and(Criterion::read("Patient", "gender", "female").unwrap());
    SearchTerms { criteria, changed: true, ..terms }
}

fn resource(number: usize, entry: &Entry) -> Value {
    match entry {
        Entry::Patient { is_female } => {
            let gender = if *is_female { "female" } else { "male" };
            json!({"id": format!("p{number}"), "resourceType": "Patient", "name": [{"family": "{\"}]"}], "gender": gender})
        }
        Entry::Provenance { of } => {
            let target: Vec<_> = of.iter().map(|number| json!({"reference": format!("{BASE}/Patient/p{number}")})).collect();
            json!({"resourceType": "Provenance", "id": format!("v{number}"), "target": target})
        }
    }
}

fn written(entries: &[Entry]) -> String {
    let entry: Vec<_> = entries.iter().enumerate().map(|(number, entry)| json!({"resource": resource(number, entry)})).collect();
    json!({"resourceType": "Bundle", "type": "collection", "total": entry.len(), "entry": entry}).to_string()
}

/// The ids of what is sent, the number of matches, and the offset of the next page.
fn expected(entries: &[Entry], page: Option<Page>) -> (Vec<String>, u64, Option<u64>) {
    let (mut sent, mut matches) = (Vec::new(), 0);
    for (number, entry) in entries.iter().enumerate() {
        let id = resource(number, entry)["id"].as_str().unwrap().to_owned();
        match entry {
            Entry::Patient { is_female: true } => {
                if page.is_none_or(|page| (page.offset..page.offset + page.count).contains(&matches)) {
                    sent.push(id);
                }
                matches += 1;
            }
            Entry::Provenance { of } if of.iter().any(|of| sent.contains(&format!("p{of}"))) => sent.push(id),
            Entry::Patient { is_female: false } | Entry::Provenance { .. } => {}
        }
    }
    let next = page.map(|page| page.offset + page.count).filter(|end| *end < matches);
    (sent, matches, next)
}

/// The same of what came out.
fn found(output: &str) -> (Vec<String>, Option<u64>, Option<String>) {
    let bundle: Value = serde_json::from_str(output).unwrap();
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let ids = entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap_or_default().to_owned()).collect();
    let next = bundle["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next");
    (ids, bundle["total"].as_u64(), next.map(|link| link["url"].as_str().unwrap().to_owned()))
}

#[test]
fn where_the_search_of_an_entry_stands_changes_nothing() {
    let body = |search: &str, behind: &str| {
        let female = resource(0, &Entry::Patient { is_female: true });
        let male = resource(1, &Entry::Patient { is_female: false });
        let entry = |resource: &Value| format!(r#"{{ {search} "resource" : {resource} {behind} }}"#);
        format!(r#"{{"entry":[{},{}],"resourceType":"Bundle","type":"searchset"}}"#, entry(&female), entry(&male))
    };
    for (search, behind, ids) in [
        ("", "", vec!["p0"]),
        (r#""search":{"mode":"match"},"#, "", vec!["p0"]),
        ("", r#","search":{"mode":"match"}"#, vec!["p0"]),
        ("", r#","search":{"mode":"best"}"#, vec!["p0"]),
        // What is included by itself belongs to a match before it.
        ("", r#","search":{"mode":"include"}"#, vec!["p0", "p1"]),
    ] {
        let body = body(search, behind);
        let output = run(&tested(terms(None)), [body.as_bytes()]);
        assert_eq!(found(&output).0, ids, "{body}");
    }
}

#[test]
fn a_resource_in_the_place_of_its_entry_is_tested() {
    let entry = |is_female| resource(0, &Entry::Patient { is_female }).to_string().replacen("\"id\":\"p0\",", "", 1);
    for (is_female, count) in [(true, 1), (false, 0)] {
        let body = format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{}]}}"#, entry(is_female));
        let bundle: Value = serde_json::from_str(&run(&tested(terms(None)), [body.as_bytes()])).unwrap();
        assert_eq!((&bundle["total"], bundle["entry"].as_array().map_or(0, Vec::len)), (&json!(count), count), "{body}");
    }
}

#[test]
fn what_cannot_be_tested_does_not_go_on() {
    let of = |resource: &str, more: &str| {
        format!(r#"{{"resourceType":"Bundle","type":"collection"{more},"entry":[{{"resource":{resource}}}]}}"#)
    };
    let next = r#","link":[{"relation":"next","url":"https://emr/apis/default/fhir/Patient?_offset=1"}]"#;
    for body in [
        of(r#"{"resourceType":"Patient","id":"1","gender":"male","gender":"female"}"#, ""),
        of(r#"{"resourceType":"Patient","id":"1","gender":fe}"#, ""),
        of(r#"{"resourceType":"Provenance","id":"1","target":{}}"#, ""),
        of(r#"{"resourceType":"Patient","id":"1","gender":"female"}"#, next),
        of(&format!(r#"{{"resourceType":"Patient","id":"1","gender":"female","x":"{}"}}"#, "x".repeat(5 << 20)), ""),
    ] {
        let (out, verdict) = output(stream(&tested(terms(None))), [body.as_bytes()]);
        assert!(matches!(verdict, Verdict::Bad(_)), "{}", &body[..120]);
        assert!(serde_json::from_str::<Value>(&out).is_err());
    }
    // Another type never meets what matches must meet, whatever it says of itself.
    let claims = r#"{"resourceType":"Bundle","type":"searchset","entry":[{"search":{"mode":"match"},"resource":
        {"resourceType":"Provenance","id":"1","target":[]}},{"search":{"mode":"match"}}]}"#;
    assert_eq!(found(&run(&tested(terms(None)), [claims.as_bytes()])).1, Some(0));
}

#[test]
fn a_count_is_that_of_what_meets_the_criteria() {
    let entries = [true, false, true, true].map(|is_female| Entry::Patient { is_female });
    let counting = SearchTerms { entries: false, ..terms(None) };
    let output = run(&tested(counting), [written(&entries).as_bytes()]);
    assert_eq!(found(&output), (vec![], Some(3), None));
}

fn any_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        any::<bool>().prop_map(|is_female| Entry::Patient { is_female }),
        prop::collection::vec(0..12_usize, 0..3).prop_map(|of| Entry::Provenance { of }),
    ]
}

proptest! {
    #[test]
    fn what_is_left_and_counted_is_what_meets_the_criteria(
        entries in prop::collection::vec(any_entry(), 0..12),
        window in prop::option::of((0..4_u64, 1..4_u64)),
        cut in any::<prop::sample::Index>(),
    ) {
        let page = window.and_then(|(offset, count)| page(offset, count));
        let body = written(&entries);
        let (first, second) = body.as_bytes().split_at(cut.index(body.len()));
        let (sent, total, next) = found(&run(&tested(terms(page)), [first, second]));
        let (expected, matches, next_offset) = expected(&entries, page);
        prop_assert_eq!(sent, expected);
        prop_assert_eq!(total, Some(matches));
        prop_assert_eq!(next.is_some(), next_offset.is_some());
        let end = next_offset.map(|offset| format!("_offset={offset}"));
        prop_assert!(end.is_none_or(|end| next.unwrap().ends_with(&end)));
    }
}
