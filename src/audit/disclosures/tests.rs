#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A search of client `lab` that was answered with 12 resources about p1 and p2.
fn search(second: i64) -> Record {
    Record {
        request_id: Some("r1".into()),
        client: Some("lab".into()),
        credential: Some("jwt".into()),
        recipient: Some("Lab, 1 Main Street".into()),
        purpose: Some("TREAT".into()),
        address: Some([192, 0, 2, 1].into()),
        site: Some("default".into()),
        interaction: Some("search-type".into()),
        resource_type: Some("Observation".into()),
        patients: vec!["p1".into(), "p2".into()],
        status: Some(200),
        outcome: Some(Outcome::Success),
        entries: Some(12),
        bytes: Some(5000),
        ..Record::new(Kind::Request, at(second))
    }
}

fn part(second: i64, patients: &[&'static str]) -> Record {
    Record {
        kind: Kind::Patients,
        patients: patients.iter().map(|id| Text::from(*id)).collect(),
        status: None,
        outcome: None,
        entries: None,
        bytes: None,
        ..search(second)
    }
}

/// The accounting of p1 from second 10 to second 20: the rows, and the doubts.
fn account(records: Vec<Record>) -> (Vec<Disclosure>, Doubts) {
    let period = Period { since: Some(at(10)), until: Some(at(20)) };
    let mut accounting = Accounting::new(Sought::new("p1", None), period);
    let mut rows: Vec<Disclosure> = records.into_iter().filter_map(|record| accounting.take(record)).collect();
    let (left, doubts) = accounting.finish();
    rows.extend(left);
    (rows, doubts)
}

fn count(record: Record) -> usize {
    account(vec![record]).0.len()
}

#[test]
fn a_row_says_when_to_whom_what_and_what_for() {
    let (rows, doubts) = account(vec![search(15)]);
    assert_eq!(doubts, Doubts::default());
    let mut text = Disclosure::csv_heading();
    rows[0].write_csv(&mut text);
    assert_eq!(
        text,
        "date,recipient,disclosed,purpose,client,address,credential,site,interaction,operation,type,resources,status,outcome,request_id\r\n\
         1970-01-01T00:00:15.000Z,\"Lab, 1 Main Street\",Observation: 12 resources by search-type,TREAT,lab,192.0.2.1,jwt,default,\
         search-type,,Observation,12,200,success,r1\r\n"
    );
    let mut text = String::new();
    rows[0].write_json(&mut text);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, Disclosure::COLUMNS);
    assert_eq!((&value["resources"], &value["operation"]), (&12.into(), &serde_json::Value::Null));
}

#[test]
fn what_did_not_reach_a_client_or_is_of_another_is_no_disclosure() {
    assert_eq!(count(search(15)), 1);
    for second in [10, 20] {
        assert_eq!(count(search(second)), 1);
    }
    let failed = |outcome, status| Record { outcome: Some(outcome), status: Some(status), ..search(15) };
    for (number, record) in [
        search(9),
        search(21),
        Record { patients: vec!["p2".into()], ..search(15) },
        failed(Outcome::Refused, 403),
        failed(Outcome::Failed, 502),
        failed(Outcome::BrokenOff, 502),
        Record { bytes: Some(0), ..search(15) },
        Record { bytes: Some(0), outcome: Some(Outcome::BrokenOff), ..search(15) },
        Record { status: None, outcome: Some(Outcome::BrokenOff), bytes: None, ..search(15) },
        Record { outcome: None, ..search(15) },
        Record { kind: Kind::CredentialRefused, ..search(15) },
        Record { patients: vec![], id: Some("p1".into()), ..search(15) },
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(count(record), 0, "{number}");
    }
    let read = Record {
        patients: vec![],
        id: Some("p1".into()),
        resource_type: Some("Patient".into()),
        interaction: Some("read".into()),
        entries: Some(1),
        recipient: None,
        ..search(15)
    };
    let (rows, _) = account(vec![Record { outcome: Some(Outcome::BrokenOff), ..read }]);
    assert_eq!(rows[0].disclosed, "Patient: 1 resource by read, sent at least in part");
    assert_eq!(rows[0].recipient, "lab");
}

#[test]
fn the_records_of_one_answer_are_one_disclosure_dated_by_its_end() {
    let export = |record: Record| Record { interaction: Some("export-file".into()), ..record };
    let end = |record: Record, parts: u64| Record { parts, patients: vec!["p9".into()], entries: Some(3000), ..export(record) };
    let (rows, _) = account(vec![
        export(part(8, &["p1"])),
        export(part(12, &["p3"])),
        export(part(13, &["p1"])),
        end(search(15), 3),
        // Neither of these is about the patient.
        end(search(16), 0),
        end(search(17), 2),
    ]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].date, "1970-01-01T00:00:15.000Z");
    assert_eq!(rows[0].disclosed, "Observation: 3000 resources in a file of a bulk export");
    // The last record alone has the patient, or both.
    assert_eq!(account(vec![part(12, &["p3"]), Record { parts: 1, ..search(15) }]).0.len(), 1);
    assert_eq!(account(vec![part(12, &["p1"]), Record { parts: 1, ..search(15) }]).0.len(), 1);
    // Begun within the period, and ended after it: it is of the next one.
    assert_eq!(account(vec![part(19, &["p1"]), Record { parts: 1, ..search(21) }]).0.len(), 0);
    // Data left before it failed.
    let failed = Record { parts: 1, outcome: Some(Outcome::Failed), status: Some(502), ..search(15) };
    assert_eq!(account(vec![part(12, &["p1"]), failed]).0.len(), 1);
}

#[test]
fn requests_of_two_clients_with_the_same_id_are_two_disclosures() {
    let other = |record: Record| Record { client: Some("other".into()), ..record };
    let end = |record: Record| Record { parts: 1, patients: vec![], ..record };
    let (rows, _) = account(vec![part(11, &["p1"]), other(part(12, &["p1"])), other(end(search(13))), end(search(14))]);
    let clients: Vec<_> = rows.iter().map(|row| row.client.as_deref().unwrap()).collect();
    assert_eq!(clients, ["other", "lab"]);
}

#[test]
fn an_answer_whose_end_was_not_recorded_is_a_disclosure_all_the_same() {
    let without = Record { request_id: None, ..part(13, &["p1"]) };
    let other = Record { request_id: Some("r2".into()), ..part(12, &["p1"]) };
    let before = Record { request_id: Some("r3".into()), ..part(9, &["p1"]) };
    let (rows, _) = account(vec![without, part(14, &["p1"]), other, before]);
    let dates: Vec<&str> = rows.iter().map(|row| &row.date[17..19]).collect();
    assert_eq!(dates, ["13", "12", "14"]);
    assert!(rows.iter().all(|row| row.outcome.is_none()));
    assert_eq!(
        rows[0].disclosed,
        "Observation: resources that were not counted by search-type, sent at least in part; the end was not recorded"
    );
}

#[test]
fn what_is_in_doubt_is_counted() {
    let unknown = Record { patients_unknown: true, patients: vec![], ..search(15) };
    let lost = |second, entries| Record { entries, ..Record::new(Kind::Lost, at(second)) };
    let (rows, doubts) = account(vec![
        unknown.clone(),
        Record { time: at(21), ..unknown.clone() },
        Record { bytes: Some(0), ..unknown.clone() },
        Record { outcome: Some(Outcome::Refused), status: Some(404), ..unknown.clone() },
        Record { patients: vec!["p1".into()], ..unknown },
        lost(15, Some(7)),
        lost(16, None),
        lost(9, Some(100)),
    ]);
    assert_eq!((rows.len(), doubts), (1, Doubts { unknown: 2, lost: 8 }));
}
