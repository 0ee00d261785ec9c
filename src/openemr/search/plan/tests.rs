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
    let unusable = Unusable::Refuse;
    SearchContext {
        resource_type,
        capabilities,
        repairs: true,
        pager: Pager::Slice,
        keeps_pages: false,
        handling: None,
        unusable,
        bases: &[],
        permitted: None,
    }
}

/// The same for a client that wants what cannot be used to be left out.
fn leniently(resource_type: &'static str) -> SearchContext<'static> {
    SearchContext { handling: Some(Handling::Lenient), ..of(resource_type, &MODERN) }
}

/// Why a search is rejected.
fn refused(query: &str, context: &SearchContext<'_>) -> Refusals {
    match SearchPlan::new(query.as_bytes(), b"", context) {
        Err(SearchError::Refused(refusals)) => refusals,
        other => panic!("{query}: {other:?}"),
    }
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
        ("Patient", "name:contains=A&family:exact=B&given:prefix=C&address:suffix=D"),
        ("Patient", "birthdate=ge1970&gender:not=male"),
        ("Patient", "family:exact=a_b%25&identifier=|1&address-city=St.+Ives"),
        ("Condition", "category=problem-list-item&_lastUpdated=ge2024"),
        ("Condition", "category=http://terminology.hl7.org/CodeSystem/condition-category|encounter-diagnosis"),
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
fn a_filter_that_cannot_be_used_is_refused_whatever_the_client_prefers() {
    for (resource_type, query, whys) in [
        ("Patient", "birthdate=notadate", vec![Why::Date]),
        ("Patient", "name=A&_lastUpdated=ge1970,yesterday", vec![Why::Date]),
        ("Observation", "date=29.02.2024", vec![Why::Date]),
        ("Patient", "gender:missing=false&birthdate:missing=true", vec![Why::Modifier; 2]),
        ("Patient", "gender:in=x&gender:not-in=x&gender:above=x", vec![Why::Modifier; 3]),
        ("Patient", "gender:exact=male&name:not=A&birthdate:not=1970&_id:not=a", vec![Why::Modifier; 4]),
        ("Patient", "name:text=A&name:EXACT=A&name:=A&name:exact:exact=A", vec![Why::Modifier; 4]),
        ("Patient", "foo:exact=A&_count:x=5&_summary:y=true&_sort:asc=family", vec![Why::Modifier; 4]),
        ("Observation", "patient:identifier=A&subject:Group=1&code:of-type=a|b|c", vec![Why::Modifier; 3]),
        ("Observation", "patient=a&patient:identifier=A&code:in=a&code:of-type=a|b|c", vec![Why::Modifier; 3]),
        ("Observation", "patient.name=A&subject:Patient.name=A&patient.identifier=a", vec![Why::Chain; 3]),
        ("Patient", "general-practitioner.name=A", vec![Why::Chain]),
        ("Patient", "_has:Observation:patient:code=1&_filter=a&_query=b&_list=c&_text=d&_content=e", vec![Why::Operator; 6]),
        ("Patient", "_text:x=d&_has=x&_filter=", vec![Why::Operator; 3]),
        ("Observation", "patient.identifier=&subject:Patient.name=", vec![Why::Chain; 2]),
        ("Patient", "active=true&death-date=2024&race=c", vec![Why::NotSearchable; 3]),
        ("Patient", "_id=a&phonetic=a&_profile=b", vec![Why::NotSearchable; 2]),
        ("Encounter", "status=finished&class=AMB", vec![Why::NotSearchable; 2]),
        ("Encounter", "patient=a&location-period=yesterday&status=a%5Cb", vec![Why::Value; 2]),
        ("Encounter", "patient=a&status=a,,b", vec![Why::EmptyAlternative]),
        ("Observation", "subject=Group/1&patient=Group/1", vec![Why::NotAPatient; 2]),
        ("Observation", "patient=https://other/fhir/Patient/a", vec![Why::NotAPatient]),
        ("Observation", "subject=Patient/a,Group/1&patient:Patient=a/b", vec![Why::NotAPatient; 2]),
        ("Observation", "patient=&subject=&_id=&patient:Patient=", vec![Why::Empty; 4]),
        ("Patient", "identifier=&_id=,", vec![Why::Empty; 2]),
        ("Patient", "identifier=|&_id=a,,b", vec![Why::Empty; 2]),
        ("Patient", "_id=%20", vec![Why::Empty]),
        ("Patient", "_id", vec![Why::Empty]),
        ("Patient", "family=A,&gender=,male&name=,", vec![Why::EmptyAlternative; 3]),
        ("Patient", "family=%25&name:contains=A%25&given:prefix=_&address:suffix=a_b", vec![Why::AnyText; 4]),
        ("Patient", r"address-city=A\,B&gender=male\,x&birthdate=2000&address:exact=a\\b", vec![Why::Escape; 3]),
        ("Patient", "gender=http://x|&address-use=http://x|", vec![Why::NoCode, Why::NotSearchable]),
        ("Patient", "telecom:not=1&identifier:not=a|b&phone:not=1&email:not=x", vec![Why::NotInSeveral; 4]),
        ("Patient", "gender:not=male,female", vec![Why::NotSeveral]),
        ("Patient", "gender:not=male&gender:missing=true", vec![Why::Modifier]),
        ("Condition", "category=health-concern", vec![Why::Category]),
        ("Condition", "category=problem-list-item,encounter-diagnosis", vec![Why::Category]),
        ("Condition", "category:not=problem-list-item", vec![Why::Modifier]),
    ] {
        for handling in [None, Some(Handling::Lenient), Some(Handling::Strict)] {
            for unusable in [Unusable::Refuse, Unusable::LeaveOut] {
                let context = SearchContext { handling, unusable, ..of(resource_type, &MODERN) };
                let refusals = refused(query, &context);
                assert_eq!(refusals.whys(), whys, "{query}");
                let text = refusals.to_string();
                assert!(!text.contains("notadate") && !text.contains("handling"), "{text}");
                assert!(!refusals.are_for_now());
            }
        }
    }
    assert_eq!(refused("category=problem-list-item", &of("Condition", &OLD)).whys(), [Why::NotSearchable]);
    // What two filters say of one field, and cannot be tested.
    assert_eq!(refused("name:suffix=A&name:prefix=B", &of("Patient", &MODERN)).whys(), [Why::Repeated]);
    assert_eq!(refused("birthdate=notadate", &of("Patient", &OLD)).code(), IssueCode::Value);
    assert_eq!(refused("active=true", &of("Patient", &OLD)).code(), IssueCode::NotSupported);
    // The same said twice is said once.
    assert_eq!(sent("patient=Patient/a&subject=Patient/a", &of("Observation", &MODERN)), "patient=Patient/a");
    assert_eq!(sent("patient:Patient=a&subject=a", &of("Observation", &OLD)), "patient=a");
}

#[test]
fn what_nobody_knows_is_refused_unless_it_may_be_left_out() {
    for (resource_type, query, expected, names) in [
        ("Patient", "name=A&x=1", "name=A", vec!["x"]),
        (
            "Patient",
            "name=A&_include=Patient:organization&_revinclude=Observation:patient",
            "name=A",
            vec!["_include", "_revinclude"],
        ),
        ("Patient", "_revinclude:iterate=Provenance:target", "", vec!["_revinclude:iterate"]),
        ("Group", "_revinclude=Provenance:target", "", vec!["_revinclude"]),
        ("Patient", "_sort=-_id,family,name", "_sort=family", vec!["_sort"]),
        ("Encounter", "_sort=date&patient=a", "patient=a", vec!["_sort"]),
        ("Patient", "_count=abc&_offset=-1&name=A", "name=A", vec!["_count", "_offset"]),
        ("Patient", "_total=all&_summary=yes&_pretty=1&_elements=a-b", "", vec!["_total", "_summary", "_pretty", "_elements"]),
        ("Patient", "name=A&John Doe=1", "name=A", vec![""]),
    ] {
        let strict = SearchContext { handling: Some(Handling::Strict), ..of(resource_type, &MODERN) };
        for context in [of(resource_type, &MODERN), strict] {
            let text = refused(query, &context).to_string();
            assert!(names.iter().all(|name| text.contains(*name)) && !text.contains("Doe"), "{text}");
            assert_eq!(text.contains("handling=lenient"), context.handling.is_none(), "{text}");
        }
        let may = SearchContext { unusable: Unusable::LeaveOut, ..of(resource_type, &MODERN) };
        for context in [leniently(resource_type), may] {
            let plan = planned(query, &context);
            assert_eq!(String::from_utf8_lossy(&plan.sent), expected, "{query}");
            assert_eq!(named(&plan), names, "{query}");
            assert!(plan.terms.changed);
        }
        // The client's word counts for more than the configuration's.
        refused(query, &SearchContext { unusable: Unusable::LeaveOut, ..strict });
    }
}

#[test]
fn the_last_filter_is_never_left_out() {
    for query in ["nam=Smith", "shoe-size=44&_count=3", "patinet=a&_summary=count", "foo=1&name=", "foo=1&_=2&_sort=family"] {
        let refusals = refused(query, &leniently("Patient"));
        assert_eq!(refusals.whys(), [Why::LastFilter(Reason::Unknown)], "{query}");
    }
    // What asks for no less is no filter.
    assert_eq!(sent("_include=Patient:organization", &leniently("Patient")), "");
}

#[test]
fn a_refusal_says_what_was_meant_and_what_there_is() {
    let text = refused("nam=CANARY", &of("Patient", &MODERN)).to_string();
    assert!(
        text.starts_with("The parameter nam is known neither to FHIR R4 nor to OpenEMR for this type. Probably name was meant."),
        "{text}"
    );
    assert!(text.contains("Patient can be searched by: _id, _lastUpdated, address, "), "{text}");
    assert!(text.ends_with("With \"Prefer: handling=lenient\" such parameters are left out."), "{text}");
    let text = refused("patinet=CANARY&code=x", &of("Observation", &MODERN)).to_string();
    assert!(text.contains("Probably patient was meant.") && text.contains(", subject, "), "{text}");
    let text = refused("dob=CANARY&active=CANARY", &of("Patient", &MODERN)).to_string();
    assert!(text.contains("Probably birthdate was meant.") && !text.contains("handling"), "{text}");
    assert!(text.contains("The parameter active is one of FHIR's for this type, but OpenEMR cannot search by it."), "{text}");
    let text = refused("onset-age=CANARY", &of("Condition", &MODERN)).to_string();
    assert!(
        text.contains("Condition can be searched by: _id, _lastUpdated, patient, subject, category, abatement-date, "),
        "{text}"
    );
    let text = refused("severity=CANARY", &of("Condition", &MODERN)).to_string();
    assert!(text.ends_with("cannot search by it. The gateway can test it in a search that has patient or _id, too."), "{text}");
    let text = refused("phonetic=CANARY", &of("Practitioner", &MODERN)).to_string();
    assert!(!text.contains("phonetic was meant") && text.contains("can be searched by"), "{text}");
    let text = refused("name:text=CANARY", &of("Patient", &MODERN)).to_string();
    assert!(text.contains("The parameter name:text has a modifier") && !text.contains("searched by"), "{text}");
    assert!(!refused("CANARY DOE=1", &of("Patient", &MODERN)).to_string().contains("DOE"));
    let many = (0..MAX_PARAMETERS).map(|at| format!("x{at}=1&")).collect::<String>();
    assert!(refused(&many, &of("Patient", &MODERN)).to_string().len() < 5_000);
}

#[test]
fn what_is_no_question_is_left_out_and_told() {
    for (query, names) in [
        ("_=1700000000&utm_source=x&fbclid=y&gclid=z", vec!["_", "utm_source", "fbclid", "gclid"]),
        ("name=&x=&=&&_count=", vec!["name", "x", "_count"]),
        ("_format=", vec![]),
        ("_format=json", vec![]),
        ("_offset=5", vec!["_offset"]),
    ] {
        let plan = planned(query, &of("Patient", &MODERN));
        assert_eq!(plan.sent, b"", "{query}");
        assert_eq!(named(&plan), names, "{query}");
    }
    let strict = SearchContext { handling: Some(Handling::Strict), ..of("Patient", &MODERN) };
    assert_eq!(refused("_=1", &strict).whys(), [Why::Unusable(Reason::OfBrowsers)]);
    assert_eq!(refused("_offset=5", &strict).whys(), [Why::Unusable(Reason::NotPaged)]);
    assert_eq!(sent("name=&given=A", &strict), "given=A");
}

#[test]
fn times_that_openemr_makes_up_are_told() {
    for (resource_type, told) in [("Observation", true), ("Immunization", true), ("Patient", false), ("Condition", false)] {
        for handling in [None, Some(Handling::Strict)] {
            let plan = planned("_lastUpdated=gt2024", &SearchContext { handling, ..of(resource_type, &MODERN) });
            assert_eq!(plan.sent, b"_lastUpdated=gt2024");
            assert_eq!(named(&plan), if told { vec!["_lastUpdated"] } else { vec![] }, "{resource_type}");
        }
        assert!(named(&planned("_revinclude=Provenance:target", &of(resource_type, &MODERN))).is_empty());
    }
}

#[test]
fn a_plan_tells_whether_the_search_was_changed() {
    for (query, changed) in [
        ("", false),
        ("name=A&gender=male", false),
        ("name:exact=A&_revinclude=Provenance:target", false),
        ("name=A&_sort=family", false),
        ("name=A&_count=5", true),
        ("_count=200&_offset=200", true),
        ("name=A&_format=json", true),
        ("_summary=count", true),
        ("_id=Patient/a", true),
        ("name=A&_=1", true),
    ] {
        assert_eq!(planned(query, &of("Patient", &MODERN)).terms.changed, changed, "{query}");
    }
    for (query, form, changed) in [("name=A", "gender=male", true), ("", "name=A", false), ("", "name=A&_count=5", true)] {
        let plan = SearchPlan::new(query.as_bytes(), form.as_bytes(), &of("Patient", &MODERN)).unwrap().unwrap();
        assert_eq!(plan.terms.changed, changed, "{query} {form}");
    }
    assert!(planned("subject=Patient/a", &of("Condition", &MODERN)).terms.changed);
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
        ("patient=Patient/a&subject=Patient/a", "patient=Patient/a"),
        ("_id=Condition/a", "_id=a"),
        ("_id=https://emr/apis/default/fhir/Condition/a,b", "_id=a,b"),
        ("_id=Patient/a", "_id=Patient/a"),
    ] {
        let plan = planned(query, &conditions);
        assert_eq!(String::from_utf8_lossy(&plan.sent), expected);
        assert_eq!(plan.terms.outcome, None, "{query}");
    }
    assert_eq!(sent("_id=Patient/a,b", &of("Patient", &MODERN)), "_id=a,b");
    assert_eq!(refused("_contained=both&_containedType=container", &of("Patient", &MODERN)).whys(), [Why::Operator; 2]);
    assert!(named(&planned("_contained=false&gender=male", &of("Patient", &MODERN))).is_empty());
    // A patient has no subject.
    assert_eq!(refused("subject=Patient/a", &of("Patient", &MODERN)).whys(), [Why::Unusable(Reason::Unknown)]);
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
    let plan = SearchPlan::new(b"name=A&_count=5", b"gender=male&x=1", &leniently("Patient")).unwrap().unwrap();
    assert_eq!(plan.sent, b"name=A&gender=male&_count=6");
    assert_eq!(plan.terms.page_target, "/Patient?name=A&gender=male");
    assert_eq!(named(&plan), ["x"]);
}

#[test]
fn while_nothing_is_known_of_the_server_it_is_asked_what_every_version_knows() {
    let unknown = |resource_type| SearchContext { capabilities: None, ..of(resource_type, &MODERN) };
    assert_eq!(
        sent("subject=Patient/a&_id=Condition/b&_format=json&_pretty=true&_revinclude=Provenance:target", &unknown("Condition")),
        "patient=Patient/a&_id=b&_revinclude=Provenance:target"
    );
    assert_eq!(sent("name:exact=A&birthdate=ge1970&_=1", &unknown("Patient")), "name:exact=A&birthdate=ge1970");
    let paged = planned("patient=1&_count=10&_offset=10", &unknown("Condition"));
    assert_eq!(
        (paged.sent.as_slice(), paged.terms.page),
        (&b"patient=1"[..], Some(Page { offset: 10, count: 10, window: Window::Whole }))
    );
    for (resource_type, query) in [
        ("Condition", "category=problem-list-item"),
        ("Patient", "active=true&nam=A"),
        ("Patient", "_sort=family"),
        ("Specimen", "patient=a"),
        ("Specimen", "_id=a&status=available"),
        ("RelatedPerson", "name=A"),
    ] {
        for handling in [None, Some(Handling::Lenient)] {
            let error =
                SearchPlan::new(query.as_bytes(), b"", &SearchContext { handling, ..unknown(resource_type) }).unwrap_err();
            let rejection = Rejection::from(error);
            assert_eq!((rejection.status, rejection.code), (StatusCode::SERVICE_UNAVAILABLE, IssueCode::Transient), "{query}");
            assert!(rejection.retry_after.is_some());
        }
    }
    // What no version has is refused for good.
    for (query, why) in [
        ("name:missing=true&active=true", Why::Modifier),
        ("patient.name=A", Why::Chain),
        ("_has:Observation:patient:code=1", Why::Operator),
        ("birthdate=notadate", Why::Date),
        ("_id=", Why::Empty),
    ] {
        let refusals = refused(query, &unknown("Patient"));
        assert!(refusals.whys().contains(&why) && !refusals.are_for_now(), "{query}: {refusals}");
        assert_ne!(refusals.code(), IssueCode::Transient, "{query}");
    }
}

#[test]
fn what_is_not_openemr_or_cannot_be_searched_is_not_planned() {
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
    // Without repairs a page that is none is left out as before, and rejected for who wants that.
    let odd = planned("_count=x&foo=1", &paged);
    assert_eq!((odd.sent.as_slice(), named(&odd)), (&b"foo=1"[..], vec!["_count".to_owned()]));
    refused("_count=x&foo=1", &SearchContext { handling: Some(Handling::Strict), ..paged });
    let untouched = planned(query, &SearchContext { pager: Pager::Off, ..paged });
    assert_eq!(untouched.sent, b"name:exact=A&_count=5&_sort=x&_summary=true");
    assert_eq!((untouched.terms.page, untouched.terms.total, untouched.terms.outcome), (None, false, None));
    let native = planned("name=A&_count=5&_offset=5", &SearchContext { pager: Pager::Native, ..of("Patient", &MODERN) });
    assert_eq!(native.sent, b"name=A&_count=5&_offset=5");
    assert!(native.terms.page.is_some());
}

#[test]
fn what_is_about_the_answer_has_one_value_and_one_value_is_sent_once() {
    for (query, form) in [
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
        }
    }
    // Without repairs nothing is tested.
    let raw = SearchContext { repairs: false, ..of("Patient", &MODERN) };
    for (query, form) in [
        ("birthdate=ge1960-01-01&birthdate=lt1980-01-01", ""),
        ("", "birthdate=ge1960-01-01&birthdate=lt1980-01-01"),
        ("birthdate=ge1960-01-01", "birthdate=lt1980-01-01"),
    ] {
        let error = SearchPlan::new(query.as_bytes(), form.as_bytes(), &raw).unwrap_err();
        assert!(matches!(error, SearchError::Repeated(_)) && !error.to_string().contains("1960"), "{error}");
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
        ("Provenance", "_id:not=a"),
        ("Observation", "code=a,b,c,d,e,f,g,h,i,j,k"),
    ] {
        for capabilities in [&MODERN, &OLD] {
            let error = SearchPlan::new(query.as_bytes(), b"", &of(resource_type, capabilities)).unwrap_err();
            assert_eq!(
                matches!(error, SearchError::TakesMinutes(_)),
                resource_type == "Provenance",
                "{resource_type}?{query}: {error}"
            );
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
    let error = SearchPlan::new(many.as_bytes(), b"", &of("Patient", &MODERN)).unwrap_err();
    assert_eq!(error, SearchError::TooManyParameters);
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
        let context = SearchContext { pager, capabilities: Some(capabilities), ..leniently(resource_type) };
        let plan = match SearchPlan::new(query.as_bytes(), b"", &context) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(()),
            Err(_) => return Ok(()),
        };
        let known = &capabilities.types[resource_type].search_parameters;
        for parameter in parameters(&plan.sent) {
            let name = parameter.name.as_ref();
            let base = name.split(':').next().unwrap();
            let is_taken = (known.contains(base) && (base == name || [":exact", ":not"].contains(&&name[base.len()..])))
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
        let context = leniently(resource_type);
        let Ok(Some(first)) = SearchPlan::new(query.as_bytes(), b"", &context) else { return Ok(()) };
        let shown = first.terms.self_target.split_once('?').map_or("", |(_, query)| query);
        let again = planned(shown, &context);
        prop_assert_eq!(&again.terms, &SearchTerms { outcome: again.terms.outcome.clone(), changed: again.terms.changed, ..first.terms });
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
        let capabilities: &'static Capabilities = if old { &OLD } else { &MODERN };
        let context = SearchContext {
            capabilities: Some(capabilities),
            ..leniently(if patients { "Patient" } else { "Condition" })
        };
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

/// What the gateway tests, which no version of OpenEMR is asked.
mod tested;
