//! `top`: the state of a gateway in a terminal.

use serde_json::json;

use super::{Admin, new_key};
use crate::support::command::{Ended, Folder};
use crate::support::eventually;
use crate::support::gateway::config;
use crate::support::openemr::OpenEmr;

fn top(arguments: &[&str]) -> Ended {
    Folder::empty().run(&[&["top"], arguments].concat())
}

#[test]
fn once_prints_the_state_as_text() {
    let openemr = OpenEmr::start();
    let admin = Admin::start(config(&openemr));
    admin.gateway.caller().get("/fhir/Patient?_count=1&family=Zebedee");
    let url = format!("http://{}", admin.address);
    let shown = eventually("the request is counted", || {
        let ended = top(&["--admin", &url, "--once"]);
        assert_eq!(ended.code, 0, "{}", ended.err);
        ended.out.contains("1 requests, 0 refused").then_some(ended.out)
    });
    for part in ["openemr-gateway 0.", "OK", "Site default", "left of 5:00", "healthy", &openemr.base, "a new token", "none "] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}') && !shown.contains("Zebedee"), "{shown}");

    openemr.order(&json!({"token": {"refuse": "unknown_client"}}));
    assert_eq!(admin.order("POST", "/refresh", "").status, 502);
    let shown = top(&["--admin", &url, "--once"]).out;
    for part in ["DEGRADED", "! default: the token exchange fails", "exchanges failed", "invalid_client"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let ended = top(&["--admin", &url]);
    assert!(
        ended.code == 1 && ended.err.contains("standard output is no terminal\n  print the state with --once"),
        "{}",
        ended.err
    );
}

#[test]
fn a_key_comes_from_a_file_and_the_rest_is_explained() {
    let openemr = OpenEmr::start();
    let (key, digest) = new_key();
    let mut config = config(&openemr);
    config["admin"] = json!({"api_keys": [digest]});
    let admin = Admin::start(config);
    let url = format!("http://{}", admin.address);
    let folder = Folder::empty();
    folder.secret("key", &format!("{key}\n"));
    let ended = folder.run(&["top", "--admin", &url, "--key-file", "key", "--once"]);
    assert!(ended.code == 0 && ended.out.contains("Site default"), "{}{}", ended.out, ended.err);
    let served = format!("http://{}", admin.gateway.address);
    for (arguments, message) in [
        (
            &["--admin", &url, "--once"][..],
            "401, it needs one of its keys\n  write a key into a file and name it with --key-file",
        ),
        (&["--admin", &served, "--once"], "404, this is no admin listener\n  name the address under admin.address"),
        (&["--admin", "ftp://x", "--once"], "--admin: `ftp://x`"),
        (&["--admin", &url, "--key-file", "nothing", "--once"], "nothing"),
    ] {
        let ended = top(arguments);
        assert!(ended.code == 1 && ended.err.contains(message) && !ended.err.contains(&key), "{message} in {}", ended.err);
    }
}

#[test]
fn what_is_wrong_with_the_url_is_said_of_the_gateway_and_without_a_password() {
    let ended = top(&["--once", "--admin", "http://me:geheim@gateway.example.org"]);
    assert!(ended.code == 1 && ended.err.contains("--admin holds a user name or a password"), "{}", ended.err);
    assert!(!ended.err.contains("geheim"), "{}", ended.err);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = top(&["--once", "--admin", &format!("http://{free}")]);
    assert!(ended.code == 1 && ended.err.contains("is the gateway running, and the port in --admin right?"), "{}", ended.err);
}
