//! `audit disclosures`: an accounting of what of a patient reached whom, on files written by hand.

use serde_json::Value;

use crate::support::command::{Ended, Folder, GOOD};

/// The first file: an export to a lab that goes on in the second one, and a search by somebody else.
const FIRST: &str = r#"{"n":0,"time":"2026-11-28T20:00:00.000Z","kind":"file_begun"}
{"n":1,"prev":"x","time":"2026-11-28T22:59:00.000Z","kind":"request","request_id":"r0","client":"lab","interaction":"read","type":"Patient","id":"p1","status":200,"outcome":"success","entries":1,"bytes":900}
{"n":2,"prev":"x","time":"2026-11-29T08:00:00.000Z","kind":"patients","request_id":"r1","client":"lab","interaction":"export-file","type":"Observation","patients":["p1","p2"],"later":{"version":2}}
{"n":3,"prev":"x","time":"2026-11-29T08:01:00.000Z","kind":"request","request_id":"r2","client":"=app","recipient":"Clinic, \"East\"","purpose":"TREAT","credential":"jwt","address":"192.0.2.9","site":"default","interaction":"search-type","type":"Condition","patients":["p1"],"status":200,"outcome":"success","entries":3,"bytes":5000}
{"n":4,"prev":"x","time":"2026-11-29T08:01:01.000Z","kind":"request","request_id":"r3","client":"lab","interaction":"read","type":"Patient","id":"p1","status":403,"outcome":"refused","entries":1,"bytes":300}
{"n":5,"prev":"x","time":"2026-11-29T08:01:02.000Z","kind":"request","request_id":"r4","client":"lab","interaction":"read","type":"Binary","id":"b1","patients_unknown":true,"status":200,"outcome":"success","entries":1,"bytes":300}
"#;
const SECOND: &str = r#"{"n":0,"time":"2026-11-29T08:02:00.000Z","kind":"patients","request_id":"r1","client":"lab","interaction":"export-file","type":"Observation","patients":["p1"]}
{"n":1,"prev":"x","time":"2026-11-29T08:03:00.000Z","kind":"request","request_id":"r1","client":"lab","interaction":"export-file","type":"Observation","patients":["p3"],"parts":2,"status":200,"outcome":"success","entries":4000,"bytes":2000000}
{"n":2,"prev":"x","time":"2026-11-29T08:04:00.000Z","kind":"lost","entries":2}
{"n":3,"prev":"x","time":"2026-11-30T00:00:00.000Z","kind":"patients","request_id":"r9","client":"lab","interaction":"export-file","type":"Condition","patients":["p1"]}
"#;

fn trail() -> Folder {
    let folder = Folder::empty();
    folder.write("trail/audit-20261128T200000.000Z-0a1b2c3d.jsonl", FIRST);
    folder.write("trail/audit-20261129T080200.000Z-00000000.jsonl", SECOND);
    // Neither of these is a file of records.
    folder.write("trail/audit-20261129T080200.000Z-00000000.jsonl.checkpoint", "signed");
    folder.write("trail/notes.txt", "p1");
    folder
}

/// The accounting of p1 for an operator whose clock is an hour ahead of UTC.
fn account(folder: &Folder, arguments: &[&str]) -> Ended {
    let command = ["audit", "disclosures", "--folder", "trail", "--patient", "p1"];
    folder.run_with(&[&command, arguments].concat(), &[("TZ", "CET-1")])
}

const HEADING: &str = "date,recipient,disclosed,purpose,client,address,credential,site,interaction,operation,type,resources,status,outcome,request_id";

#[test]
fn what_of_a_patient_reached_whom_is_listed_once_for_each_answer() {
    let folder = trail();
    let ended = account(&folder, &["--since", "2026-11-29", "--until", "2026-11-29"]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let rows: Vec<&str> = ended.out.split("\r\n").collect();
    assert_eq!(
        rows,
        [
            HEADING,
            "2026-11-29T08:01:00.000Z,\"Clinic, \"\"East\"\"\",Condition: 3 resources by search-type,TREAT,'=app,192.0.2.9,jwt,\
             default,search-type,,Condition,3,200,success,r2",
            "2026-11-29T08:03:00.000Z,lab,Observation: 4000 resources in a file of a bulk export,,lab,,,,export-file,,Observation,\
             4000,200,success,r1",
            "",
        ]
    );
    assert!(ended.err.contains("1 answer in this period may be about patients that could not be found out\n"), "{}", ended.err);
    assert!(ended.err.contains("2 records of this period were lost\n"), "{}", ended.err);
}

#[test]
fn days_are_those_of_the_operator_and_times_are_exact() {
    let folder = trail();
    // 22:59 UTC is still the 28th there, and 23:00 is the 29th. What nobody ended on the 30th counts, too.
    for (arguments, ids) in [
        (&["--since", "2026-11-29"][..], &["r2", "r1", "r9"][..]),
        (&["--since", "2026-11-28"], &["r0", "r2", "r1", "r9"]),
        (&["--since", "2026-11-28", "--until", "2026-11-28"], &["r0"]),
        (&["--since", "2026-11-30"], &["r9"]),
        (&["--since", "2026-11-29T08:02:00Z", "--until", "2026-11-29T08:03:00Z"], &["r1"]),
        (&["--since", "2026-12-01"], &[]),
    ] {
        let ended = account(&folder, &[arguments, &["--format", "json"]].concat());
        assert_eq!(ended.code, 0, "{}", ended.err);
        let rows: Vec<Value> = serde_json::from_str(&ended.out).unwrap();
        let found: Vec<&str> = rows.iter().map(|row| row["request_id"].as_str().unwrap()).collect();
        assert_eq!(found, ids, "{arguments:?}");
    }
    let ended = account(&folder, &["--since", "29.11.2026"]);
    assert!(ended.code == 2 && ended.err.contains("2026-11-29"), "{}", ended.err);
}

#[test]
fn a_line_that_is_no_record_is_told_and_the_others_are_read() {
    let folder = trail();
    let second = "trail/audit-20261129T080200.000Z-00000000.jsonl";
    folder.write(second, &SECOND.replacen("{\"n\":2", "{\"n\":2 no json", 1));
    let ended = account(&folder, &["--since", "2026-11-29", "--until", "2026-11-29"]);
    assert_eq!((ended.code, ended.out.matches("\r\n").count()), (1, 3), "{}", ended.out);
    assert!(ended.err.contains(&format!("error: {second}:3: ")), "{}", ended.err);
    // The gateway may be about to write the rest.
    folder.write(second, &format!("{SECOND}{{\"n\":4,\"pre"));
    assert_eq!(account(&folder, &["--since", "2026-11-29"]).code, 0);
}

#[test]
fn hashed_ids_are_found_with_the_key_and_without_a_configuration() {
    let folder = trail();
    let hashed = |id: &str| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[15; 32]);
        let tag = aws_lc_rs::hmac::sign(&key, format!("Patient/{id}").as_bytes());
        tag.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let written = FIRST.replace("\"p1\"", &format!("\"{}\"", hashed("p1"))).replace("\"p2\"", &format!("\"{}\"", hashed("p2")));
    folder.write("trail/audit-20261128T200000.000Z-0a1b2c3d.jsonl", &written);
    folder.secret("ids.key", &format!("{}\n", "0f".repeat(32)));
    let since = ["--since", "2026-11-29", "--until", "2026-11-29"];
    assert_eq!(account(&folder, &since).out.matches("\r\n").count(), 2, "the second file has its id as it is");
    let ended = account(&folder, &[&since[..], &["--key", "ids.key"]].concat());
    assert_eq!(ended.out.matches("\r\n").count(), 3, "{}", ended.out);
    let ended = account(&folder, &[&since[..], &["--key", "none.key"]].concat());
    assert!(ended.code == 1 && ended.err.contains("none.key"), "{}", ended.err);
}

#[test]
fn the_configuration_names_folder_and_key_and_says_when_there_is_nothing_to_find() {
    let folder = trail();
    let good = Folder::good();
    for name in ["audit-20261128T200000.000Z-0a1b2c3d.jsonl", "audit-20261129T080200.000Z-00000000.jsonl"] {
        good.write(&format!("state/trail/{name}"), &folder.read(&format!("trail/{name}")));
    }
    let command = ["audit", "disclosures", "--patient", "p1", "--since", "2026-11-28"];
    let ended = good.run(&command);
    assert!(ended.code == 1 && ended.err.contains("audit.folder is not set"), "{}", ended.err);
    good.write("conf/gateway.yaml", &format!("{GOOD}audit:\n  folder: state/trail\n  ids: plain\n"));
    let ended = good.run(&command);
    assert_eq!((ended.code, ended.out.matches("\r\n").count()), (0, 5), "{}", ended.err);
    good.replace("conf/gateway.yaml", "plain", "none");
    let ended = good.run(&command);
    assert!(ended.code == 1 && ended.out.is_empty() && ended.err.contains("audit.ids is none"), "{}", ended.err);
    good.replace("conf/gateway.yaml", "state/trail", "state/other");
    good.replace("conf/gateway.yaml", "none", "plain");
    let ended = good.run(&command);
    assert!(ended.code == 1 && ended.err.contains("state/other"), "{}", ended.err);
    good.write("state/other/notes.txt", "");
    let ended = good.run(&command);
    assert!(ended.code == 1 && ended.err.contains("there is no file audit-*.jsonl"), "{}", ended.err);
}
