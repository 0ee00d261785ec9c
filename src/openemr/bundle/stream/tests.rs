use super::*;
use crate::openemr::search::terms::{Page, Window};
use proptest::prelude::*;
use serde_json::{Value, json};

const BASE: &str = "https://emr/apis/default/fhir";
const OUTCOME: &str = r#"{"resourceType":"OperationOutcome","issue":[]}"#;

fn terms(page: Option<Page>) -> SearchTerms {
    let self_target = "/Patient?name=x&_count=2".to_owned();
    SearchTerms { self_target, page, ..SearchTerms::whole("Patient", "/Patient?name=x".to_owned()) }
}

fn page(offset: u64, count: u64) -> Option<Page> {
    Some(Page { offset, count, window: Window::Whole })
}

/// Writes a Bundle as OpenEMR does, with a match for each number and that many included entries after it.
fn bundle(included: &[usize], path: &str, escapes: bool) -> String {
    let mut entries = Vec::new();
    for (index, &more) in included.iter().enumerate() {
        let address = format!("{BASE}/{path}");
        entries.push(format!(
            r#"{{"fullUrl":"{address}/p{index}","resource":{{"id":"p{index}","meta":{{"a":[{{}}]}},"resourceType":"Patient","text":{{"div":"\u003Cp\u0022}}}},{{\\\"fullUrl\\\":\\\"]}}"}},"name":[{{"given":["x"]}}]}}}}"#
        ));
        for number in 0..more {
            entries.push(format!(
                r#"{{"fullUrl":"{address}/Patient-PSK-{index}-{number}","resource":{{"id":"x","resourceType":"Provenance","agent":[{{"who":{{}}}}]}}}}"#
            ));
        }
    }
    let rest = if entries.is_empty() { String::new() } else { format!(r#","entry":[{}]"#, entries.join(",")) };
    let text = format!(
        r#"{{"meta":{{"lastUpdated":"2026-11-24T03:28:26"}},"resourceType":"Bundle","type":"collection","total":{},"link":[{{"relation":"self","url":"{BASE}/{path}"}}]{rest}}}"#,
        entries.len()
    );
    if escapes { text.replace('/', "\\/") } else { text }
}

/// A simple implementation for a whole document, without a bound on memory.
fn naive(body: &str, terms: &SearchTerms) -> Value {
    let mut bundle: Value = serde_json::from_str(body).unwrap();
    let (mut matches, mut left) = (0, Vec::new());
    for mut entry in bundle["entry"].as_array().cloned().unwrap_or_default() {
        let own = entry["resource"]["resourceType"].as_str().unwrap().to_owned();
        let is_match = own == "Patient";
        matches += u64::from(is_match);
        let id = entry["fullUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        entry["fullUrl"] = json!(format!("{BASE}/{own}/{id}"));
        entry["search"] = json!({"mode": if is_match { "match" } else { "include" }});
        let is_on_page = terms.page.is_none_or(|page| matches > page.offset && matches <= page.offset + page.count);
        if is_on_page && terms.entries {
            left.push(entry);
        }
    }
    if let Some(outcome) = &terms.outcome {
        left.push(json!({"search": {"mode": "outcome"}, "resource": serde_json::from_str::<Value>(outcome).unwrap()}));
    }
    bundle["meta"]["lastUpdated"] = json!("2026-11-24T03:28:26+01:00");
    bundle["type"] = json!("searchset");
    let members = bundle.as_object_mut().unwrap();
    members.remove("entry");
    members.remove("total");
    if !left.is_empty() {
        members.insert("entry".to_owned(), json!(left));
    }
    if terms.total {
        members.insert("total".to_owned(), json!(matches));
    }
    let has_more = terms.page.is_some_and(|page| matches > page.offset + page.count);
    let link = links::member(BASE.as_bytes(), terms, has_more);
    let link: Value = serde_json::from_str(&format!("{{{}}}", str::from_utf8(&link).unwrap())).unwrap();
    members.insert("link".to_owned(), link["link"].clone());
    bundle
}

fn stream(terms: &SearchTerms) -> BundleStream {
    BundleStream::new(terms.clone(), true, "https://elsewhere", Some(1_795_487_306))
}

fn run<'a>(terms: &SearchTerms, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut step = stream(terms);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&step.feed(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&step.finish());
    String::from_utf8(out).unwrap()
}

fn some_terms() -> Vec<SearchTerms> {
    vec![
        terms(None),
        terms(page(0, 1)),
        terms(page(1, 1)),
        terms(page(1, 5)),
        terms(page(7, 5)),
        SearchTerms { total: false, outcome: Some(OUTCOME.to_owned()), ..terms(page(0, 2)) },
        SearchTerms { entries: false, ..terms(None) },
        SearchTerms { entries: false, outcome: Some(OUTCOME.to_owned()), ..terms(None) },
    ]
}

fn some_bundles() -> Vec<String> {
    let shapes: [&[usize]; 5] = [&[], &[0], &[0, 0, 0], &[1, 0, 2], &[2]];
    let mut bundles = Vec::new();
    for shape in shapes {
        for path in ["Patient", "Patient/_search"] {
            bundles.extend([false, true].map(|escapes| bundle(shape, path, escapes)));
        }
    }
    bundles
}

#[test]
fn becomes_the_searchset_that_was_asked_for_however_it_is_split() {
    for terms in some_terms() {
        for body in some_bundles() {
            let expected = naive(&body, &terms);
            for size in [1, 2, 3, 5, 17, 100, 1 << 20] {
                let output = run(&terms, body.as_bytes().chunks(size));
                let output: Value = serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error} in {output}"));
                assert_eq!(output, expected, "{size} {body}");
            }
            for cut in 0..body.len() {
                let (first, second) = body.as_bytes().split_at(cut);
                let output = run(&terms, [first, second]);
                assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), expected, "{cut} of {body}");
            }
        }
    }
}

#[test]
fn what_was_cut_short_does_not_become_whole() {
    for terms in some_terms() {
        for body in some_bundles() {
            for cut in 0..body.len() {
                let output = run(&terms, [&body.as_bytes()[..cut]]);
                assert!(serde_json::from_str::<Value>(&output).is_err(), "{cut} of {body}: {output}");
            }
        }
    }
}

#[test]
fn the_end_is_said_once() {
    for body in some_bundles() {
        let mut step = stream(&terms(None));
        let _ = step.feed(Bytes::from(body));
        assert!(!step.finish().is_empty());
        assert!(step.finish().is_empty());
    }
}

#[test]
fn white_space_may_follow() {
    for (body, space) in some_bundles().iter().flat_map(|body| [(body, "\n"), (body, "\r\n  ")]) {
        let output = run(&terms(page(0, 1)), [body.as_bytes(), space.as_bytes()]);
        assert_eq!(serde_json::from_str::<Value>(&output).unwrap(), naive(body, &terms(page(0, 1))));
    }
}

#[test]
fn what_openemr_did_not_make_passes_as_it_is() {
    let ours = bundle(&[0, 1], "Patient", false);
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&ours).unwrap()).unwrap();
    for body in [
        pretty.as_str(),
        &ours.replace("collection", "searchset"),
        r#"{"resourceType":"OperationOutcome"}"#,
        "[]",
        "null",
        "",
        "x",
    ] {
        for size in [1, 7, 1 << 20] {
            assert_eq!(run(&terms(page(0, 1)), body.as_bytes().chunks(size)), body);
        }
    }
    let bundles = SearchTerms { resource_type: "Bundle", ..terms(None) };
    assert_eq!(run(&bundles, [ours.as_bytes()]), ours);
}

#[test]
fn where_nothing_is_to_be_mended_a_page_is_cut_all_the_same() {
    let body = bundle(&[0, 1, 0], "Patient/_search", true);
    let original: Value = serde_json::from_str(&body).unwrap();
    let mut step = BundleStream::new(terms(page(1, 1)), false, "", None);
    let output = [step.feed(Bytes::from(body)), step.finish()].concat();
    let output: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(output["entry"].as_array().unwrap()[..], original["entry"].as_array().unwrap()[1..3]);
    assert_eq!((&output["type"], &output["meta"], &output["total"]), (&json!("collection"), &original["meta"], &json!(3)));
    assert_eq!(output["link"].as_array().unwrap().len(), 4);
}

#[test]
fn a_self_link_of_its_own_kind_is_replaced_by_the_base_that_is_known() {
    let body = bundle(&[0], "Other", false);
    let output: Value = serde_json::from_str(&run(&terms(None), [body.as_bytes()])).unwrap();
    assert_eq!(output["link"][0]["url"], "https://elsewhere/Patient?name=x&_count=2");
    assert_eq!(output["entry"][0]["fullUrl"], format!("{BASE}/Other/p0"));
}

#[test]
fn nothing_is_copied_where_no_entry_begins() {
    let body = bundle(&[0, 0], "Patient", false);
    let mut step = stream(&terms(None));
    let _ = step.feed(Bytes::copy_from_slice(body.split_at(body.len() - 60).0.as_bytes()));
    for text in ["a long text without an entry", "and another one"] {
        let piece = Bytes::copy_from_slice(text.as_bytes());
        // The bytes withheld from the piece before come out with the first one.
        let output = step.feed(piece.clone());
        assert!(output.ends_with(&piece));
        if text.starts_with("and") {
            assert_eq!(output.as_ptr(), piece.as_ptr());
        }
    }
}

#[test]
fn an_entry_that_does_not_say_what_it_is_is_a_match_and_memory_stays_bounded() {
    let endless = format!(r#"{{"fullUrl":"{BASE}/Patient/p0","resource":{{"id":"1","x":"{}"}}}}"#, "y".repeat(100_000));
    let body = bundle(&[0], "Patient", false).replace(r#""entry":["#, &format!(r#""entry":[{endless},"#));
    let mut step = stream(&terms(None));
    let mut out = Vec::new();
    for piece in body.as_bytes().chunks(100) {
        out.extend_from_slice(&step.feed(Bytes::copy_from_slice(piece)));
        assert!(step.withheld.len() < 12 * 1024, "{}", step.withheld.len());
    }
    out.extend_from_slice(&step.finish());
    let output: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&output["total"], &output["entry"][0]["search"]["mode"]), (&json!(2), &json!("match")));
}

proptest! {
    #[test]
    fn pages_of_any_size_hold_every_entry_once(
        included in prop::collection::vec(0..3_usize, 0..12), count in 1..6_u64, size in 1..400_usize, escapes in any::<bool>()
    ) {
        let body = bundle(&included, "Patient", escapes);
        let whole: Value = serde_json::from_str(&run(&terms(None), [body.as_bytes()])).unwrap();
        let (mut offset, mut entries) = (0, Vec::new());
        loop {
            let output = run(&terms(page(offset, count)), body.as_bytes().chunks(size));
            let output: Value = serde_json::from_str(&output).unwrap();
            prop_assert_eq!(&output["total"], &json!(included.len()));
            entries.extend(output["entry"].as_array().cloned().unwrap_or_default());
            let next = output["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next");
            let Some(next) = next else { break };
            offset = next["url"].as_str().unwrap().rsplit_once("_offset=").unwrap().1.parse().unwrap();
        }
        prop_assert_eq!(entries, whole["entry"].as_array().cloned().unwrap_or_default());
    }

    #[test]
    fn nonsense_comes_to_no_harm_and_every_split_tells_the_same(
        middle in r#"(\{"fullUrl":"|\}\},|\]|\}|"resourceType":"|Patient"|Provenance"|"|\\|x| ){0,30}"#,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4), which in 0..8_usize
    ) {
        let (head, _) = bundle(&[0], "Patient", false).split_once(r#"p0""#).map(|(head, rest)| (head.to_owned(), rest.to_owned())).unwrap();
        let body = format!("{head}{middle}");
        let terms = some_terms().swap_remove(which);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &body.as_bytes()[pair[0]..pair[1]]);
        prop_assert_eq!(run(&terms, pieces), run(&terms, [body.as_bytes()]));
    }
}
