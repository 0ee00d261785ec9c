//! `health` against a running gateway, and against what is none.

use serde_json::json;

use crate::support::command::{Ended, Folder};
use crate::support::gateway::{Certificate, Gateway, config, free_address};
use crate::support::openemr::OpenEmr;
use crate::support::raw_openemr::RawOpenEmr;

fn ask(arguments: &[&str]) -> Ended {
    Folder::empty().run(&[&["health"], arguments].concat())
}

fn good(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{}", ended.err);
    ended.out
}

fn fails(ended: Ended, message: &str) {
    assert!(ended.code == 1 && ended.err.contains(message), "not `{message}` but\n{}", ended.err);
}

#[test]
fn a_gateway_is_asked_by_its_address_or_by_its_configuration() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let (url, file) = (format!("http://{}", gateway.address), gateway.config_file());
    for from in [["--url", &url], ["--config", file.to_str().unwrap()]] {
        assert_eq!(good(ask(&from)), "ok\n");
        assert_eq!(good(ask(&[&from[..], &["--ready"]].concat())), "ready\n");
    }
    assert_eq!(good(ask(&["--url", &format!("{url}/ready")])), "ready\n");

    let mut changed = gateway.config.clone();
    changed["access"] = json!({"allow_from": ["10.0.0.0/8"]});
    gateway.reload(&changed);
    fails(ask(&["--url", &url]), "403, it may not be called from here\n  name this machine's address in access.allow_from");
}

#[test]
fn without_a_token_it_runs_and_is_not_ready() {
    let openemr = OpenEmr::start();
    openemr.order(&json!({"token": {"down": true}}));
    let gateway = Gateway::start(&openemr);
    let url = format!("http://{}", gateway.address);
    assert_eq!(good(ask(&["--url", &url])), "down\n");
    fails(ask(&["--url", &url, "--ready"]), "/ready: not ready (status 503)");
}

#[test]
fn https_is_verified_by_url_and_not_on_this_machine() {
    let openemr = OpenEmr::start();
    let certificate = Certificate::make();
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": certificate.tls()}]);
    let gateway = Gateway::with(config);
    let url = format!("https://localhost:{}", gateway.address.port());
    let ca_file = certificate.certificate.to_str().unwrap();
    assert_eq!(good(ask(&["--url", &url, "--ca-file", ca_file])), "ok\n");
    // The system may know an authority of the same name: then it is the signature that is wrong, not the issuer that is unknown.
    fails(ask(&["--url", &url]), &format!("error: {url}: "));
    assert_eq!(good(ask(&["--config", gateway.config_file().to_str().unwrap()])), "ok\n");
    fails(ask(&["--url", &format!("http://{}", gateway.address)]), "error: ");
}

#[test]
fn what_is_no_gateway_fails() {
    fails(
        ask(&["--url", &format!("http://{}", free_address())]),
        "nothing listens there (Connection refused): is the gateway running",
    );
    let page = RawOpenEmr::start(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec());
    fails(ask(&["--url", &format!("http://{}", page.address)]), "is none of this gateway's");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    fails(ask(&["--url", &url, "--timeout", "100ms"]), "--timeout");
    fails(ask(&["--url", "gateway"]), "--url: `gateway` does not begin with https:// or http://");
    let ended = ask(&["--url", "http://me:geheim@gateway.example.org"]);
    assert!(!ended.err.contains("geheim"), "{}", ended.err);
    fails(ended, "--url holds a user name or a password");
    assert_eq!(ask(&[]).code, 2);
}
