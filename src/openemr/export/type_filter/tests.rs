use super::*;
use proptest::prelude::*;
use serde_json::json;

fn read(values: &[&str]) -> Result<Read, BadFilter> {
    TypeFilter::read(values, None)
}

/// The searches of each type, as text.
fn searches(values: &[&str]) -> Vec<(String, Vec<String>)> {
    let pair = |(name, value): &(String, String)| format!("{name}={value}");
    let of = |filter: TypeFilter| {
        let searches = filter.searches.iter().map(|search| search.iter().map(pair).collect::<Vec<_>>().join(" & "));
        (filter.resource_type.clone(), searches.collect())
    };
    read(values).unwrap().filters.into_iter().map(of).collect()
}

fn one(of: &str, searches: &[&str]) -> (String, Vec<String>) {
    (of.to_owned(), searches.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn a_comma_stands_between_two_searches_or_two_values() {
    for (values, expected) in [
        (&["Encounter?status=finished"][..], vec![one("Encounter", &["status=finished"])]),
        (&["Encounter?status=finished,planned"], vec![one("Encounter", &["status=finished,planned"])]),
        (&["Encounter?status=finished%2Cplanned"], vec![one("Encounter", &["status=finished,planned"])]),
        (&["Encounter?status=a,Encounter?status=b"], vec![one("Encounter", &["status=a", "status=b"])]),
        (&["Encounter?status=a", "Encounter?status=b"], vec![one("Encounter", &["status=a", "status=b"])]),
        (&["Encounter?status=a&status=b"], vec![one("Encounter", &["status=a & status=b"])]),
        (&["Encounter?status=a,b, Encounter?status=c"], vec![one("Encounter", &["status=a,b", "status=c"])]),
        (&["", ",Encounter?status=a"], vec![one("Encounter", &["status=a"])]),
        (&["Encounter?status=a%20b%26c"], vec![one("Encounter", &["status=a b&c"])]),
        (&["Encounter?status=a?b,c"], vec![one("Encounter", &["status=a?b,c"])]),
    ] {
        assert_eq!(searches(values), expected, "{values:?}");
    }
}

#[test]
fn the_plus_of_a_zone_stays_one() {
    for (written, expected) in [
        ("date=gt2024-01-01T00:00:00+02:00", "date=gt2024-01-01T00:00:00%2B02:00"),
        ("date=gt2024-01-01T00:00:00%2B02:00", "date=gt2024-01-01T00:00:00%2B02:00"),
        ("name=A+B&x=1+02", "name=A+B&x=1+02"),
    ] {
        assert_eq!(with_zones(written), expected);
    }
}

#[test]
fn what_cannot_be_tested_is_named_and_no_value_is() {
    for (value, words) in [
        ("Jane", "no search"),
        ("status=Jane", "no search"),
        ("?status=Jane", "does not have"),
        ("Encountr?status=Jane", "does not have"),
        ("Encounter?status=planned,Encountr?status=Jane", "does not have"),
        ("Encounter?", "missing"),
        ("Encounter?status=planned,", "the parameter status of Encounter has a value"),
        ("Encounter?status=", "missing"),
        ("Encounter?&&", "missing"),
        ("Encounter?shoe=Jane", "the parameter shoe of Encounter"),
        ("Encounter?status=planned&shoe=Jane", "the parameter shoe of Encounter"),
        ("Encounter?patient.name=Jane", "the parameter patient.name of Encounter"),
        ("Encounter?Jane%20Doe=1", "a parameter of Encounter"),
        ("Encounter?_has:Observation:patient:code=Jane", "_has:Observation:patient:code"),
        ("Encounter?_include=Encounter:Jane", "the parameter _include"),
        ("Encounter?_revinclude=Jane", "the parameter _revinclude"),
        ("Encounter?status=planned&_count=1", "the parameter _count"),
        ("Encounter?patient=http://gw/fhir/Patient/Jane", "the parameter patient of Encounter has a value"),
        ("Encounter?date=Jane", "the parameter date of Encounter has a value"),
        ("Encounter?status:in=Jane", "the parameter status:in of Encounter has a modifier"),
    ] {
        let told = read(&[value]).unwrap_err().to_string();
        assert!(told.contains(words) && told.starts_with("_typeFilter") && !told.contains("Jane"), "{value}: {told}");
        if !value.contains("_count") {
            assert_eq!(TypeFilter::read(&[value], Some(Handling::Lenient)).unwrap_err().to_string(), told, "never left out");
        }
    }
    let many = vec!["Encounter?status=a"; MAX_SEARCHES + 1];
    assert_eq!(read(&many), Err(BadFilter::TooMany));
    assert!(read(&many[1..]).is_ok());
    let long = format!("Encounter?{}", "status=a&".repeat(MAX_PARAMETERS + 1));
    assert_eq!(read(&[&long]), Err(BadFilter::TooMany));
}

#[test]
fn what_says_how_an_answer_is_written_is_left_out_leniently_and_a_criterion_must_be_left() {
    let lenient = |value: &str| TypeFilter::read(&[value], Some(Handling::Lenient));
    let left = lenient("Encounter?status=planned&_count=5&_sort=date&_count=6").unwrap();
    assert_eq!(left.of_the_answer, ["_count", "_sort"]);
    assert_eq!(left.filters, read(&["Encounter?status=planned"]).unwrap().filters);
    assert_eq!(lenient("Encounter?_count=5"), Err(BadFilter::Empty("Encounter")));
}

#[test]
fn a_resource_passes_that_one_search_finds() {
    let filters = read(&["Encounter?status=planned,Encounter?status=finished&_id=a"]).unwrap().filters;
    let stored = serde_json::to_vec(&filters).unwrap();
    let filters: Vec<TypeFilter> = serde_json::from_slice(&stored).unwrap();
    let test = filters.first().unwrap().test().unwrap();
    for (status, id, passes) in
        [("planned", "b", true), ("finished", "a", true), ("finished", "b", false), ("arrived", "a", false)]
    {
        let resource = json!({"resourceType": "Encounter", "id": id, "status": status}).to_string();
        assert_eq!(test.is_passed_by(resource.as_bytes()), Ok(passes), "{status} {id}");
    }
    assert!(test.is_passed_by(b"<br />").is_err());
    assert!(!filters.first().unwrap().asks_for_times());
    assert!(read(&["Encounter?_lastUpdated=gt2024"]).unwrap().filters.first().unwrap().asks_for_times());
}

#[test]
fn a_stored_filter_that_cannot_be_read_again_tests_nothing() {
    for stored in [
        json!({"type": "Encounter", "searches": [[["shoe", "1"]]]}),
        json!({"type": "Encounter", "searches": [[]]}),
        json!({"type": "Encounter", "searches": []}),
        json!({"type": "Encountr", "searches": [[["status", "planned"]]]}),
    ] {
        let filter: TypeFilter = serde_json::from_value(stored.clone()).unwrap();
        assert!(filter.test().is_none(), "{stored}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_and_every_filter_that_is_read_can_be_tested(value in "(Encounter|Patient|X)?[?]?([a-z_:]{0,8}[=&,+%?]{0,2}[ -~é]{0,6}){0,4}") {
        if let Ok(Read { filters, .. }) = read(&[&value]) {
            for filter in filters {
                prop_assert!(filter.test().is_some());
            }
        }
    }
}
