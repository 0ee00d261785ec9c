use std::collections::HashSet as Set;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::fhir::resource_test::ResourceTest;
use crate::openemr::export::type_filter::TypeFilter;

/// What comes out of a file, and whether it was broken.
fn passed(file: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
    through(NdjsonFile::default(), file, cuts)
}

fn through(mut step: NdjsonFile, file: &[u8], cuts: &[usize]) -> (Vec<u8>, bool) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (file.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut out, mut from) = (Vec::new(), 0);
    for cut in cuts.into_iter().chain([file.len()]) {
        out.extend_from_slice(&step.feed(Bytes::copy_from_slice(file.get(from..cut).unwrap())));
        from = cut;
    }
    out.extend_from_slice(&step.finish());
    (out, step.verdict() != Verdict::Good)
}

fn text(file: &str) -> (String, bool) {
    let (out, is_broken) = passed(file.as_bytes(), &[]);
    (String::from_utf8(out).unwrap(), is_broken)
}

#[test]
fn every_line_ends_and_no_resource_comes_twice() {
    let a = r#"{"resourceType":"Immunization","id":"a"}"#;
    let again = r#"{ "status" : {"id":"b"}, "i\u0064":"a", "resourceType":"Immuniz\u0061tion" }"#;
    let b = r#"{"id":"b","contained":[{"resourceType":"X","id":"a"}],"resourceType":"Immunization"}"#;
    let other = r#"{"resourceType":"Patient","id":"a"}"#;
    let without = r#"{"resourceType":"Patient","id":7}"#;
    let file = [a, again, "", b, "  ", other, a, without, without].join("\r\n");
    assert_eq!(text(&file), ([a, b, other, without, without].join("\n") + "\n", false));
    assert_eq!(text(""), (String::new(), false));
    assert_eq!(text(&format!("{a}\n")), (format!("{a}\n"), false));
}

#[test]
fn a_line_that_is_no_resource_breaks_the_file() {
    let a = r#"{"resourceType":"Patient","id":"a"}"#;
    for bad in ["<br />Warning", "[]", "null", r#"{"resourceType":"Patient","id":"b"#, r#"{"id":"b"}{"id":"c"}"#, "{'id':1}"] {
        for file in [format!("{a}\n{bad}"), format!("{a}\n{bad}\n{a}\n")] {
            assert_eq!(text(&file), (format!("{a}\n"), true), "{bad}");
        }
    }
}

#[test]
fn a_very_long_line_passes_in_little_memory_and_its_end_is_checked() {
    let long = format!(r#"{{"resourceType":"Binary","id":"a","data":"{}"}}"#, "x".repeat(MAX_LINE));
    for cuts in [&[][..], &[MAX_LINE / 2, MAX_LINE + 20], &[10]] {
        let file = format!("{long}\n{long}");
        assert!(passed(file.as_bytes(), cuts) == (format!("{long}\n{long}\n").into_bytes(), false), "{cuts:?}");
        let cut = file.trim_end_matches('}');
        assert!(passed(cut.as_bytes(), cuts).1, "{cuts:?}");
    }
    let mut step = NdjsonFile::default();
    step.feed(Bytes::from(long));
    assert!(matches!(step.line, Line::Passing(_)));
}

#[test]
fn as_many_resources_are_remembered_as_is_stated() {
    let line = |id: usize| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"}}\n");
    let file: String = (0..25).map(line).collect();
    for (again, is_dropped) in [(24, true), (15, true), (3, false)] {
        let twice = format!("{file}{}", line(again));
        let (out, _) = through(NdjsonFile::remembering(10), twice.as_bytes(), &[]);
        assert_eq!(out.len() == file.len(), is_dropped, "{again}");
    }
    let mut step = NdjsonFile::remembering(10);
    step.feed(Bytes::from((0..1000).map(line).collect::<String>()));
    assert!(step.seen.new.len() <= 10 && step.seen.old.len() <= 10);
}

/// Any JSON, a few levels deep.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z\"\\\\\n\u{e9}{}]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::vec(("id|resourceType|[a-z]{1,3}", inner), 0..3)
                .prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn resource() -> impl Strategy<Value = Value> {
    let members = proptest::collection::vec(("[a-z]{1,4}", value()), 0..4);
    (members, 0..4_u8, 0..2_u8, any::<bool>()).prop_map(|(others, id, kind, id_first)| {
        let mut resource = Map::new();
        let (id, kind) = (json!(format!("p\u{e9}-{id}")), json!(["Patient", "Goal"][usize::from(kind)]));
        if id_first {
            resource.insert("id".to_owned(), id.clone());
        }
        for (name, value) in others.into_iter().filter(|(name, _)| name != "id") {
            resource.insert(name, value);
        }
        resource.insert("resourceType".to_owned(), kind);
        resource.entry("id".to_owned()).or_insert(id);
        resource.into()
    })
}

/// A file of which planned Encounters alone are kept.
fn planned() -> NdjsonFile {
    let filters = TypeFilter::read(&["Encounter?status=planned"], None).unwrap().filters;
    NdjsonFile::of_those_that_pass(Some(Arc::new(filters.first().unwrap().test().unwrap())), None)
}

fn encounter(id: usize, status: &str, padding: usize) -> String {
    json!({"resourceType": "Encounter", "text": "x".repeat(padding), "id": id.to_string(), "status": status}).to_string()
}

#[test]
fn what_a_filter_does_not_select_is_dropped_however_the_file_is_cut() {
    let all: Vec<String> = (0..20).map(|id| encounter(id, if id % 3 == 0 { "planned" } else { "finished" }, id)).collect();
    let kept = all.iter().step_by(3).fold(String::new(), |text, line| text + line + "\n");
    for cuts in [&[][..], &[1], &[100, 101, 500], &[40, 80, 120, 160, 200, 240, 280, 320]] {
        for file in [all.join("\n"), all.join("\r\n\n") + "\n"] {
            assert_eq!(through(planned(), file.as_bytes(), cuts), (kept.clone().into_bytes(), false), "{cuts:?}");
        }
    }
    let long = encounter(1, "finished", 2 * MAX_LINE);
    for cuts in [&[][..], &[10, MAX_LINE + 5, 2 * MAX_LINE]] {
        assert_eq!(through(planned(), long.as_bytes(), cuts), (Vec::new(), false), "a long one is tested, too");
    }
}

#[test]
fn what_cannot_be_tested_ends_a_filtered_file() {
    let good = encounter(1, "planned", 0);
    let patient = r#"{"resourceType":"Patient","id":"1","status":"planned"}"#.to_owned();
    let without = r#"{"id":"1","status":"planned"}"#.to_owned();
    let long = encounter(2, "planned", MAX_TESTED);
    for bad in [patient, without, long, "<br />".to_owned()] {
        for (file, cuts) in [(format!("{good}\n{bad}"), &[][..]), (format!("{good}\n{bad}\n{good}"), &[150, 2 * MAX_LINE])] {
            let (out, is_broken) = through(planned(), file.as_bytes(), cuts);
            assert!(is_broken && out == format!("{good}\n").into_bytes(), "{:.80}", bad);
        }
    }
}

proptest! {
    /// Compared with a plain implementation that reads the whole file.
    #[test]
    fn any_resources_at_any_split(resources in proptest::collection::vec(resource(), 0..12), ends: bool, cuts in proptest::collection::vec(any::<usize>(), 0..9)) {
        let mut file = resources.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        if ends {
            file.push('\n');
        }
        let mut seen = Set::new();
        let expected: String = resources
            .iter()
            .filter(|resource| seen.insert((resource["resourceType"].to_string(), resource["id"].to_string())))
            .map(|resource| format!("{resource}\n"))
            .collect();
        prop_assert_eq!(passed(file.as_bytes(), &cuts), (expected.into_bytes(), false));
    }

    #[test]
    fn no_bytes_panic_and_the_split_does_not_matter(file in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'{'), Just(b'}')], 0..60), cuts in proptest::collection::vec(any::<usize>(), 0..9)) {
        prop_assert_eq!(passed(&file, &cuts), passed(&file, &[]));
    }

    #[test]
    fn a_cut_file_never_looks_whole(resources in proptest::collection::vec(resource(), 1..6), at: usize) {
        let file = resources.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        let cut = file.as_bytes().get(..at % file.len()).unwrap();
        let at_a_line = cut.is_empty() || cut.ends_with(b"\n") || file.as_bytes().get(cut.len()) == Some(&b'\n');
        prop_assert_eq!(passed(cut, &[]).1, !at_a_line);
    }
}

/// Permits the resources with an even number for an id, and cannot read those without one.
#[derive(Debug)]
struct Even;

impl ResourceTest for Even {
    fn permits(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible> {
        assert_eq!(resource_type, "Patient");
        let resource: serde_json::Value = serde_json::from_slice(resource).map_err(|_| Illegible)?;
        let id: u64 = resource["id"].as_str().and_then(|id| id.parse().ok()).ok_or(Illegible)?;
        Ok(id.is_multiple_of(2))
    }

    fn permits_about_permitted(&self, resource_type: &str, resource: &[u8]) -> Result<bool, Illegible> {
        self.permits(resource_type, resource)
    }

    fn permits_type(&self, resource_type: &str) -> bool {
        matches!(resource_type, "Patient" | "Provenance")
    }

    fn is_of_types_alone(&self) -> bool {
        false
    }

    fn refused(&self) -> u64 {
        0
    }
}

#[test]
fn a_client_gets_the_lines_that_it_may_have_and_none_of_another_type() {
    let permit = || Some(Arc::new(LinePermit::new("Patient", vec![Permitted(Arc::new(Even)), Permitted(Arc::new(Even))])));
    let line = |kind: &str, id: usize| format!("{{\"resourceType\":\"{kind}\",\"id\":\"{id}\"}}\n");
    let all: String = (0..6).map(|id| line("Patient", id) + &line("Person", id)).collect();
    let even: String = [0, 2, 4].map(|id| line("Patient", id)).concat();
    for size in [1, 7, 10_000] {
        let mut file = NdjsonFile::of_those_that_pass(None, permit());
        let mut out = Vec::new();
        for piece in all.as_bytes().chunks(size) {
            out.extend_from_slice(&file.feed(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&file.finish());
        assert_eq!((String::from_utf8(out).unwrap(), file.verdict()), (even.clone(), Verdict::Good), "{size}");
    }
    for bad in [
        r#"{"id":"2"}"#,
        r#"{"resourceType":"Patient"}"#,
        r#"{"resourceType":"Person","resourceType":"Patient","id":"2"}"#,
        r#"{"resourceType":"Patient","resourceType":"Person","id":"2"}"#,
        r#"{"resourceType":"Patient","id":"1","id":"2"}"#,
        r#"{"resourceType":["Patient"],"id":"2"}"#,
        &format!(r#"{{"resourceType":"Patient","id":"2","x":"{}"}}"#, "x".repeat(MAX_TESTED)),
    ] {
        let mut file = NdjsonFile::of_those_that_pass(None, permit());
        let mut out = file.feed(Bytes::from(line("Patient", 0) + bad + "\n" + &line("Patient", 4))).to_vec();
        out.extend_from_slice(&file.finish());
        assert_eq!((String::from_utf8(out).unwrap(), file.verdict()), (line("Patient", 0), Verdict::Bad(UNDECIDED)), "{bad:.80}");
    }
}
