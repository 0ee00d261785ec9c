//! `audit search` and `audit tail`, on files written by hand.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::command::Folder;

/// Longer than anything takes that is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

fn record(number: u32, members: &str) -> String {
    format!(
        "{{\"n\":{number},\"time\":\"2026-11-29T08:00:{number:02}.000Z\",\"kind\":\"request\",\"request_id\":\"r{number}\"{members}}}\n"
    )
}

fn trail() -> Folder {
    let folder = Folder::empty();
    let first: String = [
        record(0, ""),
        record(1, r#","client":"lab","interaction":"read","type":"Patient","id":"p1","status":200,"outcome":"success","later":1"#),
        record(2, r#","client":"lab","interaction":"search-type","type":"Observation","patients":["p1"],"status":403,"outcome":"refused""#),
    ]
    .concat();
    folder.write("trail/audit-1.jsonl", &first);
    folder.write("trail/audit-2.jsonl", &record(3, r#","client":"app","patients":["p2"],"status":200,"outcome":"broken_off""#));
    folder
}

fn found(folder: &Folder, arguments: &[&str]) -> String {
    let ended = folder.run_with(&[&["audit", "search", "--folder", "trail"], arguments].concat(), &[("TZ", "UTC0")]);
    assert_eq!(ended.code, 0, "{}", ended.err);
    let number = |line: &str| {
        assert!(folder.read("trail/audit-1.jsonl").contains(line) || folder.read("trail/audit-2.jsonl").contains(line));
        serde_json::from_str::<serde_json::Value>(line).unwrap()["n"].to_string()
    };
    ended.out.lines().map(number).collect()
}

#[test]
fn records_that_are_all_of_what_is_named_are_printed_as_they_are() {
    let folder = trail();
    for (arguments, numbers) in [
        (&[][..], "0123"),
        (&["--client", "lab"], "12"),
        (&["--client", "lab", "--outcome", "refused"], "2"),
        (&["--patient", "p1"], "12"),
        (&["--type", "Observation"], "2"),
        (&["--interaction", "read"], "1"),
        (&["--kind", "request", "--status", "200"], "13"),
        (&["--kind", "lost"], ""),
        (&["--request-id", "r3"], "3"),
        (&["--since", "2026-11-29T08:00:02Z"], "23"),
        (&["--until", "2026-11-28"], ""),
        (&["--until", "2026-11-29"], "0123"),
    ] {
        assert_eq!(found(&folder, arguments), numbers, "{arguments:?}");
    }
    for wrong in [["--kind", "requests"], ["--outcome", "good"], ["--status", "many"]] {
        assert_eq!(folder.run(&[&["audit", "search", "--folder", "trail"], &wrong[..]].concat()).code, 2, "{wrong:?}");
    }
    folder.write("trail/audit-1.jsonl", "no json\n");
    let ended = folder.run(&["audit", "search", "--folder", "trail"]);
    assert!(ended.code == 1 && ended.err.contains("error: trail/audit-1.jsonl:1: "), "{}", ended.err);
    assert_eq!(ended.out.lines().count(), 1);
}

#[test]
fn the_latest_records_are_printed_for_people_across_files() {
    let folder = trail();
    let tail = |arguments: &[&str]| {
        let ended = folder.run_with(&[&["audit", "tail", "--folder", "trail"], arguments].concat(), &[("TZ", "CET-1")]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.out
    };
    assert_eq!(
        tail(&["-n", "2"]),
        "2026-11-29 09:00:02.000+01:00  request  403 refused  lab  search-type Observation  patients=1  request=r2\n\
         2026-11-29 09:00:03.000+01:00  request  200 broken_off  app  patients=1  request=r3\n"
    );
    assert_eq!((tail(&[]).lines().count(), tail(&["-n", "0"]).as_str()), (4, ""));
}

/// A tail that goes on, ended with the test.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    fn of(folder: &Folder) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_openemr-gateway"))
            .args(["audit", "tail", "--folder", "trail", "-n", "1", "--follow"])
            .current_dir(folder.path(""))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out: ChildStdout = child.stdout.take().unwrap();
        let (send, lines) = channel();
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).all(|line| send.send(line).is_ok()));
        Self { child, lines }
    }

    /// Waits for a line about this request.
    fn wait_for(&self, id: &str) {
        let line = self.lines.recv_timeout(DEADLINE).unwrap();
        assert!(line.ends_with(&format!("request={id}")), "{line}");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_tail_follows_into_the_next_file_and_waits_for_the_end_of_a_line() {
    let folder = trail();
    let following = Following::of(&folder);
    following.wait_for("r3");
    let append = |text: &str| {
        let mut file = OpenOptions::new().append(true).open(folder.path("trail/audit-2.jsonl")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let (begun, rest) = (record(4, ""), record(5, ""));
    let (begun, end) = begun.split_at(20);
    append(begun);
    folder.write("trail/audit-3.jsonl", &record(6, ""));
    following.wait_for("r6");
    append(&format!("{end}{rest}"));
    following.wait_for("r4");
    following.wait_for("r5");
}
