use super::*;
use crate::fhir::criteria::{Criteria, Criterion};
use crate::openemr::search::bound;

const UUID: &str = "a34c6c0e-1b2f-4b0e-9b1c-0123456789ab";
const NOBODY: &str = "ffffffff-ffff-4fff-bfff-ffffffffffff";

/// What becomes of a search.
#[derive(Debug, Clone)]
enum Fate {
    /// It is sent so, and these of its filters are tested.
    Done(String, &'static str),
    /// It is refused.
    Refused(Why),
}

fn done(sent: &str, tested: &'static str) -> Fate {
    Fate::Done(sent.to_owned(), tested)
}

/// The criteria of filters, as they are written in a query.
fn criteria(resource_type: &str, filters: &str) -> Criteria {
    let mut criteria = Criteria::default();
    for one in parameters(filters.as_bytes()) {
        criteria.and(Criterion::read(resource_type, &one.name, &one.value).unwrap());
    }
    criteria
}

fn check(query: &str, expected: &Fate, context: &SearchContext<'_>) {
    let what = format!("{}?{query}", context.resource_type);
    match (SearchPlan::new(query.as_bytes(), b"", context), expected) {
        (Ok(Some(plan)), Fate::Done(sent, tested)) => {
            assert_eq!(String::from_utf8_lossy(&plan.sent), *sent, "{what}");
            assert_eq!(plan.terms.criteria, criteria(context.resource_type, tested), "{what}");
            assert_eq!(plan.terms.changed, plan.sent != query.as_bytes(), "{what}");
        }
        (Err(SearchError::Refused(refusals)), Fate::Refused(why)) => assert_eq!(refusals.whys(), [*why], "{what}"),
        (other, expected) => panic!("{what}: {other:?}, not {expected:?}"),
    }
}

/// The parameters that no measured version has, with a value; `true` where 7.0.3 offers the type.
const LACKING: [(&str, &str, bool); 33] = [
    ("AllergyIntolerance", "clinical-status=active", true),
    ("CarePlan", "date=ge2024-01-01", true),
    ("CareTeam", "role=http://snomed.info/sct|1", true),
    ("Condition", "clinical-status=active", true),
    ("Condition", "onset-date=ge2024-01-01T10:00Z", true),
    ("Condition", "recorded-date=2024", true),
    ("Condition", "code=a,b", true),
    ("Condition", "encounter=Encounter/b", true),
    ("Condition", "abatement-date=lt2024", true),
    ("Condition", "asserted-date=lt2024", true),
    ("Device", "type=http://snomed.info/sct|", true),
    ("Device", "status=active,inactive", true),
    ("DiagnosticReport", "status=final", true),
    ("DocumentReference", "status=current", true),
    ("DocumentReference", "period=ge2024", true),
    ("Encounter", "class=AMB", true),
    ("Encounter", "status:not=finished,planned", true),
    ("Encounter", "type=185349003", true),
    ("Encounter", "location=Location/b", true),
    ("Encounter", "discharge-disposition:missing=false", true),
    ("Immunization", "date=sa2024", true),
    ("Immunization", "status=completed", true),
    ("MedicationRequest", "authoredon=ge2024", true),
    ("MedicationRequest", "encounter=b", true),
    ("Observation", "status=preliminary", true),
    ("Patient", "death-date=ge2024", true),
    ("Patient", "active=true", true),
    ("Practitioner", "identifier=http://hl7.org/fhir/sid/us-npi|1", true),
    ("Procedure", "status=completed", true),
    ("Procedure", "code=a", true),
    ("QuestionnaireResponse", "status=completed", false),
    ("RelatedPerson", "name=A", false),
    ("Specimen", "bodysite=a", false),
];

/// Those that 8.0 has, or does wrong, and 7.0.3 does not have.
const LACKING_ON_OLD: [(&str, &str); 10] = [
    ("Condition", "category=problem-list-item"),
    ("Condition", "category=health-concern"),
    ("CarePlan", "status=active"),
    ("Goal", "lifecycle-status=active"),
    ("Goal", "target-date=ge2024"),
    ("Goal", "description=a"),
    ("Location", "address=A"),
    ("Location", "name=A"),
    ("Location", "address-city=A"),
    ("Location", "address-postalcode:exact=1"),
];

fn checks_that_it_is_tested_beside_a_bound(
    resource_type: &'static str,
    filter: &'static str,
    capabilities: &'static Capabilities,
) {
    let context = of(resource_type, capabilities);
    let beside = if resource_type == "Patient" { ["identifier=1", "family=B"] } else { ["patient=a", "subject=Patient/a"] };
    if capabilities.types[resource_type].search_parameters.contains("patient") || resource_type == "Patient" {
        for beside in beside {
            let beside = if resource_type == "AllergyIntolerance" { "patient=a" } else { beside };
            let sent = beside.replace("subject", "patient");
            check(&format!("{beside}&{filter}"), &done(&sent, filter), &context);
            check(&format!("{filter}&{beside}"), &done(&sent, filter), &context);
        }
    }
    check(&format!("_id={UUID}&{filter}"), &done(&format!("_id={UUID}"), filter), &context);
    if bound::is_small(resource_type) {
        return check(filter, &done("", filter), &context);
    }
    // Without a bound it is refused, and the sentence says what would be one.
    for unbounded in [filter.to_owned(), format!("{filter}&_total=none"), format!("{filter}&_count=1")] {
        let refusals = refused(&unbounded, &context);
        assert!(matches!(refusals.whys()[..], [Why::NotSearchable | Why::Modifier]), "{unbounded}: {:?}", refusals.whys());
        let text = refusals.to_string();
        let named = if resource_type == "Patient" { "_id, identifier, family" } else { "patient or _id" };
        assert!(text.contains(&format!("The gateway can test it in a search that has {named}")), "{text}");
    }
}

#[test]
fn what_openemr_lacks_is_tested() {
    for (resource_type, filter, is_old) in LACKING {
        checks_that_it_is_tested_beside_a_bound(resource_type, filter, &MODERN);
        if is_old {
            checks_that_it_is_tested_beside_a_bound(resource_type, filter, &OLD);
        } else {
            assert!(!OLD.types.contains_key(resource_type), "{resource_type}");
        }
    }
    for (resource_type, filter) in LACKING_ON_OLD {
        checks_that_it_is_tested_beside_a_bound(resource_type, filter, &OLD);
    }
}

#[test]
fn what_openemr_does_wrong_is_tested() {
    let both = "http://loinc.org%7C59408-5,http://loinc.org%7C2708-6";
    let fhirs = "status=completed";
    for (resource_type, query, modern, old) in [
        // Asked otherwise.
        (
            "Encounter",
            format!("identifier={UUID}"),
            done(&format!("_id={UUID}"), IDENTIFIER),
            Some(done(&format!("_id={UUID}"), IDENTIFIER)),
        ),
        ("Encounter", "identifier=nonsense".into(), done(&format!("_id={NOBODY}"), "identifier=nonsense"), None),
        ("Observation", format!("_id=nonsense,{UUID}"), done(&format!("_id={UUID}"), ""), Some(done(&format!("_id={UUID}"), ""))),
        ("Observation", "_id=nonsense".into(), done(&format!("_id={NOBODY}"), ""), None),
        (
            "Observation",
            "code=59408-5".into(),
            done(&format!("code={both}"), "code=59408-5"),
            Some(done(&format!("code={both}"), "code=59408-5")),
        ),
        ("Observation", "patient=a&code=2708-6".into(), done("patient=a", "code=2708-6"), Some(done("patient=a", "code=2708-6"))),
        // Only tested.
        (
            "Condition",
            "category=problem-list-item".into(),
            done("category=problem-list-item", ""),
            Some(Fate::Refused(Why::NotSearchable)),
        ),
        (
            "Condition",
            "category=problem-list-item&patient=a".into(),
            done("patient=a", "category=problem-list-item"),
            Some(done("patient=a", "category=problem-list-item")),
        ),
        ("Condition", "category=health-concern&patient=a".into(), done("patient=a", "category=health-concern"), None),
        ("Condition", "category=health-concern".into(), Fate::Refused(Why::Category), Some(Fate::Refused(Why::NotSearchable))),
        (
            "Condition",
            "category=encounter-diagnosis&clinical-status=active".into(),
            done("category=encounter-diagnosis", "clinical-status=active"),
            None,
        ),
        ("Practitioner", "name=A".into(), done("", "name=A"), Some(done("", "name=A"))),
        ("Practitioner", "name=A&family=B".into(), done("family=B", "name=A"), Some(done("family=B", "name=A"))),
        (
            "Organization",
            "address=A&address-city=B".into(),
            done("address-city=B", "address=A"),
            Some(done("address-city=B", "address=A")),
        ),
        ("Location", "name=A&address=B".into(), done("name=A&address=B", ""), Some(done("", "name=A&address=B"))),
        ("Goal", "patient=a&description=b".into(), done("patient=a", "description=b"), Some(done("patient=a", "description=b"))),
        (
            "Goal",
            "patient=a&target-date=ge2024".into(),
            done("patient=a", "target-date=ge2024"),
            Some(done("patient=a", "target-date=ge2024")),
        ),
        (
            "Goal",
            "patient=a&lifecycle-status=active".into(),
            done("patient=a&lifecycle-status=active", ""),
            Some(done("patient=a", "lifecycle-status=active")),
        ),
        ("MedicationDispense", "patient=a&status=completed".into(), done("patient=a", fhirs), None),
        ("ServiceRequest", "patient=a&status=completed".into(), done("patient=a", fhirs), None),
        ("ServiceRequest", "patient=a&status=active".into(), done("patient=a", "status=active"), None),
        ("ServiceRequest", "status=complete".into(), done("status=complete", ""), None),
        ("DiagnosticReport", "patient=a&code=UNK".into(), done("patient=a", "code=UNK"), Some(done("patient=a", "code=UNK"))),
        ("DiagnosticReport", "patient=a&code=11502-2".into(), done("patient=a&code=11502-2", ""), None),
        ("DocumentReference", "patient=a&type=UNK".into(), done("patient=a", "type=UNK"), Some(done("patient=a", "type=UNK"))),
        (
            "Observation",
            "patient=a&code=8867-4,9279-1".into(),
            done("patient=a", "code=8867-4,9279-1"),
            Some(done("patient=a", "code=8867-4,9279-1")),
        ),
        ("Encounter", "patient=a&date=ge2024".into(), done("patient=a", "date=ge2024"), Some(done("patient=a", "date=ge2024"))),
        ("Encounter", format!("date=2024&_id={UUID}"), done(&format!("_id={UUID}"), "date=2024"), None),
        ("Encounter", "date=lt2024".into(), done("date=lt2024", ""), Some(done("date=lt2024", ""))),
        // What OpenEMR cannot read.
        ("Observation", "patient=a&date=ge2024-01-01T10:00Z".into(), done("patient=a", "date=ge2024-01-01T10:00Z"), None),
        ("Observation", "date=ge2024-01-01T10:00Z".into(), Fate::Refused(Why::Date), None),
        ("Observation", "patient=a&date=yesterday".into(), Fate::Refused(Why::Date), Some(Fate::Refused(Why::Date))),
        ("Observation", "patient=a&code=http://loinc.org|".into(), done("patient=a", "code=http://loinc.org|"), None),
        ("Observation", "patient=a&code:not=8867-4,9279-1".into(), done("patient=a", "code:not=8867-4,9279-1"), None),
        ("Observation", "code:not=8867-4".into(), done("code:not=8867-4", ""), None),
        ("Observation", "patient=a&code:not=8867-4".into(), done("patient=a", "code:not=8867-4"), None),
        ("Patient", r"family=A&given=B\,C".into(), done("family=A", r"given=B\,C"), Some(done("family=A", r"given=B\,C"))),
        ("Patient", "identifier=1&family=a_b".into(), done("identifier=1", "family=a_b"), None),
        ("Patient", "identifier=1&phone:not=2".into(), done("identifier=1", "phone:not=2"), None),
    ] {
        check(&query, &modern, &of(resource_type, &MODERN));
        if let Some(old) = old {
            check(&query, &old, &of(resource_type, &OLD));
        }
    }
    for (resource_type, query) in [
        ("Goal", "description=a"),
        ("Goal", "target-date=2024"),
        ("MedicationDispense", "status=completed"),
        ("ServiceRequest", "status=completed"),
        ("DiagnosticReport", "code=UNK"),
        ("DocumentReference", "type=UNK"),
        ("DiagnosticReport", "code=UNK,a"),
        ("Observation", "code=a,b,c,d,e,f,g,h,i,j,k"),
        ("Observation", "code:not=59408-5"),
    ] {
        let refusals = refused(query, &of(resource_type, &MODERN));
        assert!(matches!(refusals.whys()[..], [Why::Broken(_)]), "{query}: {refusals}");
        let text = refusals.to_string();
        assert!(text.contains("cannot be searched") && text.contains("in a search that has patient or _id"), "{text}");
    }
}

#[test]
fn bare_codes_are_asked_one_by_one_and_tested() {
    const BOTH: &str = "code=http://loinc.org%7C59408-5,http://loinc.org%7C2708-6";
    for (query, sent, pieces, tested) in [
        ("code=a,b", "", vec!["code=a", "code=b"], "code=a,b"),
        ("code=s|a,b,b", "", vec!["code=b", "code=s%7Ca"], "code=s|a,b,b"),
        ("code=a,59408-5", "", vec!["code=a", BOTH], "code=a,59408-5"),
        ("code=a,b&category=x", "category=x", vec!["category=x&code=a", "category=x&code=b"], "code=a,b"),
        ("code=a,b&code=b,c", "", vec!["code=a", "code=b"], "code=a,b&code=b,c"),
        // One that can be asked is enough.
        ("code=a,b&code=b", "code=b", vec![], "code=a,b"),
        ("code=a,b&patient=p", "patient=p", vec![], "code=a,b"),
        ("code=a,b,c,d,e,f,g,h,i,j,k&patient=p", "patient=p", vec![], "code=a,b,c,d,e,f,g,h,i,j,k"),
        ("code=s|a,s|b", "code=s|a,s|b", vec![], ""),
    ] {
        for capabilities in [&MODERN, &OLD] {
            let plan = planned(query, &of("Observation", capabilities));
            let told: Vec<_> = plan.pieces.iter().map(|piece| String::from_utf8_lossy(piece)).collect();
            assert_eq!(
                (told, String::from_utf8_lossy(&plan.sent).as_ref()),
                (pieces.iter().map(|one| (*one).into()).collect(), sent),
                "{query}"
            );
            assert_eq!(plan.terms.criteria, criteria("Observation", tested), "{query}");
            let shown = plan.terms.self_target.replace("%7C", "|");
            assert_eq!(shown, format!("/Observation?{query}"));
        }
    }
    let page = planned("code=a,b&_count=5&_offset=10", &of("Observation", &MODERN));
    assert_eq!(page.terms.page, Some(Page { offset: 10, count: 5, window: Window::Whole }));
    assert_eq!(page.pieces, [b"code=a", b"code=b"]);
}

const IDENTIFIER: &str = "identifier=a34c6c0e-1b2f-4b0e-9b1c-0123456789ab";

#[test]
fn of_two_filters_of_a_kind_one_is_asked_and_the_other_tested() {
    for (resource_type, query, form, sent, tested) in [
        ("Patient", "birthdate=lt1980-01-01&birthdate=ge1960-01-01", "", "birthdate=ge1960-01-01", "birthdate=lt1980-01-01"),
        ("Patient", "", "birthdate=ge1960-01-01&birthdate=lt1980-01-01", "birthdate=ge1960-01-01", "birthdate=lt1980-01-01"),
        ("Patient", "birthdate=ge1960-01-01", "birthdate=lt1980-01-01", "birthdate=ge1960-01-01", "birthdate=lt1980-01-01"),
        ("Patient", "birthdate=ge1960&birthdate=1970-01-01", "", "birthdate=1970-01-01", "birthdate=ge1960"),
        ("Patient", "birthdate=ge1960&birthdate=1970-01-01T10:00Z", "", "birthdate=ge1960", "birthdate=1970-01-01T10:00Z"),
        ("Patient", "family=A&family:exact=B", "", "family:exact=B", "family=A"),
        ("Patient", "family=A,B&gender=male&family=A", "", "gender=male&family=A", "family=A,B"),
        ("Patient", "name=A&name=B&name:contains=C", "", "name=A", "name=B&name:contains=C"),
        ("Patient", "gender:not=male&gender=female,other", "", "gender=female,other", "gender:not=male"),
        ("Patient", "gender:not=male", "gender:not=female", "gender:not=female", "gender:not=male"),
        ("Patient", "gender=male&gender:missing=false", "", "gender=male", "gender:missing=false"),
        ("Patient", "_id=a&_id=b", "", "_id=a", "_id=b"),
        ("Patient", "_lastUpdated=ge2024&_lastUpdated=lt2025", "", "_lastUpdated=ge2024", "_lastUpdated=lt2025"),
        ("Condition", "patient=a&subject=Patient/b", "", "patient=Patient/b", "patient=a"),
        (
            "Condition",
            "category=problem-list-item&category=encounter-diagnosis",
            "",
            "category=encounter-diagnosis",
            "category=problem-list-item",
        ),
        ("Observation", "patient=a&date=ge2024&date=lt2025", "", "patient=a&date=ge2024", "date=lt2025"),
        (
            "Observation",
            "code=http://loinc.org|1",
            "code=http://loinc.org|1,http://loinc.org|2",
            "code=http://loinc.org|1",
            "code=http://loinc.org|1,http://loinc.org|2",
        ),
        ("Encounter", "date=ge2024&date=lt2025", "", "date=ge2024", "date=lt2025"),
        ("Encounter", "_id=a&identifier=b", "", "_id=a", "identifier=b"),
        ("Encounter", "patient=a&date=ge2024&date=lt2025", "", "patient=a", "date=ge2024&date=lt2025"),
    ] {
        for (capabilities, is_old) in [(&MODERN, false), (&OLD, true)] {
            if is_old && query.contains("category") {
                continue;
            }
            let plan = SearchPlan::new(query.as_bytes(), form.as_bytes(), &of(resource_type, capabilities)).unwrap().unwrap();
            assert_eq!(String::from_utf8_lossy(&plan.sent), sent, "{query} {form}");
            assert_eq!(plan.terms.criteria, criteria(resource_type, tested), "{query} {form}");
            let shown = plan.terms.self_target.split_once('?').unwrap().1.to_owned();
            let all = [query, form].join("&");
            let all = all.split('&').filter(|one| !one.is_empty());
            assert_eq!(shown, all.collect::<Vec<_>>().join("&").replace("subject", "patient").replace('|', "%7C"));
        }
    }
}

#[test]
fn a_page_of_what_is_tested_is_cut_out_of_the_whole() {
    for resource_type in ["Observation", "Encounter"] {
        let plan = planned("patient=a&status=final&_count=5&_offset=10", &of(resource_type, &MODERN));
        assert_eq!(plan.sent, b"patient=a");
        assert_eq!(plan.terms.page, Some(Page { offset: 10, count: 5, window: Window::Whole }));
        assert_eq!(plan.terms.self_target, format!("/{resource_type}?patient=a&status=final&_count=5&_offset=10"));
        assert_eq!(plan.terms.page_target, format!("/{resource_type}?patient=a&status=final"));
        assert!(plan.terms.total && plan.terms.changed);
    }
    let counted = planned("_id=a&active=true&_summary=count", &of("Patient", &MODERN));
    assert_eq!((counted.sent.as_slice(), counted.terms.entries, counted.terms.total), (&b"_id=a"[..], false, true));
    assert_eq!(counted.terms.criteria, criteria("Patient", "active=true"));
    for pager in [Pager::Native, Pager::Off] {
        let plan = planned("_id=a&active=true&_count=5", &SearchContext { pager, ..of("Patient", &MODERN) });
        assert_eq!((plan.sent.as_slice(), plan.terms.page, named(&plan)), (&b"_id=a"[..], None, vec!["_count".to_owned()]));
    }
}

#[test]
fn a_date_that_is_compared_by_the_start_alone_is_told() {
    for (query, is_told) in [
        ("date=ge2024", true),
        ("date=gt2024-01-01", true),
        ("date=2024-02", true),
        ("date=eb2024", true),
        ("date=lt2024,ge2025", true),
        ("date=lt2024", false),
        ("date=le2024", true),
        ("date=lt2024,sa2025", false),
        ("date=lt2025&date=ge2024", true),
        ("date=ge2024&patient=a", false),
        ("date=ge2024&_id=a", false),
    ] {
        for capabilities in [&MODERN, &OLD] {
            let plan = planned(query, &of("Encounter", capabilities));
            assert_eq!(named(&plan), if is_told { vec!["date"] } else { vec![] }, "{query}");
            let strict = SearchContext { handling: Some(Handling::Strict), ..of("Encounter", capabilities) };
            match is_told {
                true => assert_eq!(refused(query, &strict).whys(), [Why::Unusable(Reason::ByTheStart)]),
                false => drop(planned(query, &strict)),
            }
        }
    }
    assert!(named(&planned("date=ge2024", &of("Observation", &MODERN))).is_empty());
}

#[test]
fn nothing_is_tested_without_the_repairs() {
    for query in ["patient=a&status=final", "patient=a&date=ge2024-01-01T10:00Z"] {
        let plan = planned(query, &SearchContext { repairs: false, ..of("Observation", &MODERN) });
        assert!(plan.sent == query.as_bytes() && plan.terms.criteria.is_empty(), "{query}");
    }
}

#[test]
fn while_nothing_is_known_of_the_server_what_is_tested_is_right_in_every_version() {
    for (resource_type, query, sent, tested) in [
        ("Encounter", "patient=a&status=finished", "patient=a", "status=finished"),
        ("Condition", "patient=a&category=problem-list-item", "patient=a", "category=problem-list-item"),
        ("Location", "name=A", "", "name=A"),
        ("Patient", "_id=a&active=true", "_id=a", "active=true"),
        ("Patient", "birthdate=ge1960&birthdate=lt1980", "birthdate=ge1960", "birthdate=lt1980"),
    ] {
        let unknown = SearchContext { capabilities: None, ..of(resource_type, &MODERN) };
        check(query, &done(sent, tested), &unknown);
    }
}

proptest! {
    /// What leaves has each name once, and every filter that self shows is either asked as it stands there or tested.
    #[test]
    fn every_filter_has_one_fate(query in any_query(), form in any_query(), resource_type in any_type(), old in any::<bool>()) {
        let context = of(resource_type, if old { &OLD } else { &MODERN });
        let Ok(Some(plan)) = SearchPlan::new(query.as_bytes(), form.as_bytes(), &context) else { return Ok(()) };
        let sent: Vec<_> = parameters(&plan.sent).map(|one| (one.name.into_owned(), one.value.into_owned())).collect();
        let fields: std::collections::BTreeSet<_> = sent.iter().map(|(name, _)| name.split(':').next().unwrap()).collect();
        prop_assert_eq!(fields.len(), sent.len(), "{:?}", sent);
        let shown = plan.terms.self_target.split_once('?').map_or("", |(_, query)| query).as_bytes();
        let of_answer = ["_count", "_offset", "_sort", "_total", "_summary", "_elements", "_pretty", "_revinclude"];
        let filters = parameters(shown).filter(|one| !of_answer.contains(&one.name.as_ref()));
        let is_sent = |one: &query::Parameter<'_>| sent.iter().any(|(name, value)| *name == one.name && *value == one.value);
        let tested: Vec<_> = filters.filter(|one| !is_sent(one)).collect();
        // An id that no Observation can have is not asked.
        if resource_type != "Observation" || !tested.iter().any(|one| one.name == "_id") {
            let tested: Vec<_> = tested.iter().map(|one| String::from_utf8_lossy(one.pair)).collect();
            prop_assert_eq!(&plan.terms.criteria, &criteria(resource_type, &tested.join("&")), "{}", query);
        }
    }
}
