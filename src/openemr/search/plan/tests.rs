use super::*;
use crate::fhir::projection::rule::Projection;
use crate::fhir::resource_type;
use crate::http::query::parameters;
use crate::openemr::search::terms::{Page, Window};
use proptest::prelude::*;
use std::sync::LazyLock;

static MODERN: LazyLock<Capabilities> =
    LazyLock::new(|| Capabilities::parse(include_bytes!("../../../sandbox/answers/8.0-capability-statement.json")).unwrap());
static OLD: LazyLock<Capabilities> =
    LazyLock::new(|| Capabilities::parse(include_bytes!("../../../sandbox/answers/7.0.3-capability-statement.json")).unwrap());

fn of(resource_type: &'static str, capabilities: &'static Capabilities) -> SearchContext<'static> {
    let capabilities = Some(capabilities);
    let handling = Handling::Lenient;
    SearchContext { resource_type, capabilities, repairs: true, pager: Pager::Slice, handling, bases: &[] }
}

fn planned(query: &str, context: &SearchContext<'_>) -> SearchPlan {
    SearchPlan::new(query.as_bytes(), b"", context).unwrap().unwrap()
}

fn sent(query: &str, context: &SearchContext<'_>) -> String {
    String::from_utf8(planned(query, context).sent).unwrap()
}

/// The parameters that the outcome names.
fn named(plan: &SearchPlan) -> Vec<String> {
    let Some(outcome) = &plan.terms.outcome else { return Vec::new() };
    let outcome: serde_json::Value = serde_json::from_str(outcome).unwrap();
    let name = |issue: &serde_json::Value| issue["location"][0].as_str().map(|name| name["http.".len()..].to_owned());
    outcome["issue"].as_array().unwrap().iter().map(|issue| name(issue).unwrap_or_default()).collect()
}

#[test]
fn what_is_known_passes_in_order_and_spelling() {
    for (resource_type, query) in [
        ("Patient", ""),
        ("Patient", "name=J%c3%bcrg+A&birthdate=ge1970&family=A,B&gender=male"),
        ("Observation", "code=http://loinc.org|8480-6&patient=Patient/a34c&date=ge2024-01-01T00:00:00%2B01:00"),
        ("Condition", "patient=a&_id=b&_lastUpdated=gt2024&_revinclude=Provenance:target"),
        ("Patient", "name=A&_sort=-birthdate,family"),
    ] {
        let plan = planned(query, &of(resource_type, &MODERN));
        assert_eq!(String::from_utf8_lossy(&plan.sent), query);
        assert_eq!((plan.terms.outcome, plan.terms.page, plan.terms.total), (None, None, true), "{query}");
    }
    let terms = planned("code=a|b", &of("Observation", &MODERN)).terms;
    assert_eq!(terms.self_target, "/Observation?code=a%7Cb");
    assert_eq!(planned("", &of("Observation", &MODERN)).terms.self_target, "/Observation");
}

#[test]
fn a_date_that_is_none_is_refused() {
    for (resource_type, query) in [
        ("Patient", "birthdate=notadate"),
        ("Patient", "name=A&_lastUpdated=ge1970,yesterday"),
        ("Observation", "date=29.02.2024"),
    ] {
        for capabilities in [&MODERN, &OLD] {
            let error = SearchPlan::new(query.as_bytes(), b"", &of(resource_type, capabilities)).unwrap_err();
            assert_eq!(error.code(), IssueCode::Value, "{query}");
            assert!(!error.to_string().contains("notadate"));
        }
    }
    assert_eq!(sent("birthdate=ge1970", &of("Patient", &MODERN)), "birthdate=ge1970");
    // Without capabilities the gateway does not know which parameters are dates.
    let unknown = SearchContext { capabilities: None, ..of("Patient", &MODERN) };
    assert_eq!(sent("birthdate=notadate", &unknown), "birthdate=notadate");
}

#[test]
fn what_is_not_known_is_left_out_and_told() {
    for (resource_type, query, expected, names) in [
        ("Patient", "name=A&active=true", "name=A", vec!["active"]),
        ("Patient", "name:exact=A&gender:not=male&x=1", "", vec!["name:exact", "gender:not", "x"]),
        (
            "Patient",
            "general-practitioner.name=A&_has:Observation:patient:code=1",
            "",
            vec!["general-practitioner.name", "_has:Observation:patient:code"],
        ),
        ("Patient", "_include=Patient:organization&_revinclude=Observation:patient", "", vec!["_include", "_revinclude"]),
        ("Patient", "_revinclude:iterate=Provenance:target&_tag=a", "", vec!["_revinclude:iterate", "_tag"]),
        ("Patient", "_sort=-_id,family,name", "_sort=family", vec!["_sort"]),
        ("Patient", "_sort=family,given", "_sort=family,given", vec![]),
        ("Encounter", "_sort=date&status=finished", "", vec!["_sort", "status"]),
        ("Observation", "status=final&patient=a&encounter=b", "patient=a", vec!["status", "encounter"]),
        ("Patient", "_count=abc&_offset=-1&name=A", "name=A", vec!["_count", "_offset"]),
        ("Patient", "_total=all&_summary=yes&_pretty=1&_elements=a-b", "", vec!["_total", "_summary", "_pretty", "_elements"]),
        ("Patient", "_offset=5", "", vec!["_offset"]),
        ("Patient", "name=A&John Doe=1", "name=A", vec![""]),
        ("Patient", "name=&x=&=&&_count=", "", vec![]),
        ("Patient", "_format=json&name=A", "name=A", vec![]),
        ("Condition", "_revinclude=Provenance:target&_revinclude=Provenance%3Atarget", "_revinclude=Provenance:target", vec![]),
    ] {
        let plan = planned(query, &of(resource_type, &MODERN));
        assert_eq!(String::from_utf8_lossy(&plan.sent), expected, "{query}");
        assert_eq!(named(&plan), names, "{query}");
        let refused = plan_strictly(query, resource_type);
        assert_eq!(refused.is_err(), !names.is_empty(), "{query}");
        if let Err(error) = refused {
            let text = error.to_string();
            assert!(names.iter().all(|name| text.contains(*name)) && !text.contains("Doe"), "{text}");
        }
        assert!(!plan.terms.self_target.contains("active") && !plan.terms.self_target.contains("status"));
    }
    assert_eq!(sent("_sort=family&_count=5&_offset=5&name=A&category=x", &of("Condition", &OLD)), "");
}

fn plan_strictly(query: &str, resource_type: &'static str) -> Result<Option<SearchPlan>, SearchError> {
    let strict = SearchContext { handling: Handling::Strict, ..of(resource_type, &MODERN) };
    SearchPlan::new(query.as_bytes(), b"", &strict)
}

#[test]
fn a_strict_search_names_parameters_and_not_what_looks_like_a_value() {
    let warnings = vec![Warning::new("foo", Reason::NotSearchable), Warning::new("_count", Reason::Invalid)];
    let error = SearchError::Strict(warnings);
    assert_eq!(error.code(), IssueCode::NotSupported);
    assert!(error.to_string().ends_with(": foo, _count."), "{error}");
    let error = SearchError::Strict(vec![Warning::new("John Doe", Reason::NotSearchable)]);
    assert!(!error.to_string().contains("Doe"), "{error}");
}

#[test]
fn references_go_in_the_spelling_that_finds_something() {
    let bases = ["https://emr/apis/default/fhir".to_owned()];
    let conditions = SearchContext { bases: &bases, ..of("Condition", &MODERN) };
    for (query, expected) in [
        ("subject=Patient/a", "patient=Patient/a"),
        ("subject=Patient%2Fa", "patient=Patient%2Fa"),
        ("subject=a,Patient/b", "patient=a,Patient/b"),
        ("subject:Patient=a", "patient=a"),
        ("patient:Patient=a", "patient=a"),
        ("subject=https://emr/apis/default/fhir/Patient/a", "patient=Patient/a"),
        ("patient=https%3A%2F%2Femr%2Fapis%2Fdefault%2Ffhir%2FPatient%2Fa", "patient=Patient/a"),
        ("patient=https://other/fhir/Patient/a", "patient=https://other/fhir/Patient/a"),
        ("patient=Patient/a&subject=Patient/a", "patient=Patient/a"),
        ("_id=Condition/a", "_id=a"),
        ("_id=https://emr/apis/default/fhir/Condition/a,b", "_id=a,b"),
        ("_id=Patient/a", "_id=Patient/a"),
    ] {
        let plan = planned(query, &conditions);
        assert_eq!(String::from_utf8_lossy(&plan.sent), expected);
        assert_eq!(plan.terms.outcome, None, "{query}");
    }
    for query in ["subject=Group/a", "subject:Group=a", "subject=https://other/fhir/Patient/a", "subject:missing=true"] {
        let plan = planned(query, &conditions);
        assert!(plan.sent.is_empty() && named(&plan).len() == 1, "{query}");
    }
    let both = SearchPlan::new(b"patient=Patient/a&subject=Patient/b", b"", &conditions);
    assert!(matches!(both, Err(SearchError::Repeated(_))), "{both:?}");
    assert_eq!(sent("_id=Patient/a,b", &of("Patient", &MODERN)), "_id=a,b");
    assert_eq!(sent("subject=Patient/a", &of("Patient", &MODERN)), "", "a patient has no subject");
}

#[test]
fn the_gateway_does_what_it_can_itself() {
    let patients = of("Patient", &MODERN);
    let projection = |query: &str| planned(query, &patients).terms.projection;
    assert_eq!(projection("_summary=true"), Projection::Summary);
    assert_eq!(projection("_summary=text"), Projection::Text);
    assert_eq!(projection("_summary=data"), Projection::Data);
    assert_eq!(projection("_summary=false"), Projection::Whole);
    let elements = || Projection::Elements(vec!["id".to_owned(), "name".to_owned()]);
    assert_eq!(projection("_elements=id,Patient.name"), elements());
    let both = planned("_elements=id,name&_summary=true", &patients);
    assert_eq!((both.terms.projection.clone(), named(&both)), (elements(), vec!["_summary".to_owned()]));
    let terms = planned("_pretty=true&_total=none&_elements=id&name=A", &patients).terms;
    assert!(terms.pretty && !terms.total && terms.entries);
    assert_eq!(terms.self_target, "/Patient?name=A&_elements=id&_total=none&_pretty=true");
}

#[test]
fn counting_needs_all_matches_and_sends_none() {
    for (query, shown) in [
        ("name=A&_summary=count", "/Patient?name=A&_summary=count"),
        ("name=A&_count=0", "/Patient?name=A&_count=0"),
        ("name=A&_summary=count&_count=5&_offset=5&_total=none", "/Patient?name=A&_summary=count&_total=none"),
    ] {
        let plan = planned(query, &of("Patient", &MODERN));
        assert_eq!(plan.sent, b"name=A");
        let SearchTerms { self_target, page, total, entries, .. } = plan.terms;
        assert_eq!((self_target.as_str(), page, total, entries), (shown, None, true, false));
    }
    let accurate = planned("_count=5&_total=accurate", &of("Patient", &MODERN));
    assert_eq!(accurate.sent, b"");
    assert_eq!(accurate.terms.page, Some(Page { offset: 0, count: 5, window: Window::Whole }));
}

#[test]
fn links_show_the_callers_page_and_openemr_sees_its_own() {
    let plan = planned("_count=10&name=A&_offset=20", &of("Patient", &MODERN));
    assert_eq!(plan.sent, b"name=A&_count=11&_offset=20");
    assert_eq!(plan.terms.self_target, "/Patient?name=A&_count=10&_offset=20");
    assert_eq!(plan.terms.page_target, "/Patient?name=A");
    let plan = planned("_count=10&_offset=20&patient=a", &of("Condition", &MODERN));
    assert_eq!(plan.sent, b"patient=a&_count=31");
    assert_eq!(plan.terms.self_target, "/Condition?patient=a&_count=10&_offset=20");
    let repeated = planned("_count=10&_count=10", &of("Patient", &MODERN));
    assert_eq!((repeated.terms.page.map(|page| page.count), named(&repeated)), (Some(10), vec![]));
}

#[test]
fn the_form_stands_behind_the_query() {
    let plan = SearchPlan::new(b"name=A&_count=5", b"gender=male&x=1", &of("Patient", &MODERN)).unwrap().unwrap();
    assert_eq!(plan.sent, b"name=A&gender=male&_count=6");
    assert_eq!(plan.terms.page_target, "/Patient?name=A&gender=male");
    assert_eq!(named(&plan), ["x"]);
}

#[test]
fn what_is_not_known_of_the_server_is_not_guessed() {
    let unknown = SearchContext { capabilities: None, ..of("Condition", &MODERN) };
    assert_eq!(
        sent("subject=Patient/a&x:y=1&_sort=date&_format=json&_pretty=true", &unknown),
        "subject=Patient/a&x:y=1&_sort=date"
    );
    let paged = planned("x=1&_count=10&_offset=10", &unknown);
    assert_eq!(
        (paged.sent.as_slice(), paged.terms.page),
        (&b"x=1"[..], Some(Page { offset: 10, count: 10, window: Window::Whole }))
    );
    let other = Capabilities { software: None, ..MODERN.clone() };
    let other = SearchContext { capabilities: Some(&other), ..of("Condition", &MODERN) };
    assert_eq!(SearchPlan::new(b"x=1&_count=5", b"", &other), Ok(None));
    for resource_type in ["Binary", "Task"] {
        assert_eq!(SearchPlan::new(b"x=1", b"", &of(resource_type, &MODERN)), Ok(None));
    }
}

#[test]
fn each_repair_has_its_switch() {
    let query = "name:exact=A&&_count=5&_sort=x&_summary=true";
    let paged = SearchContext { repairs: false, ..of("Patient", &MODERN) };
    let plan = planned(query, &paged);
    assert_eq!(plan.sent, b"name:exact=A&_sort=x&_summary=true");
    assert_eq!(plan.terms.page, Some(Page { offset: 0, count: 5, window: Window::Whole }));
    let untouched = planned(query, &SearchContext { pager: Pager::Off, ..paged });
    assert_eq!(untouched.sent, b"name:exact=A&_count=5&_sort=x&_summary=true");
    assert_eq!((untouched.terms.page, untouched.terms.total, untouched.terms.outcome), (None, false, None));
    let native = planned("name=A&_count=5&_offset=5", &SearchContext { pager: Pager::Native, ..of("Patient", &MODERN) });
    assert_eq!(native.sent, b"name=A&_count=5&_offset=5");
    assert!(native.terms.page.is_some());
}

#[test]
fn a_name_with_two_values_is_refused_and_one_value_is_sent_once() {
    for (query, form) in [
        ("birthdate=ge1960-01-01&birthdate=lt1980-01-01", ""),
        ("", "birthdate=ge1960-01-01&birthdate=lt1980-01-01"),
        ("birthdate=ge1960-01-01", "birthdate=lt1980-01-01"),
        ("_count=5", "_count=6"),
        ("_sort=family&_sort=given", ""),
        ("_elements=id&_elements=name", ""),
        ("_pretty=true&_pretty=false", ""),
        ("_summary=true", "_summary=text"),
        ("_total=none&name=A&_total=accurate", ""),
    ] {
        for repairs in [true, false] {
            let context = SearchContext { repairs, ..of("Patient", &MODERN) };
            let error = SearchPlan::new(query.as_bytes(), form.as_bytes(), &context).unwrap_err();
            assert!(matches!(error, SearchError::Repeated(_)), "{query} {form}: {error}");
            assert!(!error.to_string().contains("1960"));
        }
    }
    assert_eq!(
        sent("name=A&family=B&name=A&family:exact=C", &SearchContext { repairs: false, ..of("Patient", &MODERN) }),
        "name=A&family=B&family:exact=C"
    );
    let in_both = SearchPlan::new(b"name=A", b"gender=male&name=A", &of("Patient", &MODERN)).unwrap().unwrap();
    assert_eq!(in_both.sent, b"name=A&gender=male");
    // Nobody knows whether it puts them together.
    let unknown = SearchContext { capabilities: None, ..of("Condition", &MODERN) };
    assert!(SearchPlan::new(b"_include=a&_include=b", b"", &unknown).is_err());
}

#[test]
fn a_plus_of_a_zone_reaches_openemr_as_one() {
    let expected = "date=ge2010-01-01T00:00:00%2B02:00";
    let unknown = SearchContext { capabilities: None, ..of("Observation", &MODERN) };
    for context in [of("Observation", &MODERN), unknown] {
        for written in ["date=ge2010-01-01T00:00:00+02:00", "date=ge2010-01-01T00:00:00%2002:00", expected] {
            assert_eq!(sent(written, &context), expected);
            let form = SearchPlan::new(b"", written.as_bytes(), &context).unwrap().unwrap();
            assert_eq!(String::from_utf8_lossy(&form.sent), expected);
        }
    }
    assert_eq!(planned(expected, &of("Observation", &MODERN)).terms.self_target, format!("/Observation?{expected}"));
}

#[test]
fn what_openemr_does_wrong_is_not_asked() {
    for (resource_type, query) in [
        ("Provenance", ""),
        ("Provenance", "patient=a"),
        ("Provenance", "_count=1"),
        ("Observation", "code=a,b"),
        ("Practitioner", "name=A"),
        ("Organization", "address=A"),
    ] {
        for capabilities in [&MODERN, &OLD] {
            let error = SearchPlan::new(query.as_bytes(), b"", &of(resource_type, capabilities)).unwrap_err();
            assert!(matches!(error, SearchError::Broken(_)), "{resource_type}?{query}: {error}");
        }
        // Whoever switches the repairs off gets OpenEMR as it is.
        let raw = SearchContext { repairs: false, ..of(resource_type, &MODERN) };
        assert!(SearchPlan::new(query.as_bytes(), b"", &raw).is_ok());
    }
    let sets = planned("_count=5", &of("ValueSet", &MODERN));
    assert_eq!((sets.sent.as_slice(), sets.terms.page), (&b""[..], Some(Page { offset: 0, count: 5, window: Window::Whole })));
}

#[test]
fn there_is_an_end_to_parameters() {
    let many = "name=A&".repeat(MAX_PARAMETERS + 1);
    assert_eq!(SearchPlan::new(many.as_bytes(), b"", &of("Patient", &MODERN)).unwrap_err().code(), IssueCode::TooCostly);
    assert!(SearchPlan::new(&many.as_bytes()["name=A&".len()..], b"", &of("Patient", &MODERN)).is_ok());
}

/// Of every type that can be searched.
fn any_type() -> impl Strategy<Value = &'static str> {
    let types = MODERN.types.iter().filter(|(_, known)| known.interactions.contains("search-type"));
    proptest::sample::select(types.map(|(name, _)| resource_type::known(name.as_bytes()).unwrap()).collect::<Vec<_>>())
}

fn any_query() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        proptest::sample::select(vec![
            "_id",
            "name",
            "patient",
            "subject",
            "code",
            "_count",
            "_offset",
            "_sort",
            "_total",
            "_summary",
            "_elements",
            "_revinclude",
            "_include",
            "_has",
            "_format",
            "_pretty",
            "status",
            "date",
            "family",
            "%70atient",
        ])
        .prop_map(str::to_owned),
        "[a-z_.:%&=+\\[\\] ]{0,6}",
    ];
    let modifier = proptest::sample::select(vec!["", "", "", ":exact", ":Patient", ".name", ":not"]);
    let value = prop_oneof![
        "[0-9]{1,4}",
        "[a-zA-Z/,|%+]{0,9}",
        Just("Provenance:target".to_owned()),
        Just("Patient/a".to_owned()),
        Just("count".to_owned()),
    ];
    proptest::collection::vec((name, modifier, value), 0..6).prop_map(|all| {
        all.iter().map(|(name, modifier, value)| format!("{name}{modifier}={value}")).collect::<Vec<_>>().join("&")
    })
}

proptest! {
    /// The promise that matters most: OpenEMR would answer an unknown name with an empty Bundle.
    #[test]
    fn nothing_goes_that_would_empty_the_bundle(query in any_query(), resource_type in any_type(), old in any::<bool>(), pager in 0..3) {
        let capabilities: &'static Capabilities = if old { &OLD } else { &MODERN };
        let pager = [Pager::Slice, Pager::Native, Pager::Off][pager as usize];
        let context = SearchContext { pager, ..of(resource_type, capabilities) };
        let plan = match SearchPlan::new(query.as_bytes(), b"", &context) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(()),
            Err(error) => {
                prop_assert!(matches!(error.code(), IssueCode::Value | IssueCode::NotSupported | IssueCode::TooCostly));
                return Ok(());
            }
        };
        let known = &capabilities.types[resource_type].search_parameters;
        for parameter in parameters(&plan.sent) {
            let name = parameter.name.as_ref();
            let is_taken = known.contains(name)
                || (name == "_revinclude" && parameter.value == "Provenance:target")
                || (!old && matches!(name, "_count" | "_offset" | "_sort"));
            prop_assert!(is_taken && !parameter.value.is_empty(), "{} of {}", name, query);
        }
        let mut single = parameters(&plan.sent).filter(|one| matches!(one.name.as_ref(), "_count" | "_offset" | "_sort" | "_revinclude"));
        let names: Vec<_> = single.by_ref().map(|one| one.name).collect();
        prop_assert!(names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1), "{:?}", names);
        prop_assert!(plan.terms.self_target.is_ascii() && !plan.terms.self_target.contains(['"', '\\', ' ']));
    }

    /// What self shows is a search that means the same.
    #[test]
    fn self_is_the_same_search(query in any_query(), resource_type in any_type()) {
        let context = of(resource_type, &MODERN);
        let Ok(Some(first)) = SearchPlan::new(query.as_bytes(), b"", &context) else { return Ok(()) };
        let shown = first.terms.self_target.split_once('?').map_or("", |(_, query)| query);
        let again = planned(shown, &context);
        prop_assert_eq!(&again.terms, &SearchTerms { outcome: None, ..first.terms });
        prop_assert_eq!(as_uri(&again.sent), as_uri(&first.sent));
    }

    #[test]
    fn no_bytes_panic(query in proptest::collection::vec(any::<u8>(), 0..60), form in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = SearchPlan::new(&query, &form, &of("Patient", &MODERN));
    }
}

/// What OpenEMR sends for this query: the numbers of matches, with `true` for what is included with them.
fn openemr(version: Version, patients: bool, set: u64, query: &[u8]) -> Vec<(u64, bool)> {
    let value = |name: &str| parameters(query).find(|one| one.name == name).map(|one| one.value.into_owned());
    let (count, offset, provenances) = (value("_count"), value("_offset"), value("_revinclude").is_some());
    if version == Version::Old && (count.is_some() || offset.is_some()) {
        return Vec::new();
    }
    let count = count.map(|count| count.parse::<u64>().unwrap().min(200));
    let from = match (offset, count) {
        (Some(offset), Some(_)) if patients => offset.parse().unwrap(),
        _ => 0,
    };
    let entries =
        (from..set).flat_map(|match_| [(match_, false), (match_, true)]).filter(|(_, included)| provenances || !included);
    entries.take(count.map_or(usize::MAX, |count| count as usize)).collect()
}

/// Cuts a page out of an answer, and tells whether there is a next one, and the total if that is known.
fn cut(sent: &[(u64, bool)], page: Page) -> (Vec<(u64, bool)>, bool, Option<u64>) {
    let matches = sent.iter().filter(|(_, included)| !included).count() as u64;
    let (skipped, asked) = match page.window {
        Window::Whole => (page.offset, u64::MAX),
        Window::First(asked) => (page.offset, asked),
        Window::FromOffset(asked) => (0, asked),
    };
    let mut seen = 0;
    let mut kept = Vec::new();
    for &(number, included) in sent {
        seen += u64::from(!included);
        if seen > skipped && seen <= skipped.saturating_add(page.count) {
            kept.push((number, included));
        }
    }
    let is_more = matches > skipped.saturating_add(page.count) || (asked == page.count && matches == asked);
    let before = page.offset - skipped;
    let total = (matches < asked && (matches > 0 || before == 0)).then_some(before + matches);
    (kept, is_more, total)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    /// Whoever follows the links of an unchanged set meets each match once, in order, with what is included with it.
    #[test]
    fn a_walk_meets_each_match_once(
        set in 0_u64..450,
        count in prop_oneof![1_u64..12, 40_u64..60, 90_u64..110, 190_u64..260, 199_u64..202, Just(1000)],
        patients in any::<bool>(),
        old in any::<bool>(),
        rest in proptest::sample::select(vec!["", "&_revinclude=Provenance:target", "&_total=accurate", "&_sort=family"]),
    ) {
        let context = of(if patients { "Patient" } else { "Condition" }, if old { &OLD } else { &MODERN });
        let version = if old { Version::Old } else { Version::Modern };
        let mut query = format!("_id=a&_count={count}{rest}");
        let mut met = Vec::new();
        let mut pages = 0;
        loop {
            let plan = planned(&query, &context);
            let page = plan.terms.page.unwrap();
            let (kept, is_more, total) = cut(&openemr(version, patients, set, &plan.sent), page);
            prop_assert!(total.is_none_or(|total| total == set), "{total:?} of {set}");
            prop_assert!(rest != "&_total=accurate" || total == Some(set));
            prop_assert!(!is_more || kept.len() as u64 >= count, "a short page is the last one");
            met.extend(kept);
            pages += 1;
            prop_assert!(pages <= set / count + 2, "too many pages");
            if !is_more {
                break;
            }
            let (_, target) = plan.terms.page_target.split_once('?').unwrap();
            query = format!("{target}&_count={}&_offset={}", page.count, page.offset + page.count);
        }
        prop_assert_eq!(met, openemr(version, patients, set, rest.trim_start_matches('&').as_bytes()));
    }
}
