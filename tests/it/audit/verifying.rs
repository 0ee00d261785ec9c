//! `audit verify` on the files of a gateway.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::trail::Trail;
use crate::support::command::Folder;
use crate::support::eventually;
use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;

/// A trail of three processes, one of which was killed.
fn written() -> Trail {
    let (openemr, trail) = (OpenEmr::start(), Trail::new());
    for is_killed in [false, true, false] {
        let mut config = config(&openemr);
        trail.keep(&mut config);
        let gateway = Gateway::with(config);
        for _ in 0..3 {
            assert_eq!(gateway.caller().get("/fhir/Patient?_count=2").status, 200);
        }
        if !is_killed {
            gateway.process.signal("TERM");
            let mut process = gateway.process;
            eventually("the gateway ends", || process.ended());
        }
    }
    trail
}

fn verify(trail: &Trail, what: &Path) -> (i32, String, String) {
    let key = trail.beside("checkpoint.key.pub");
    let ended = Folder::empty().run(&["audit", "verify", "--key", key.to_str().unwrap(), what.to_str().unwrap()]);
    (ended.code, ended.out, ended.err)
}

#[test]
fn a_trail_verifies_although_a_process_was_killed_and_no_longer_once_a_record_is_changed() {
    let trail = written();
    let (code, out, err) = verify(&trail, &trail.folder());
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("nothing was changed") && out.lines().count() == 4, "{out}");
    let files = trail.files();
    for (file, is_killed) in files.iter().zip([false, true, false]) {
        let last = fs::read_to_string(file).unwrap().lines().last().map(str::to_owned).unwrap();
        assert!(last.contains("\"file_ended\"") && last.contains("without an end") == is_killed, "{last}");
    }
    let original = fs::read_to_string(&files[1]).unwrap();
    assert!(original.lines().last().unwrap().contains("\"file_ended\"") && original.contains("the process ended without an end"));
    let lines: Vec<&str> = original.lines().collect();
    let at = lines.iter().position(|line| line.contains("\"kind\":\"request\"")).unwrap();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let edited = lines[at].replace("127.0.0.1", "127.0.0.9");
    let without: Vec<&str> = lines.iter().enumerate().filter(|(number, _)| *number != at).map(|(_, line)| *line).collect();
    let mut swapped = lines.clone();
    swapped.swap(at, at + 1);
    let mut twice = lines.clone();
    twice.insert(at, lines[at]);
    for (what, changed, says) in [
        ("edited", original.replace(lines[at], &edited), format!("line {} was changed", at + 1)),
        ("removed", joined(&without), format!("line {} follows a gap: record {at} was removed", at + 1)),
        ("swapped", joined(&swapped), format!("line {}", at + 1)),
        ("added", joined(&twice), format!("line {} has number", at + 2)),
        ("cut", joined(&lines[..lines.len() - 1]), format!("record {} was removed", lines.len() - 1)),
    ] {
        fs::write(&files[1], changed).unwrap();
        let (code, out, err) = verify(&trail, &trail.folder());
        assert_eq!(code, 1, "{what}: {out}");
        assert!(err.contains(&says) && err.contains(files[1].to_str().unwrap()), "{what}: {err}");
        assert!(!out.contains("nothing was changed"));
    }
    fs::write(&files[1], &original).unwrap();
    assert_eq!(verify(&trail, &files[1]).0, 0);
    for gone in [1, 2] {
        fs::rename(&files[gone], trail.beside("kept")).unwrap();
        let (code, _, err) = verify(&trail, &trail.folder());
        assert!(code == 1 && err.contains(files[gone].to_str().unwrap()) && err.contains("it was removed"), "{err}");
        fs::rename(trail.beside("kept"), &files[gone]).unwrap();
    }
    // What the gateway did not write: a file of somebody's own, and what is no file.
    let forged = trail.folder().join("audit-20000101T000000.000Z-00000000.jsonl");
    fs::write(&forged, "{\"n\":0,\"time\":\"2000-01-01T00:00:00.000Z\",\"kind\":\"request\"}\n").unwrap();
    let (code, _, err) = verify(&trail, &trail.folder());
    assert!(code == 1 && err.contains("line 1 is not the record with which a file begins"), "{err}");
    fs::remove_file(&forged).unwrap();
    let pipe = trail.folder().join("audit-20000101T000000.000Z-11111111.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(verify(&trail, &trail.folder()).0, 0);
}

#[test]
fn wrong_arguments_say_what_to_do() {
    let trail = written();
    let folder = Folder::empty();
    let files = trail.folder();
    let files = files.to_str().unwrap();
    for (arguments, says) in [
        (vec!["audit", "verify", files], "gateway.yaml"),
        (vec!["audit", "verify", "--key", "none.pub", files], "name the file with the public half"),
        (vec!["audit", "verify", "--key", "none.pub", "nothing"], "none.pub"),
    ] {
        let ended = folder.run(&arguments);
        assert!(ended.code == 1 && ended.err.contains(says), "{arguments:?}: {}", ended.err);
    }
    let other = Trail::new();
    fs::write(other.beside("checkpoint.key.pub"), "openemr-gateway+00000000+AQ==\n").unwrap();
    let (code, _, err) = verify(&other, &trail.folder());
    assert!(code == 1 && err.contains("holds no keys"), "{err}");
    let (openemr, mut config) = (OpenEmr::start(), json!({}));
    other.keep_with(&mut config, &json!({"folder": "/proc/audit"}));
    let mut wrong = crate::support::gateway::config(&openemr);
    wrong["audit"] = config["audit"].clone();
    folder.secret("gateway.yaml", &wrong.to_string());
    let ended = folder.run(&["serve", "--config", "gateway.yaml"]);
    assert!(ended.code == 1 && ended.err.contains("audit.folder: /proc/audit cannot be written"), "{}", ended.err);
}
