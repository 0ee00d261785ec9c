use super::*;
use proptest::prelude::*;

const GRANTED: [&str; 6] = ["Patient", "Observation", "ValueSet", "Medication", "Coverage", "Provenance"];

fn validate(query: &str, handling: Option<Handling>) -> Result<KickOff, KickOffError> {
    validate_at(Level::Patient, query, handling)
}

fn validate_at(level: Level, query: &str, handling: Option<Handling>) -> Result<KickOff, KickOffError> {
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    KickOff::validate(level, &parameters, handling, &everything(&GRANTED))
}

fn everything<'a>(granted: &'a [&'static str]) -> May<'a> {
    May { granted, version: None, have_type: &|_| true, have_patient: &|_| true }
}

fn names(kick_off: &KickOff) -> Vec<&'static str> {
    kick_off.types.iter().map(|(name, _)| *name).collect()
}

#[test]
fn no_types_means_all_that_are_granted_and_exported_there() {
    let kick_off = validate("", None).unwrap();
    assert_eq!(names(&kick_off), ["Patient", "Observation", "Coverage"]);
    assert_eq!(kick_off.provenance_of, names(&kick_off));
    assert_eq!(kick_off.left_out, [LeftOut::UnsupportedUnnamed("Medication".to_owned())]);
    let system = validate_at(Level::System, "_type=", Some(Handling::Strict)).unwrap();
    assert_eq!(names(&system), ["Patient", "Observation", "ValueSet", "Coverage"]);
    assert!(kick_off.types.iter().all(|(_, named)| !named));
}

#[test]
fn provenance_is_that_of_the_types_of_the_export_or_of_all_others() {
    for (query, types, of) in [
        ("_type=Patient,Provenance", &["Patient"][..], &["Patient"][..]),
        ("_type=Provenance", &[], &["Patient", "Observation", "Coverage"]),
        ("_type=Patient", &["Patient"], &[]),
    ] {
        let kick_off = validate(query, None).unwrap();
        assert_eq!((names(&kick_off).as_slice(), kick_off.provenance_of.as_slice()), (types, of), "{query}");
    }
    for (query, left_out, status) in [
        ("_type=Medication,Provenance", LeftOut::Unsupported("Medication".to_owned()), 400),
        ("_type=ValueSet,Provenance", LeftOut::NotExported("ValueSet".to_owned()), 400),
        ("_type=Goal,Provenance", LeftOut::NotGranted("Goal".to_owned()), 403),
    ] {
        let refusal = validate(query, Some(Handling::Lenient)).unwrap_err();
        assert_eq!((refusal.to_string(), refusal.status().as_u16()), (left_out.to_string(), status), "not that of all types");
    }
    let parameters = [("_type".to_owned(), "Provenance".to_owned())];
    let alone = KickOff::validate(Level::System, &parameters, None, &everything(&["Provenance", "Medication"]));
    assert_eq!(alone, Err(KickOffError::NothingForProvenance));
}

#[test]
fn a_type_that_openemr_does_not_export_takes_no_other_with_it() {
    let unsupported = |name: &str| LeftOut::Unsupported(name.to_owned());
    for handling in [None, Some(Handling::Lenient)] {
        let kick_off = validate("_type=Medication,Patient", handling).unwrap();
        assert_eq!((names(&kick_off), kick_off.left_out), (vec!["Patient"], vec![unsupported("Medication")]));
        // Also where the token does not grant it.
        assert_eq!(validate("_type=Patient,PractitionerRole", handling).unwrap().left_out, [unsupported("PractitionerRole")]);
        let refusal = validate("_type=Medication", handling).unwrap_err();
        assert_eq!(refusal, KickOffError::NotSupported(vec![unsupported("Medication")]));
    }
    let refusal = validate("_type=Medication,Patient", Some(Handling::Strict)).unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.code()), (400, IssueCode::NotSupported));
    let on = |version| {
        let parameters = [("_type".to_owned(), "Coverage,Patient".to_owned())];
        names(
            &KickOff::validate(Level::System, &parameters, None, &May { version: Some(version), ..everything(&GRANTED) })
                .unwrap(),
        )
    };
    assert_eq!((on(Version::Old), on(Version::Modern)), (vec!["Patient"], vec!["Patient", "Coverage"]));
}

#[test]
fn what_selects_resources_is_never_left_out() {
    for (query, name) in [("_typeFilter=Patient%3Fshoe%3DJane", "_typeFilter"), ("patient=Patient/1", "patient")] {
        for handling in [None, Some(Handling::Strict), Some(Handling::Lenient)] {
            let refusal = validate(query, handling).unwrap_err();
            assert_eq!(refusal.status().as_u16(), 400, "{query}");
            let told = refusal.to_string();
            assert!(told.contains(name) && !told.contains("was left out") && !told.contains("Jane"), "{told}");
        }
    }
}

#[test]
fn types_may_be_listed_and_repeated() {
    for query in ["_type=Observation,Patient", "_type=Observation&_type=Patient", "_type=Observation%2CPatient,%20Observation"] {
        let kick_off = validate(query, Some(Handling::Strict)).unwrap();
        assert_eq!(kick_off.types, [("Patient", true), ("Observation", true)], "{query}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_unless_leniency_is_asked_for() {
    for (query, status, left_out) in [
        ("_elements=id", 400, LeftOut::Parameter("_elements".to_owned())),
        ("includeAssociatedData=x", 400, LeftOut::Parameter("includeAssociatedData".to_owned())),
        ("Jane=Doe", 400, LeftOut::UnknownParameter),
        ("_type=Patient,Jane", 400, LeftOut::UnknownType),
        ("_type=Patient,ValueSet", 400, LeftOut::NotExported("ValueSet".to_owned())),
        ("_type=Patient,Goal", 403, LeftOut::NotGranted("Goal".to_owned())),
    ] {
        for handling in [None, Some(Handling::Strict)] {
            let refusal = validate(query, handling).unwrap_err();
            assert_eq!((refusal.status().as_u16(), refusal.to_string()), (status, left_out.refusal()), "{query}");
            assert!(!refusal.to_string().contains("was left out"), "{refusal}");
        }
        let mut kick_off = validate(query, Some(Handling::Lenient)).unwrap();
        kick_off.left_out.retain(|left| !matches!(left, LeftOut::UnsupportedUnnamed(_)));
        assert_eq!(kick_off.left_out, [left_out], "{query}");
    }
    let nothing_left = validate("_type=Goal,CarePlan", Some(Handling::Lenient)).unwrap_err();
    assert_eq!(nothing_left.status().as_u16(), 403);
    assert!(nothing_left.to_string().contains("system/Goal.read") && nothing_left.to_string().contains("system/CarePlan.read"));
    assert_eq!(validate("_type=Jane", Some(Handling::Lenient)).unwrap_err().status().as_u16(), 403);
}

#[test]
fn formats_are_ndjson_in_three_spellings() {
    for good in ["application/fhir%2Bndjson", "application/fhir+ndjson", "application/ndjson", "ndjson", "NDJSON"] {
        assert!(validate(&format!("_outputFormat={good}"), None).is_ok(), "{good}");
    }
    for bad in ["text/csv", "", "application/fhir%2Bjson"] {
        assert_eq!(
            validate(&format!("_outputFormat={bad}"), Some(Handling::Lenient)).unwrap_err().status().as_u16(),
            400,
            "{bad}"
        );
    }
}

#[test]
fn since_is_an_instant() {
    let since = |query: &str| validate(query, Some(Handling::Lenient)).map(|kick_off| kick_off.since);
    let zoned = Some("2026-11-24T02:28:30+01:00".to_owned());
    assert_eq!(since("_since=2026-11-24T02:28:30+01:00"), Ok(zoned));
    assert_eq!(since("_since="), Ok(None));
    assert!(since("_since=2026-11-24T02:28:30Z&_since=2026-11-24T03:28:30+01:00").is_ok(), "the same moment");
    assert_eq!(since("_since=2026-11-24T02:28:30Z&_since=2026-11-24T02:28:31Z"), Err(KickOffError::SinceTwice));
    assert_eq!(since("_since=2026-11-24").unwrap_err().status().as_u16(), 400);
}

#[test]
fn what_could_name_a_patient_is_not_kept() {
    for (query, kept) in [
        ("_type=Patient&_since=2026-11-24T02:28:30Z", "_type=Patient&_since=2026-11-24T02:28:30Z"),
        ("%5Ftype=a%2Cb&patient=Jane&_outputFormat=ndjson", "%5Ftype=a%2Cb&_outputFormat=ndjson"),
        // Kept with the plan, which cannot do without.
        ("_typeFilter=Patient%3Fname%3DJane&x=Jane", "_typeFilter=Patient%3Fname%3DJane"),
        ("Jane", ""),
        ("", ""),
    ] {
        assert_eq!(honoured_query(query), kept, "{query}");
    }
}

fn filtered(query: &str, handling: Option<Handling>) -> Result<KickOff, KickOffError> {
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    KickOff::validate(Level::System, &parameters, handling, &everything(&["Patient", "Encounter", "Provenance"]))
}

#[test]
fn a_filter_is_of_a_type_of_the_export() {
    let of = |kick_off: &KickOff| kick_off.filters.iter().map(|filter| filter.resource_type.clone()).collect::<Vec<_>>();
    for query in [
        "_type=Encounter&_typeFilter=Encounter?status=planned",
        "_type=Encounter,Patient&_typeFilter=Encounter%3Fstatus%3Dplanned",
    ] {
        assert_eq!(of(&filtered(query, None).unwrap()), ["Encounter"], "{query}");
    }
    for query in ["_type=Patient&_typeFilter=Encounter?status=planned", "_typeFilter=Goal?_id=1"] {
        let told = filtered(query, None).unwrap_err();
        assert!(
            told.status() == StatusCode::BAD_REQUEST && told.to_string().contains("which the export does not hold"),
            "{told}"
        );
        let lenient = filtered(query, Some(Handling::Lenient)).unwrap();
        assert!(lenient.filters.is_empty() && matches!(lenient.left_out.as_slice(), [LeftOut::FilterOfOther(_)]), "{query}");
    }
    // What becomes of the type is told already.
    let lenient = filtered("_type=Patient,Goal&_typeFilter=Goal?_id=1", Some(Handling::Lenient)).unwrap();
    assert_eq!((lenient.left_out, lenient.filters), (vec![LeftOut::NotGranted("Goal".to_owned())], Vec::new()));
    let untestable = filtered("_type=Encounter&_typeFilter=Encounter?shoe=1", Some(Handling::Lenient)).unwrap_err();
    assert_eq!((untestable.status(), untestable.code()), (StatusCode::BAD_REQUEST, IssueCode::NotSupported));
    let counted = "_type=Encounter&_typeFilter=Encounter?status=planned%26_count=1";
    assert_eq!(filtered(counted, None).unwrap_err().status(), StatusCode::BAD_REQUEST);
    assert_eq!(filtered(counted, Some(Handling::Lenient)).unwrap().left_out, [LeftOut::InFilter("_count".to_owned())]);
}

#[test]
fn provenance_of_what_was_filtered_away_is_never_exported() {
    let of = |name: &str| name.to_owned();
    let search = "_typeFilter=Encounter?status=planned";
    let all = filtered(search, None).unwrap();
    assert_eq!((names(&all), all.provenance_of.as_slice()), (vec!["Patient", "Encounter"], &["Patient"][..]));
    assert_eq!(all.left_out, [LeftOut::FilteredProvenanceUnnamed(of("Encounter"))]);
    for query in [format!("_type=Encounter,Provenance&{search}"), format!("_type=Encounter,Patient,Provenance&{search}")] {
        let refused = filtered(&query, None).unwrap_err();
        assert_eq!(refused, KickOffError::NotSupported(vec![LeftOut::FilteredProvenance(of("Encounter"))]));
        let lenient = filtered(&query, Some(Handling::Lenient)).unwrap();
        assert!(lenient.types.contains(&("Encounter", true)) && !lenient.provenance_of.contains(&"Encounter"), "{query}");
    }
    let alone = format!("_type=Provenance&{search}");
    assert_eq!(filtered(&alone, Some(Handling::Lenient)).unwrap().provenance_of, ["Patient"]);
    let parameters =
        [("_type".to_owned(), "Provenance".to_owned()), ("_typeFilter".to_owned(), "Encounter?status=planned".to_owned())];
    let nothing =
        KickOff::validate(Level::System, &parameters, Some(Handling::Lenient), &everything(&["Encounter", "Provenance"]));
    assert_eq!(nothing, Err(KickOffError::NothingForProvenance));
}

proptest! {
    #[test]
    fn nothing_that_a_caller_writes_panics_or_is_kept(query in ".{0,60}", lenient in any::<bool>()) {
        let _ = honoured_query(&query);
        if let Ok(kick_off) = validate(&query, lenient.then_some(Handling::Lenient)) {
            prop_assert!(kick_off.types.iter().all(|(name, _)| GRANTED.contains(name)));
            prop_assert!(kick_off.provenance_of.iter().all(|name| GRANTED.contains(name)));
        }
    }
}

#[test]
fn a_policy_leaves_out_what_it_does_not_permit_and_its_absence_is_named() {
    let may_have = |types: &'static [&'static str], query: &str, handling| {
        let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let may =
            May { have_type: &|name| types.contains(&name), have_patient: &|value| value == "Patient/1", ..everything(&GRANTED) };
        KickOff::validate(Level::Patient, &parameters, handling, &may)
    };
    let patients: &'static [&'static str] = &["Patient"];
    let all = may_have(patients, "", None).unwrap();
    assert_eq!((names(&all), all.left_out, all.provenance_of), (vec!["Patient"], vec![], vec![]));
    let refused = may_have(patients, "_type=Patient,Observation", None).unwrap_err();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(refused.to_string().contains("system/Observation.rs"), "{refused}");
    let lenient = may_have(patients, "_type=Patient,Observation", Some(Handling::Lenient)).unwrap();
    assert_eq!((names(&lenient), lenient.left_out), (vec!["Patient"], vec![LeftOut::NotPermitted("Observation".to_owned())]));
    // Neither is it told what OpenEMR or its token could do.
    let refused = may_have(patients, "_type=Medication", Some(Handling::Lenient)).unwrap_err();
    assert!(refused.to_string().contains("system/Medication.rs"), "{refused}");
    assert_eq!(may_have(&[], "", None), Err(KickOffError::NothingPermitted));
    assert_eq!(may_have(patients, "patient=Patient/1", None), Err(KickOffError::Patient));
    for value in ["Patient/2", "1", ""] {
        for query in [format!("patient=Patient/1&patient={value}"), format!("patient={value}&patient=Patient/1&_since=x")] {
            assert_eq!(may_have(patients, &query, Some(Handling::Lenient)), Err(KickOffError::ForeignPatient), "{query}");
        }
    }
}
