//! Every event is valid, and says what its record says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::rules::{PROFILES, problems};
use super::*;
use crate::audit::record::Decision;

fn observer() -> Observer {
    Observer { name: "gateway.example.org/audit".to_owned() }
}

fn request(interaction: &'static str) -> Record {
    Record {
        request_id: Some("f00d".into()),
        client: Some("research".into()),
        credential: Some("jwt".into()),
        purpose: Some("HRESCH".into()),
        address: Some("192.0.2.7".parse().unwrap()),
        site: Some("default".into()),
        interaction: Some(interaction.into()),
        resource_type: Some("Observation".into()),
        query: Some("GET /Observation?patient=p1".into()),
        decision: Some(Decision::Allowed),
        by: vec!["access.policies.all".into()],
        status: Some(200),
        outcome: Some(Outcome::Success),
        ..Record::new(Kind::Request, "2026-11-29T07:47:06.120Z".parse().unwrap())
    }
}

fn events(record: &Record) -> Vec<Value> {
    (0..count(record)).map(|index| event(record, index, &observer())).collect()
}

fn claimed(event: &Value) -> Option<&str> {
    event["meta"]["profile"][0].as_str()?.rsplit_once("IHE.BasicAudit.").map(|(_, name)| name)
}

#[test]
fn what_goes_well_claims_the_profile_of_its_interaction_and_meets_it() {
    let mut seen = BTreeSet::new();
    for (interaction, plain, patient) in [
        ("read", Some("Read"), Some("PatientRead")),
        ("vread", Some("Read"), Some("PatientRead")),
        ("search-type", Some("Query"), Some("PatientQuery")),
        ("search-system", Some("Query"), Some("PatientQuery")),
        ("search-compartment", Some("Query"), Some("PatientQuery")),
        ("create", Some("Create"), Some("PatientCreate")),
        ("update", Some("Update"), Some("PatientUpdate")),
        ("conditional-update", Some("Update"), Some("PatientUpdate")),
        ("patch", Some("Update"), Some("PatientUpdate")),
        ("delete", Some("Delete"), Some("PatientDelete")),
        ("conditional-delete", Some("Delete"), Some("PatientDelete")),
        ("export-file", None, Some("PrivacyDisclosure.Source")),
        ("history-instance", None, None),
        ("capabilities", None, None),
        ("batch", None, None),
        ("operation", None, None),
        ("export", None, None),
        ("export-status", None, None),
        ("other", None, None),
    ] {
        for (patients, expected) in [(vec![], plain), (vec!["p1".into()], patient)] {
            let record = Record { patients, ..request(interaction) };
            let event = event(&record, 0, &observer());
            assert_eq!(claimed(&event), expected, "{interaction}");
            assert_eq!(problems(&event), Vec::<String>::new(), "{interaction}: {event:#}");
            seen.extend(expected);
        }
    }
    assert_eq!(seen, PROFILES.iter().map(|profile| profile.name).collect(), "all profiles");
}

#[test]
fn a_search_with_several_patients_gives_one_event_for_each() {
    let record = Record { patients: vec!["p1".into(), "p2".into(), "p3".into()], ..request("search-type") };
    let events = events(&record);
    let patients: Vec<&Value> = events.iter().map(|event| &event["entity"][1]["what"]["reference"]).collect();
    assert_eq!(patients, ["Patient/p1", "Patient/p2", "Patient/p3"]);
    for event in &events {
        let query = STANDARD.decode(event["entity"][0]["query"].as_str().unwrap()).unwrap();
        assert_eq!(query, b"GET /Observation?patient=p1");
        assert_eq!(event["entity"][2]["what"]["identifier"]["value"], "f00d");
        assert_eq!(event["recorded"], "2026-11-29T07:47:06.120Z");
        assert_eq!(event["agent"][0]["network"], json!({"address": "192.0.2.7", "type": "2"}));
        assert_eq!(event["agent"][0]["purposeOfUse"][0]["coding"][0]["code"], "HRESCH");
    }
    let ids: BTreeSet<Uuid> = (0..3).map(|index| id(&record, index)).collect();
    assert_eq!((ids.len(), id(&record, 2)), (3, id(&record.clone(), 2)));
}

#[test]
fn patients_of_an_answer_that_goes_on_are_named_as_those_of_one_that_ended() {
    let record =
        Record { kind: Kind::Patients, status: None, outcome: None, patients: vec!["p1".into()], ..request("search-type") };
    assert_eq!(claimed(&event(&record, 0, &observer())), Some("PatientQuery"));
}

#[test]
fn what_fails_claims_no_profile_of_success_and_says_how_serious_it_is() {
    for (outcome, status, expected) in [(Outcome::Refused, 403, "4"), (Outcome::Failed, 502, "8"), (Outcome::BrokenOff, 200, "4")]
    {
        for interaction in ["read", "search-type", "create", "update", "delete", "operation"] {
            let record = Record { outcome: Some(outcome), status: Some(status), ..request(interaction) };
            let event = event(&record, 0, &observer());
            assert_eq!((claimed(&event), &event["outcome"]), (None, &json!(expected)), "{interaction}");
            assert!(event["outcomeDesc"].as_str().unwrap().contains(&status.to_string()));
            assert_eq!(problems(&event), Vec::<String>::new());
        }
    }
    let refused = Record { outcome: Some(Outcome::Refused), patients: vec!["p1".into()], ..request("export-file") };
    assert_eq!(claimed(&event(&refused, 0, &observer())), None, "nothing was disclosed");
}

#[test]
fn the_gateways_own_events_are_security_events() {
    for (kind, event_type, subtype) in [
        (Kind::TokenExchange, "110114", "ITI-71"),
        (Kind::TokenIssued, "110114", "ITI-71"),
        (Kind::ForcedRefresh, "110114", "ITI-71"),
        (Kind::CredentialRefused, "110113", "110126"),
        (Kind::KeyRotation, "110113", "110129"),
        (Kind::Reload, "110113", "110131"),
        (Kind::Lost, "110113", "110133"),
    ] {
        let event = event(&Record::new(kind, jiff::Timestamp::UNIX_EPOCH), 0, &observer());
        assert_eq!((&event["type"]["code"], &event["subtype"][0]["code"]), (&json!(event_type), &json!(subtype)), "{kind:?}");
        assert_eq!(problems(&event), Vec::<String>::new(), "{event:#}");
    }
}

#[test]
fn the_check_finds_what_is_missing() {
    let whole = event(&Record { patients: vec!["p1".into()], ..request("search-type") }, 0, &observer());
    assert!(problems(&whole).is_empty());
    for pointer in [
        "/type",
        "/recorded",
        "/agent",
        "/agent/0/requestor",
        "/agent/1/who",
        "/agent/0/network",
        "/source",
        "/source/observer",
        "/outcome",
        "/action",
        "/subtype",
        "/entity",
        "/entity/0/query",
        "/entity/0/role",
        "/entity/1/what",
        "/entity/1/role",
    ] {
        let mut event = whole.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        assert!(!problems(&event).is_empty(), "without {pointer}");
    }
    for (pointer, value) in [
        ("/outcome", json!("4")),
        ("/outcome", json!(0)),
        ("/action", json!("R")),
        ("/recorded", json!("2026-11-29")),
        ("/agent/0/type/coding/0/code", json!("110150")),
        ("/subtype/0/code", json!("read")),
        ("/subtype", json!({})),
        ("/entity/0/name", json!("x")),
        ("/entity/1/what/reference", json!("Group/1")),
        ("/more", json!(1)),
        ("/agent/0/network/type", json!("9")),
        ("/meta/profile/0", json!("https://example.org")),
    ] {
        let mut event = whole.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match event.pointer_mut(parent).unwrap() {
            Value::Array(values) => values[name.parse::<usize>().unwrap()] = value,
            parent => parent[name] = value,
        }
        assert!(!problems(&event).is_empty(), "{pointer}");
    }
}

fn text() -> impl Strategy<Value = Option<crate::audit::record::Text>> {
    prop::option::of("[A-Za-z0-9][ -~]{0,20}".prop_map(Into::into))
}

fn any_record() -> impl Strategy<Value = Record> {
    let interaction = prop::sample::select(vec![
        "read",
        "vread",
        "search-type",
        "search-system",
        "search-compartment",
        "create",
        "update",
        "conditional-update",
        "patch",
        "conditional-patch",
        "delete",
        "conditional-delete",
        "history-instance",
        "history-type",
        "history-system",
        "batch",
        "export",
        "export-status",
        "export-file",
        "operation",
        "capabilities",
        "smart-configuration",
        "other",
        "of a later version",
    ]);
    let kind = prop::sample::select(vec![
        Kind::Request,
        Kind::Request,
        Kind::Request,
        Kind::Patients,
        Kind::TokenExchange,
        Kind::KeyRotation,
        Kind::Reload,
        Kind::CredentialRefused,
        Kind::TokenIssued,
        Kind::ForcedRefresh,
        Kind::FileBegun,
        Kind::FileEnded,
        Kind::Lost,
        Kind::Unknown,
    ]);
    let outcome = prop::option::of(prop::sample::select(vec![
        Outcome::Success,
        Outcome::Success,
        Outcome::Refused,
        Outcome::Failed,
        Outcome::BrokenOff,
    ]));
    let decision =
        prop::option::of(prop::sample::select(vec![Decision::Allowed, Decision::Narrowed, Decision::Tested, Decision::Refused]));
    let texts = (text(), text(), text(), text(), text(), text(), text());
    let more = (prop::option::of(interaction), prop::option::of("[A-Za-z0-9.-]{1,64}"), prop::option::of("[A-Z][a-z]{1,10}"));
    let lists = (prop::collection::vec("[A-Za-z0-9.-]{1,64}", 0..4), prop::collection::vec("[a-z.]{1,20}", 0..3));
    let rest = (any::<Option<std::net::IpAddr>>(), any::<bool>(), prop::option::of(100..600_u16), any::<Option<u32>>(), 0..3_u64);
    (kind, outcome, decision, texts, more, lists, rest, 0..4_000_000_000_000_i64).prop_map(
        |(kind, outcome, decision, texts, more, lists, rest, time)| Record {
            request_id: texts.0,
            client: texts.1,
            credential: texts.2,
            recipient: texts.3,
            purpose: texts.4,
            site: texts.5,
            query: texts.6,
            interaction: more.0.map(Into::into),
            id: more.1.map(Into::into),
            resource_type: more.2.map(Into::into),
            patients: lists.0.into_iter().map(Into::into).collect(),
            by: lists.1.into_iter().map(Into::into).collect(),
            address: rest.0,
            patients_unknown: rest.1,
            status: rest.2,
            entries: rest.3.map(Into::into),
            left_out: rest.4,
            outcome,
            decision,
            ..Record::new(kind, jiff::Timestamp::from_millisecond(time).unwrap())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_event_of_any_record_is_valid(record in any_record()) {
        let events = events(&record);
        prop_assert_eq!(events.len(), record.patients.len().max(1));
        for event in events {
            let problems = problems(&event);
            prop_assert!(problems.is_empty(), "{:?}\n{:#}", problems, event);
        }
    }
}
