//! What a client that may not see everything gets of a Bundle: tested resources, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::fhir::criteria::Illegible;
use crate::fhir::resource_test::{Permitted, ResourceTest};

/// Permits Patients whose gender is female, each Provenance about permitted ones alone, and nothing else.
#[derive(Debug, Default)]
struct Women(AtomicU64);

impl Women {
    fn test(&self, resource_type: &str, resource: &[u8], is_about_permitted: bool) -> Result<bool, Illegible> {
        let resource: Value = serde_json::from_slice(resource).map_err(|_| Illegible)?;
        let is_woman = resource_type == "Patient" && resource["resourceType"] == "Patient" && resource["gender"] == "female";
        let is_permitted = is_woman || (resource_type == "Provenance" && is_about_permitted);
        self.0.fetch_add(u64::from(!is_permitted), Ordering::Relaxed);
        Ok(is_permitted)
    }
}

impl ResourceTest for Women {
    fn permits(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible> {
        self.test(resource_type, resource, false)
    }

    fn permits_about_permitted(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible> {
        self.test(resource_type, resource, true)
    }

    fn permits_type(&self, resource_type: &str) -> bool {
        matches!(resource_type, "Patient" | "Provenance")
    }

    fn is_of_types_alone(&self) -> bool {
        false
    }

    fn refused(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn limited(terms: SearchTerms) -> (SearchTerms, Arc<Women>) {
    let women = Arc::new(Women::default());
    (SearchTerms { permitted: Some(Permitted(Arc::clone(&women) as Arc<dyn ResourceTest>)), changed: true, ..terms }, women)
}

fn ids(output: &str) -> Vec<String> {
    let bundle: Value = serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"));
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|entry| entry["resource"]["id"].as_str().unwrap_or_default().to_owned()).collect()
}

fn patient(id: &str, gender: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","gender":"{gender}","text":"of-{id}"}}"#)
}

fn about(id: &str, targets: &[&str]) -> String {
    let targets: Vec<_> = targets.iter().map(|target| json!({"reference": format!("Patient/{target}")})).collect();
    json!({"resourceType": "Provenance", "id": id, "target": targets}).to_string()
}

#[test]
fn wherever_a_resource_stands_it_is_tested() {
    let (hers, his) = (patient("hers", "female"), patient("his", "male"));
    let all = |entry: String, more: &str| {
        format!(r#"{{"resourceType":"Bundle","type":"collection"{more},"entry":[{{"resource":{hers}}},{entry}]}}"#)
    };
    let entry = |members: String| all(format!("{{{members}}}"), "");
    for (body, refused) in [
        (entry(format!(r#""resource":{his}"#)), 1),
        (entry(format!(r#""search":{{"mode":"match"}},"resource":{his}"#)), 1),
        (entry(format!(r#""resource":{his},"search":{{"mode":"include"}}"#)), 1),
        (entry(format!(r#""resource":{his},"search":{{"mode":"outcome"}}"#)), 1),
        (entry(format!(r#""search":{{"mode":"outcome"}},"resource":{his}"#)), 1),
        (entry(format!(r#""r\u0065source":{his}"#)), 1),
        // In the place of the entry.
        (all(his.clone(), ""), 0),
        // In the place of an OperationOutcome, and one.
        (entry(r#""resource":{"resourceType":"OperationOutcome","id":"his","issue":[]}"#.to_owned()), 1),
        (entry(r#""resource":{"id":"his"}"#.to_owned()), 1),
        // Not in its place: nobody tests what stands there.
        (entry(format!(r#""response":{{"outcome":{his}}}"#)), 0),
        (entry(format!(r#""response":{{"outcome":{his}}},"resource":{}"#, patient("hers", "female"))), 0),
        (entry(format!(r#""resource":{},"response":{{"outcome":{his}}}"#, patient("hers", "female"))), 0),
        (entry(format!(r#""resource":{},"x":"of-his""#, patient("hers", "female"))), 0),
        (entry(format!(r#""resource":{},"search":{{"mode":"match","extension":[{his}]}}"#, patient("too", "female"))), 0),
        (entry(format!(r#""resource":[{his}]"#)), 0),
        (entry(r#""resource":"of-his""#.to_owned()), 0),
        (entry(r#""resource":null"#.to_owned()), 0),
        (all("{}".to_owned(), &format!(r#","contained":[{his}]"#)), 0),
        (all("{}".to_owned(), &format!(r#","extension":[{{"valueReference":{his}}}],"x":{his}"#)), 0),
    ] {
        for size in [1, 7, 10_000] {
            let (terms, women) = limited(terms(None));
            let output = run(&terms, body.as_bytes().chunks(size));
            assert!(!output.contains("of-his") && !output.contains("\"his\""), "{body}: {output}");
            let bundle: Value = serde_json::from_str(&output).unwrap();
            let due = if body.contains("\"too\"") { vec!["hers", "too"] } else { vec!["hers"] };
            assert_eq!(
                (ids(&output), &bundle["total"]),
                (due.iter().map(|id| (*id).to_owned()).collect(), &json!(due.len())),
                "{body}"
            );
            assert_eq!(women.refused(), refused, "{body}");
        }
    }
}

#[test]
fn a_provenance_is_shown_where_all_that_it_is_about_was() {
    let entries = [
        patient("a", "female"),
        about("of-a", &["a"]),
        patient("b", "male"),
        about("of-b", &["b"]),
        about("of-both", &["a", "b"]),
        about("of-none", &[]),
        about("of-elsewhere", &["c"]),
    ];
    let entries: Vec<_> = entries.iter().map(|resource| format!(r#"{{"resource":{resource}}}"#)).collect();
    let body = format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{}]}}"#, entries.join(","));
    let (terms, _) = limited(terms(None));
    assert_eq!(ids(&run(&terms, [body.as_bytes()])), ["a", "of-a"]);
}

#[test]
fn what_cannot_be_read_ends_the_answer() {
    for resource in
        [r#"{"resourceType":"Patient","id":"1","gender":fe}"#, r#"{"resourceType":"Provenance","id":"1","target":{}}"#]
    {
        let body = format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{resource}}}]}}"#);
        let (out, verdict) = output(stream(&limited(terms(None)).0), [body.as_bytes()]);
        assert!(matches!(verdict, Verdict::Bad(_)) && serde_json::from_str::<Value>(&out).is_err(), "{body}");
    }
}

proptest! {
    /// Page by page, a client gets each resource that it may have once, and a total of these alone.
    #[test]
    fn pages_and_totals_are_of_permitted_ones(women in prop::collection::vec(any::<bool>(), 0..20), count in 1..6_u64, size in 1..300_usize) {
        let resource = |(at, is_woman): (usize, &bool)| patient(&format!("p{at}"), if *is_woman { "female" } else { "male" });
        let entries: Vec<_> = women.iter().enumerate().map(|one| format!(r#"{{"resource":{}}}"#, resource(one))).collect();
        let body = format!(r#"{{"entry":[{}],"type":"collection","total":{},"resourceType":"Bundle"}}"#, entries.join(","), women.len());
        let due: Vec<String> = women.iter().enumerate().filter(|(_, is)| **is).map(|(at, _)| format!("p{at}")).collect();
        let mut shown = Vec::new();
        for offset in (0..due.len().max(1) as u64).step_by(count as usize) {
            let output = run(&limited(terms(page(offset, count))).0, body.as_bytes().chunks(size));
            let bundle: Value = serde_json::from_str(&output).unwrap();
            prop_assert_eq!(&bundle["total"], &json!(due.len()));
            let has_next = bundle["link"].as_array().unwrap().iter().any(|link| link["relation"] == "next");
            prop_assert_eq!(has_next, offset + count < due.len() as u64);
            shown.extend(ids(&output));
        }
        prop_assert_eq!(shown, due);
        let counted = run(&limited(SearchTerms { entries: false, ..terms(None) }).0, body.as_bytes().chunks(size));
        let counted: Value = serde_json::from_str(&counted).unwrap();
        prop_assert_eq!(counted["total"].as_u64(), Some(women.iter().filter(|is| **is).count() as u64));
    }
}
