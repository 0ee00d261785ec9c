//! An upgrade that cannot succeed changes nothing, and `serve --test` finds it beforehand.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::support::gateway::{Gateway, config, free_address};
use crate::support::http::Caller;
use crate::support::openemr::OpenEmr;
use crate::support::{Process, eventually};
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// Answers, and goes on doing so: nothing says that it is about to end.
fn serves_on(gateway: &Gateway) {
    let answer = gateway.caller().get(PATIENTS);
    assert_eq!(answer.status, 200, "{}", gateway.log());
    assert_ne!(answer.field("connection"), Some("close"), "it is about to end: {}", gateway.log());
}

/// Waits until a process has ended; gives its exit code and all that it wrote.
fn end_of(mut process: Process) -> (i32, String) {
    let status = eventually("the process ends", || process.ended());
    (status.code().unwrap_or(-1), format!("{}{}", process.output(), process.log()))
}

fn test_of(gateway: &Gateway) -> (i32, String) {
    end_of(Process::start(&["serve", "--test", "--config", gateway.config_file().to_str().unwrap()]))
}

/// Everything in a folder, with what can be seen of it from outside.
fn listing(folder: &Path) -> Vec<String> {
    let entry = |entry: fs::DirEntry| format!("{:?} {:?}", entry.file_name(), entry.metadata().unwrap().modified().unwrap());
    let mut entries: Vec<String> = fs::read_dir(folder).unwrap().map(|found| entry(found.unwrap())).collect();
    entries.sort();
    entries
}

fn with_listeners(config: &Value, addresses: &[String]) -> Value {
    let mut config = config.clone();
    config["listen"] = addresses.iter().map(|address| json!({"address": address})).collect();
    config
}

#[test]
fn an_address_that_cannot_be_bound_leaves_the_running_gateway_as_it_is() {
    let openemr = OpenEmr::start();
    let mut gateway = Gateway::start(&openemr);
    let (first, more) = (gateway.address.to_string(), free_address());
    assert_eq!(test_of(&gateway).0, 0, "its own addresses are no problem");

    let taken = TcpListener::bind(more).unwrap();
    gateway.rewrite(&with_listeners(&gateway.config, &[first, more.to_string()]));
    let before = listing(gateway.config_file().parent().unwrap());
    let refused = format!("listen[1].address: `{more}` cannot be listened on: ");
    let (code, said) = test_of(&gateway);
    assert_eq!(code, 1);
    assert!(said.contains(&refused) && said.contains("stop the program that listens there"), "{said}");
    assert_eq!(listing(gateway.config_file().parent().unwrap()), before, "a test changes nothing");
    let (code, said) = end_of(gateway.successor());
    assert_eq!(code, 1);
    assert!(said.contains(&refused), "{said}");
    serves_on(&gateway);

    drop(taken);
    assert_eq!(test_of(&gateway).0, 0);
    let successor = gateway.successor();
    gateway.process.signal("QUIT");
    eventually("the new process listens on both", || {
        successor.log().contains(&format!("listening on http://{more}")).then_some(())
    });
    assert_eq!(Caller::new(more).get(PATIENTS).status, 200);
    assert!(eventually("the old process ends", || gateway.process.ended()).success());
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn an_address_that_is_taken_while_the_new_process_starts_leaves_the_running_gateway_as_it_is() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let more = free_address();
    gateway.rewrite(&with_listeners(&gateway.config, &[gateway.address.to_string(), more.to_string()]));
    let successor = gateway.successor();
    eventually("the new process asks for the listeners", || successor.log().contains("send it SIGQUIT").then_some(()));
    let taken = TcpListener::bind(more).unwrap();
    gateway.process.signal("QUIT");
    let (code, said) = end_of(successor);
    assert_eq!(code, 1);
    assert!(said.contains(&format!("cannot listen on {more}")), "{said}");
    gateway.logs(&["SIGQUIT", "the new process did not take over", "this process goes on"]);
    serves_on(&gateway);
    drop(taken);
}

#[test]
fn a_new_process_that_ends_before_it_accepts_takes_nothing() {
    let openemr = OpenEmr::start();
    let mut gateway = Gateway::start(&openemr);
    let socket = gateway.config["server"]["upgrade_sock"].as_str().unwrap_or_default().to_owned();
    let taking = || {
        let mut stream = eventually("the upgrade socket", || UnixStream::connect(&socket).ok());
        stream.write_all(b"take\n").unwrap();
        stream
    };
    // It asks, and ends before it gets an answer: the order waits for another one.
    drop(taking());
    gateway.process.signal("QUIT");
    gateway.logs(&["waiting for a process that takes over"]);
    serves_on(&gateway);
    // It gets the listeners, and ends before it accepts connections.
    let mut line = String::new();
    BufReader::new(taking()).read_line(&mut line).unwrap();
    assert!(line.contains(&gateway.address.to_string()), "{line}");
    gateway.logs(&["the new process did not take over", "this process goes on"]);
    serves_on(&gateway);
    // A whole one is welcome.
    let successor = gateway.successor();
    gateway.process.signal("QUIT");
    eventually("the new process listens", || successor.log().contains("listening on ").then_some(()));
    assert!(eventually("the old process ends", || gateway.process.ended()).success());
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
}

#[test]
fn a_socket_that_was_removed_comes_back() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let socket = gateway.config_file().with_file_name("upgrade.sock");
    eventually("the socket is there", || socket.exists().then_some(()));
    fs::remove_file(&socket).unwrap();
    eventually("it is there again", || socket.exists().then_some(()));
    assert_eq!(test_of(&gateway).0, 0);
}

#[test]
fn a_listener_that_is_not_configured_any_more_is_closed() {
    let openemr = OpenEmr::start();
    let (kept, dropped) = (free_address(), free_address());
    let mut both = config(&openemr);
    both = with_listeners(&both, &[kept.to_string(), dropped.to_string()]);
    let mut gateway = Gateway::with(both);
    assert_eq!(Caller::new(dropped).get(PATIENTS).status, 200);
    gateway.rewrite(&with_listeners(&gateway.config, &[kept.to_string()]));
    let successor = gateway.successor();
    gateway.process.signal("QUIT");
    eventually("the new process says so", || {
        successor.log().contains(&format!("{dropped} is not listened on any more")).then_some(())
    });
    assert!(eventually("the old process ends", || gateway.process.ended()).success());
    assert_eq!(Caller::new(kept).get(PATIENTS).status, 200);
    eventually("nobody listens there", || TcpStream::connect(dropped).is_err().then_some(()));
}

#[test]
fn without_a_running_gateway_there_is_nothing_to_upgrade() {
    let openemr = OpenEmr::start();
    let mut gateway = Gateway::start(&openemr);
    gateway.process.signal("INT");
    assert!(eventually("it ends", || gateway.process.ended()).success());
    let (code, said) = end_of(gateway.successor());
    assert_eq!(code, 1);
    assert!(said.contains("no running gateway answers at ") && said.contains("leave --upgrade out"), "{said}");
    assert_eq!(test_of(&gateway).0, 0);
}

#[test]
fn a_port_is_the_gateways_before_openemr_is_asked_for_a_token() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"token": {"delay_ms": 60_000}}));
    let address = free_address();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let config = with_listeners(&config(&openemr), &[address.to_string()]);
    fs::write(&file, config.to_string()).unwrap();
    let _process = Process::start(&["serve", "--config", file.to_str().unwrap()]);
    eventually("OpenEMR was asked for a token", || (openemr.count("token_requests") == 1).then_some(()));
    assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    let caller = Caller::new(address);
    assert_eq!((caller.get("/.well-known/jwks.json").status, caller.get("/ready").status), (200, 503));
}
