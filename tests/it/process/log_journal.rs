//! The log in systemd's journal, for which the test listens; and behind priorities on a standard error that is the journal's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::gateway::{Gateway, config};
use crate::support::openemr::OpenEmr;
use crate::support::{Process, eventually};
use serde_json::json;

/// A journal that listens at `path` from now on; what it has got so far.
fn journal(path: &Path) -> Arc<Mutex<Vec<String>>> {
    let socket = UnixDatagram::bind(path).unwrap();
    let entries = Arc::new(Mutex::new(Vec::new()));
    let got = Arc::clone(&entries);
    thread::spawn(move || {
        let mut piece = vec![0; 256 * 1024];
        while let Ok(count) = socket.recv(&mut piece) {
            // An empty datagram ends it.
            if count == 0 {
                return;
            }
            got.lock().unwrap().push(String::from_utf8_lossy(&piece[..count]).into_owned());
        }
    });
    entries
}

/// Ends the journal at `path`.
fn end(path: &Path) {
    UnixDatagram::unbound().unwrap().send_to(b"", path).unwrap();
    fs::remove_file(path).unwrap();
}

fn entry_with(entries: &Mutex<Vec<String>>, words: &[&str]) -> String {
    eventually(&format!("an entry with {words:?}"), || {
        let entries = entries.lock().unwrap();
        entries.iter().find(|entry| words.iter().all(|word| entry.contains(word))).cloned()
    })
}

#[test]
fn the_journal_gets_entries_with_fields_and_standard_error_while_it_is_away() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let entries = journal(&socket);
    let mut config = config(&openemr);
    config["log"] = json!({"to": "journald", "journal_socket": socket, "format": "json"});
    let gateway = Gateway::with(config);
    let ask = || gateway.caller().get("/health").field("x-request-id").unwrap().to_owned();
    let entry = entry_with(&entries, &["MESSAGE=access\n", &format!("\nREQUEST_ID={}\n", ask())]);
    assert!(entry.starts_with("PRIORITY=6\nSYSLOG_IDENTIFIER=openemr-gateway\nTIME=20"), "{entry}");
    for field in ["\nROUTE=health\n", "\nSTATUS=200\n", "\nMETHOD=GET\n", "\nWHOLE=true\n"] {
        assert!(entry.contains(field), "{field:?} in {entry}");
    }
    assert!(entry.ends_with('\n') && !entry.contains("\n\n"), "{entry}");
    // Its warning, at its priority.
    openemr.order(&json!({"fhir": {"html": true, "times": 1, "target": "/Patient"}}));
    gateway.caller().get("/fhir/Patient?name=x").outcome(502);
    entry_with(&entries, &["PRIORITY=4\n", "web page", "\nREASON=not_fhir\n"]);
    assert_eq!(gateway.log(), "");

    end(&socket);
    let aside = ask();
    gateway.logs(&[" WARN ", "the log cannot be written to the journal: "]);
    gateway.logs(&[" INFO ", " access request_id=", &aside, " route=health "]);

    let entries = journal(&socket);
    let id = eventually("the journal is found again", || {
        let id = ask();
        let is_there = entries.lock().unwrap().iter().any(|entry| entry.contains("MESSAGE=access\n"));
        is_there.then_some(id)
    });
    entry_with(&entries, &["PRIORITY=4\n", "went to standard error: the log could not be written"]);
    entry_with(&entries, &["MESSAGE=access\n", &id]);
    end(&socket);
}

#[test]
fn a_standard_error_of_the_journals_gets_priorities() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let mut config = config(&openemr);
    config["listen"] = json!([{"address": crate::support::gateway::free_address().to_string()}]);
    config["server"] = json!({"upgrade_sock": folder.path().join("upgrade.sock")});
    fs::write(&file, config.to_string()).unwrap();
    // The shell knows what its standard error is.
    let script = "export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec \"$0\" \"$@\"";
    let serve = ["serve", "--config", file.to_str().unwrap()];
    let process = Process::start_within(&["sh", "-c", script], &serve);
    eventually("the log begins", || process.log().contains("listening on ").then_some(()));
    assert!(process.log().lines().all(|line| line.starts_with("<6>20") || line.starts_with("<4>20")), "{}", process.log());
    // One that is somebody else's gets none.
    drop(process);
    let other = folder.path().metadata().unwrap();
    let script = format!("export JOURNAL_STREAM={}:{}; exec \"$0\" \"$@\"", other.dev(), other.ino());
    let process = Process::start_within(&["sh", "-c", &script], &serve);
    eventually("the log begins", || process.log().contains("listening on ").then_some(()));
    assert!(process.log().lines().all(|line| line.starts_with("20")), "{}", process.log());
}
