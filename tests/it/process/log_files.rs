//! The log in a file: its rotation, SIGUSR1, and what happens when the file cannot be written.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::gateway::{Gateway, config};
use crate::support::http::request;
use crate::support::openemr::OpenEmr;
use crate::support::{Stop, eventually};
use serde_json::{Value, json};

/// A configuration whose log goes to the file `log` in the folder, with as many requests of one address as it takes.
fn with_file(openemr: &OpenEmr, folder: &Path, file: Value) -> Value {
    let mut config = config(openemr);
    config["log"] = json!({"to": "file", "file": file});
    config["log"]["file"]["path"] = json!(folder.join("log"));
    config["limits"] = json!({"local_rate_per_address": "1000000/s", "local_burst_per_address": 100_000});
    config
}

/// Sends requests on one connection until it is told to stop; returns their ids.
fn ask_until(gateway: &Gateway, stop: &AtomicBool) -> Vec<String> {
    let (mut ids, mut connection) = (Vec::new(), gateway.caller().connect());
    while !stop.load(Ordering::Relaxed) {
        connection.write(&request("GET", "/health", &[], b""));
        let answer = connection.read("GET");
        assert_eq!(answer.status, 200);
        ids.push(answer.field("x-request-id").unwrap().to_owned());
    }
    ids
}

/// The id of one request.
fn ask(gateway: &Gateway) -> String {
    gateway.caller().get("/health").field("x-request-id").unwrap().to_owned()
}

/// The files of a folder whose names begin with `log`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file() && path.file_name().unwrap().to_str().unwrap().starts_with("log")).collect()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// How often each request has an access line; every line must be whole.
fn access_lines(texts: &[String]) -> HashMap<String, usize> {
    let mut lines = HashMap::new();
    for text in texts {
        assert!(text.is_empty() || text.ends_with('\n'), "a line is split between files");
        for line in text.lines() {
            assert!(line.starts_with("20"), "no whole line: {line}");
            let Some((_, rest)) = line.split_once(" access request_id=") else { continue };
            assert!(line.contains(" left_out="), "no whole line: {line}");
            *lines.entry(rest.split(' ').next().unwrap().to_owned()).or_default() += 1;
        }
    }
    lines
}

/// Waits until each of these requests has one access line in what `texts` gives.
fn eventually_each_once(ids: &[String], texts: impl Fn() -> Vec<String>) {
    eventually("each request has its line", || {
        let lines = access_lines(&texts());
        let missing = ids.iter().filter(|id| !lines.contains_key(*id)).count();
        (missing == 0).then_some(())
    });
    let lines = access_lines(&texts());
    assert!(ids.iter().all(|id| lines[id] == 1), "a request has two lines");
}

fn texts(folder: &Path) -> Vec<String> {
    files(folder).iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
}

#[test]
fn a_rotation_under_load_loses_no_line() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let gateway = Gateway::with(with_file(&openemr, folder, json!({"max_size": "64KiB", "keep": 100})));
    let stop = AtomicBool::new(false);
    let ids: Vec<String> = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_until(&gateway, &stop))).collect();
        eventually("six rotations", || folder.join("log.6").exists().then_some(()));
        drop(stopping);
        asking.into_iter().flat_map(|asking| asking.join().unwrap()).collect()
    });
    eventually_each_once(&ids, || texts(folder));
    for file in files(folder) {
        let found = file.metadata().unwrap();
        assert!(found.len() <= 64 * 1024, "{} has {} bytes", file.display(), found.len());
        assert_eq!(found.permissions().mode() & 0o137, 0, "{}", file.display());
    }
    assert_eq!(gateway.log(), "", "nothing goes to standard error");
}

#[test]
fn sigusr1_opens_the_file_again_and_no_line_is_lost_or_split() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let gateway = Gateway::with(with_file(&openemr, folder, json!({"max_size": null})));
    let stop = AtomicBool::new(false);
    let ids = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let asking = scope.spawn(|| ask_until(&gateway, &stop));
        for round in 0..5 {
            eventually("lines are written", || read(folder, "log").contains(" access ").then_some(()));
            fs::rename(folder.join("log"), folder.join(format!("log-{round}"))).unwrap();
            gateway.process.signal("USR1");
        }
        eventually("lines are written", || read(folder, "log").contains(" access ").then_some(()));
        drop(stopping);
        asking.join().unwrap()
    });
    eventually_each_once(&ids, || texts(folder));
    assert_eq!(files(folder).len(), 6);
}

#[test]
fn sigusr1_ends_nothing_where_the_log_goes_to_standard_error() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["log"]["level"] = json!("debug");
    let gateway = Gateway::with(config);
    gateway.process.signal("USR1");
    gateway.logs(&[" DEBUG ", "SIGUSR1: the log goes to no file"]);
    assert_eq!(gateway.caller().get("/fhir/Patient?_count=1").status, 200);
}

#[test]
fn lines_go_to_standard_error_while_the_file_cannot_be_opened() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let gateway = Gateway::with(with_file(&openemr, folder, json!({})));
    let first = ask(&gateway);
    eventually("the first line", || read(folder, "log").contains(&first).then_some(()));
    fs::rename(folder.join("log"), folder.join("log-1")).unwrap();
    fs::create_dir(folder.join("log")).unwrap();
    gateway.process.signal("USR1");
    gateway.logs(&[" WARN ", "the log cannot be written to ", "Is a directory", "go to standard error meanwhile"]);
    let second = ask(&gateway);
    gateway.access_line(&second);
    assert_eq!(gateway.log().matches(" WARN ").count(), 1, "{}", gateway.log());

    fs::remove_dir(folder.join("log")).unwrap();
    gateway.process.signal("USR1");
    let notice = "went to standard error: the log could not be written";
    eventually("the file takes lines again", || read(folder, "log").contains(notice).then_some(()));
    let third = ask(&gateway);
    let log = eventually("the third line", || Some(read(folder, "log")).filter(|log| log.contains(&third)));
    assert!(log.lines().next().unwrap().contains(" WARN  "), "{log}");
    assert!(!gateway.log().contains(&third) && !log.contains(&second), "{log}");
}

#[test]
fn a_full_disk_loses_no_line_and_leaves_no_half_of_one() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The files of this process can have 64 or 128 KiB: shells differ in what a block is.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 128; exec \"$0\" \"$@\""];
    let gateway = Gateway::within(&limited, with_file(&openemr, folder, json!({})));
    let stop = AtomicBool::new(false);
    let ids = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let asking = scope.spawn(|| ask_until(&gateway, &stop));
        gateway.logs(&[" WARN ", "the log cannot be written to "]);
        gateway.logs(&[" access "]);
        drop(stopping);
        asking.join().unwrap()
    });
    eventually_each_once(&ids, || {
        // The last line of what was read may not be there as a whole yet.
        let mut aside = gateway.log();
        aside.truncate(aside.rfind('\n').map_or(0, |end| end + 1));
        texts(folder).into_iter().chain([aside]).collect()
    });
    // There is room again.
    fs::rename(folder.join("log"), folder.join("log-1")).unwrap();
    gateway.process.signal("USR1");
    let mut later = Vec::new();
    eventually("the new file takes lines", || {
        later.push(ask(&gateway));
        let log = read(folder, "log");
        later.iter().any(|id| log.contains(id)).then_some(())
    });
}

#[test]
fn a_file_that_cannot_be_renamed_grows_and_takes_every_line() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("log.1")).unwrap();
    let gateway = Gateway::with(with_file(&openemr, folder, json!({"max_size": "64KiB", "keep": 1})));
    let stop = AtomicBool::new(false);
    let ids = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let asking = scope.spawn(|| ask_until(&gateway, &stop));
        gateway.logs(&[" WARN ", "is full and cannot be renamed: ", "it grows"]);
        let has_grown = || folder.join("log").metadata().is_ok_and(|found| found.len() > 100 * 1024);
        eventually("the file grows", || has_grown().then_some(()));
        drop(stopping);
        asking.join().unwrap()
    });
    eventually_each_once(&ids, || texts(folder));
    assert_eq!(gateway.log().lines().count(), 1, "{}", gateway.log());
}

#[test]
fn a_reload_changes_the_file() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let gateway = Gateway::with(with_file(&openemr, folder, json!({})));
    let first = ask(&gateway);
    eventually("the first line", || read(folder, "log").contains(&first).then_some(()));
    let reload = |path: &Path, file: &str, end: &str| {
        let mut changed = gateway.config.clone();
        changed["log"]["file"]["path"] = json!(path);
        gateway.rewrite(&changed);
        gateway.process.signal("HUP");
        eventually("the reload ends", || read(folder, file).contains(end).then_some(()));
    };
    // A file that cannot be written is a problem like any other: everything stays as it is.
    reload(&folder.join("missing/log"), "log", "stays as it is: log.file.path: the folder ");
    let second = ask(&gateway);
    eventually("the second line", || read(folder, "log").contains(&second).then_some(()));

    reload(&folder.join("log-other"), "log-other", "");
    eventually("the other file", || folder.join("log-other").exists().then_some(()));
    let third = ask(&gateway);
    eventually("the third line", || read(folder, "log-other").contains(&third).then_some(()));
    assert!(!read(folder, "log").contains(&third));
    eventually_each_once(&[first, second, third], || texts(folder));
}

#[test]
fn what_is_logged_at_the_end_is_in_the_file() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut gateway = Gateway::with(with_file(&openemr, folder, json!({})));
    let id = ask(&gateway);
    gateway.process.signal("TERM");
    let status = eventually("the gateway ends", || gateway.process.ended());
    assert_eq!(status.code(), Some(0));
    let log = read(folder, "log");
    assert!(log.contains(&id) && log.ends_with("every request has been answered: the process ends\n"), "{log}");
}
