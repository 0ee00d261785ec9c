//! A new process takes over from the old one, and a process is told to stop, while requests pass: none is lost.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, Caller, Connection, End, request};
use crate::support::openemr::OpenEmr;
use crate::support::{Process, Stop, eventually};
use serde_json::json;

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// Asks until told to stop, and `enough` times at least, each time on a new connection or on one that is kept for as long as the gateway keeps it. Any
/// request that is not answered whole with 200 is a panic.
fn ask(caller: &Caller, keep_alive: bool, enough: u32, stop: &AtomicBool) -> u32 {
    let mut kept: Option<Connection> = None;
    let mut sent = 0;
    while sent < enough || !stop.load(Ordering::Relaxed) {
        let mut connection = kept.take().unwrap_or_else(|| caller.connect());
        connection.write(&request("GET", PATIENTS, &[], b""));
        sent += 1;
        let answer = connection.read("GET");
        assert_eq!((answer.status, answer.end), (200, End::Whole), "request {sent}: {}", answer.text());
        kept = (keep_alive && !closes(&answer)).then_some(connection);
    }
    sent
}

/// Whether the gateway says that this answer is the last on its connection.
fn closes(answer: &Answer) -> bool {
    answer.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

/// Runs `meanwhile` under the load of four callers; gives how many requests they sent, all of them answered.
fn under_load(caller: &Caller, meanwhile: impl FnOnce()) -> u32 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|index| {
                scope.spawn({
                    let stop = &stop;
                    move || ask(caller, index % 2 == 0, 15, stop)
                })
            })
            .collect();
        let stopping = Stop(&stop);
        meanwhile();
        drop(stopping);
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    })
}

fn ends_well(process: &mut Process) {
    let status = eventually("the process ends", || process.ended());
    assert!(status.success(), "{status}");
}

#[test]
fn a_successor_takes_over_without_a_lost_request() {
    let openemr = OpenEmr::with(&["--token-lifetime", "60"]);
    let mut config = config(&openemr);
    config["server"] = json!({"grace_period_seconds": 100});
    let mut gateway = Gateway::with(config);
    let caller = gateway.caller();
    // Its answer comes when the old process has long handed over its listeners.
    openemr.order(&json!({"fhir": {"target": "_id=slow", "delay_ms": 20_000}}));
    let mut slow = caller.connect();
    slow.write(&request("GET", "/fhir/Patient?_id=slow", &[], b""));
    eventually("OpenEMR has the request", || (openemr.count("fhir_requests") == 1).then_some(()));

    let mut successor = None;
    let sent = under_load(&caller, || {
        let next = gateway.successor();
        // At once: the old process waits until the new one has its token and asks for the listeners.
        gateway.process.signal("QUIT");
        eventually("the new process listens", || next.log().contains("listening on ").then_some(()));
        let (token, listening) = (next.log().find("token 1 for").unwrap(), next.log().find("listening on ").unwrap());
        assert!(token < listening, "a request could have come before the token: {}", next.log());
        assert!(gateway.process.ended().is_none());
        let answer = slow.read("GET");
        assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
        ends_well(&mut gateway.process);
        successor = Some(next);
    });
    let mut successor = successor.unwrap();
    assert_eq!(caller.get(PATIENTS).status, 200);
    assert!(sent > 50, "that was no load: {sent}");
    successor.signal("INT");
    ends_well(&mut successor);
    assert!(std::net::TcpStream::connect(gateway.address).is_err(), "somebody still listens");
}

#[test]
fn without_a_successor_it_goes_on_and_a_bad_one_changes_nothing() {
    let openemr = OpenEmr::start();
    let mut gateway = Gateway::start(&openemr);
    gateway.process.signal("QUIT");
    gateway.logs(&["SIGQUIT", "waiting for a process that takes over"]);
    let mut bad = gateway.config.clone();
    bad["sites"]["default"]["client_id"] = json!("<client_id>");
    gateway.rewrite(&bad);
    let mut successor = gateway.successor();
    let status = eventually("the new process gives up", || successor.ended());
    assert_eq!(status.code(), Some(1));
    assert!(successor.log().contains("still the placeholder"), "{}", successor.log());
    let answer = gateway.caller().get(PATIENTS);
    assert_eq!((answer.status, closes(&answer)), (200, false), "it drains although nobody took over");
    // It can still be stopped.
    gateway.process.signal("TERM");
    ends_well(&mut gateway.process);
}

#[test]
fn a_successor_that_gets_no_token_takes_nothing_over() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    openemr.order(&json!({"token": {"refuse": "unknown_client"}}));
    let mut successor = gateway.successor();
    gateway.process.signal("QUIT");
    let status = eventually("the new process gives up", || successor.ended());
    assert_eq!(status.code(), Some(1));
    assert!(successor.log().contains("no site gets a token: the running gateway is not replaced"), "{}", successor.log());
    let answer = gateway.caller().get(PATIENTS);
    assert_eq!((answer.status, closes(&answer)), (200, false));
}

#[test]
fn a_successor_without_a_predecessor_says_so_and_ends() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut successor = gateway.successor();
    let status = eventually("the new process gives up", || successor.ended());
    assert_eq!(status.code(), Some(1));
    assert!(successor.log().contains("no running gateway handed over its listeners"), "{}", successor.log());
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn sigterm_is_first_seen_at_ready_and_ends_after_the_last_request_not_later() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["server"] = json!({"grace_period_seconds": 600});
    config["drain_delay"] = json!("8s");
    let mut gateway = Gateway::with(config);
    let caller = gateway.caller();
    assert_eq!(caller.get("/ready").status, 200);
    openemr.order(&json!({"fhir": {"target": "_id=slow", "delay_ms": 15_000}}));
    let mut slow = caller.connect();
    slow.write(&request("GET", "/fhir/Patient?_id=slow", &[], b""));
    eventually("OpenEMR has the request", || (openemr.count("fhir_requests") == 1).then_some(()));
    let mut kept = caller.connect();
    kept.write(&request("GET", PATIENTS, &[], b""));
    assert!(!closes(&kept.read("GET")));

    gateway.process.signal("TERM");
    eventually("not ready", || (caller.get("/ready").status == 503).then_some(()));
    // New connections are served for as long as load balancers may still make some.
    for _ in 0..4 {
        let answer = caller.get(PATIENTS);
        assert_eq!((answer.status, closes(&answer)), (200, true));
    }
    kept.write(&request("GET", PATIENTS, &[], b""));
    assert!(closes(&kept.read("GET")));
    eventually("no more connections", || std::net::TcpStream::connect(gateway.address).is_err().then_some(()));
    let answer = slow.read("GET");
    assert_eq!((answer.status, answer.end), (200, End::Whole));
    // In time, without the grace period.
    ends_well(&mut gateway.process);
    assert!(gateway.log().contains("every request has been answered"), "{}", gateway.log());
}

#[test]
fn the_grace_period_is_the_end_for_the_slowest() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["server"] = json!({"grace_period_seconds": 2});
    let mut gateway = Gateway::with(config);
    openemr.order(&json!({"fhir": {"delay_ms": 600_000}}));
    let mut slow = gateway.caller().connect();
    slow.write(&request("GET", PATIENTS, &[], b""));
    eventually("OpenEMR has the request", || (openemr.count("fhir_requests") == 1).then_some(()));
    gateway.process.signal("TERM");
    ends_well(&mut gateway.process);
    assert!(slow.closes(), "a request was answered that OpenEMR did not answer");
    assert!(gateway.log().contains("1 requests are cut off"), "{}", gateway.log());
}

#[test]
fn systemd_is_told_when_it_is_ready_and_which_process_it_is() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify.sock");
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    let mut config = config(&openemr);
    let address = crate::support::gateway::free_address();
    config["listen"] = json!([{"address": address.to_string()}]);
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, config.to_string()).unwrap();
    let mut process =
        Process::start_with(&["serve", "--config", file.to_str().unwrap()], &[("NOTIFY_SOCKET", socket.to_str().unwrap())]);
    let mut message = [0; 512];
    let count = heard.recv(&mut message).unwrap();
    let message = String::from_utf8_lossy(&message[..count]).into_owned();
    assert!(message.contains("READY=1") && message.contains(&format!("MAINPID={}", process.id())), "{message}");
    // Ready means ready.
    let mut answer = String::new();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut stream, &request("GET", PATIENTS, &[("Connection", "close")], b"")).unwrap();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    process.signal("INT");
    ends_well(&mut process);
}

#[test]
fn the_systemd_units_reload_is_an_upgrade() {
    let unit = include_str!("../../../deploy/openemr-gateway.service");
    let openemr = OpenEmr::start();
    let mut gateway = Gateway::start(&openemr);
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify.sock");
    let heard = UnixDatagram::bind(&socket).unwrap();
    heard.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();

    let old_pid = gateway.process.id().to_string();
    // The unit leaves it to systemd where the program is.
    let program = crate::support::binary();
    let reload = |config_file: &str| {
        let lines = unit.lines().filter_map(|line| line.strip_prefix("ExecReload="));
        // As systemd does it: one after the other, until one fails.
        lines.clone().count() == 2
            && lines.clone().all(|line| {
                let line = line.replace("gateway.yaml", config_file);
                let status = std::process::Command::new("/bin/sh")
                    .args(["-c", &line])
                    .env_clear()
                    .env("PATH", program.parent().unwrap())
                    .env("MAINPID", &old_pid)
                    .env("NOTIFY_SOCKET", &socket)
                    .stdout(std::process::Stdio::null())
                    .stderr(std::process::Stdio::null())
                    .status();
                status.unwrap().success()
            })
    };
    let bad = folder.path().join("bad.yaml");
    std::fs::write(&bad, "sites: {}").unwrap();
    assert!(!reload(bad.to_str().unwrap()), "a bad configuration does not stop the reload");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);

    let mut main_pid = String::new();
    let (caller, config_file) = (gateway.caller(), gateway.config_file());
    let sent = under_load(&caller, || {
        assert!(reload(config_file.to_str().unwrap()));
        let mut message = [0; 512];
        let count = heard.recv(&mut message).unwrap();
        let message = String::from_utf8_lossy(&message[..count]).into_owned();
        assert!(message.contains("READY=1"), "{message}");
        main_pid = message.lines().find_map(|line| line.strip_prefix("MAINPID=")).unwrap().to_owned();
        assert_ne!(main_pid, old_pid);
        ends_well(&mut gateway.process);
    });
    assert!(sent > 50, "that was no load: {sent}");
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let kill = std::process::Command::new("sh").args(["-c", &format!("kill -INT {main_pid}")]).status().unwrap();
    assert!(kill.success());
    eventually("nobody listens", || std::net::TcpStream::connect(gateway.address).is_err().then_some(()));
}
