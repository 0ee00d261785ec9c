//! What is believed of proxies in front of the gateway: who calls. What cannot be read makes a client a stranger, who is shown
//! no token, is in no network of `access.allow_from`, and has no address in the log.

use std::net::IpAddr;

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENT: &str = "/fhir/Patient?_count=1";
/// Trusted with `X-Forwarded-*`.
const X_PROXY: &str = "127.0.0.2";
/// Trusted with `Forwarded`.
const RFC_PROXY: &str = "127.0.0.4";

/// A gateway behind two proxies on this machine, that lets in every address that can be known.
fn behind_proxies(openemr: &OpenEmr) -> Value {
    let mut config = config(openemr);
    config["trusted_proxies"] = json!([{"from": X_PROXY, "fields": "x_forwarded"}, {"from": RFC_PROXY, "fields": "forwarded"}]);
    config["access"] = json!({"allow_from": ["0.0.0.0/0", "::/0"]});
    config["listen"] = json!([{"h2c": true}]);
    config
}

fn send(gateway: &Gateway, source: &str, head: &str) -> Answer {
    let mut connection = gateway.caller().connect_from(source.parse::<IpAddr>().unwrap());
    connection.write(head.as_bytes());
    connection.read(head.split(' ').next().unwrap())
}

/// The head of a request with these field lines, byte for byte.
fn head(method: &str, target: &str, lines: &[String]) -> String {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: gateway.example\r\n");
    for line in lines {
        head.push_str(line);
        head.push_str("\r\n");
    }
    head + if method == "POST" { "Content-Length: 0\r\n\r\n" } else { "\r\n" }
}

fn shows_token(gateway: &Gateway, source: &str, lines: &[String]) -> Option<bool> {
    let answer = send(gateway, source, &head("POST", "/oauth/token", lines));
    (answer.status == 200).then(|| answer.json()["access_token"].is_string())
}

/// What proxies write, or let pass, in place of an address: each in the spelling of both families.
fn unreadable() -> Vec<(&'static str, Vec<String>)> {
    let mut all = vec![
        (X_PROXY, vec![]),
        (RFC_PROXY, vec![]),
        // The other family is not believed, whatever it says.
        (X_PROXY, vec!["Forwarded: for=127.0.0.1".to_owned()]),
        (RFC_PROXY, vec!["X-Forwarded-For: 127.0.0.1".to_owned()]),
        (X_PROXY, vec!["X-Real-IP: 127.0.0.1".to_owned()]),
        (RFC_PROXY, vec!["Forwarded: proto=https".to_owned()]),
        (RFC_PROXY, vec!["Forwarded: for=127.0.0.1;for=127.0.0.1".to_owned()]),
        (RFC_PROXY, vec!["Forwarded: for=\"127.0.0.1".to_owned()]),
        (RFC_PROXY, vec!["Forwarded: for=\"x".to_owned(), "Forwarded: for=127.0.0.1".to_owned()]),
        // A trusted proxy is never the client, not even of another one; the other family's proxy has let this one pass.
        (X_PROXY, vec!["X-Forwarded-For: 127.0.0.2".to_owned()]),
        (X_PROXY, vec!["X-Forwarded-For: 127.0.0.1, 127.0.0.4".to_owned()]),
        (X_PROXY, vec!["X-Forwarded-For: 127.0.0.1".to_owned(), "X-Forwarded-For:".to_owned()]),
        (X_PROXY, vec![format!("X-Forwarded-For: 127.0.0.1{}", ", 127.0.0.2".repeat(20))]),
        (X_PROXY, vec![format!("X-Forwarded-For: {}", "127.0.0.1, ".repeat(40) + "127.0.0.1")]),
    ];
    for entry in [
        "",
        "unknown",
        "_hidden",
        "localhost",
        "127.0.0.1:",
        "127.0.0.1:99999",
        "127.0.0.1:x",
        "127.0.0.1:1:1",
        "127.1",
        "127.0.0.1/8",
        "127.0.0.01",
        "2130706433",
        "[127.0.0.1]",
        "::1%lo",
        "[::1%25lo]",
        "[::1",
        "::1]",
        "[::1]4711",
        "\u{e9}",
        "127.0.0.1\u{a0}",
        "127.0.0.1;x",
        "127.0.0.1 127.0.0.1",
        "\"127.0.0.1",
        "<script>",
    ] {
        all.push((X_PROXY, vec![format!("X-Forwarded-For: {entry}")]));
        all.push((X_PROXY, vec![format!("X-Forwarded-For: 127.0.0.1, {entry}")]));
        all.push((RFC_PROXY, vec![format!("Forwarded: for={entry}")]));
        all.push((RFC_PROXY, vec![format!("Forwarded: for=\"{entry}\"")]));
        all.push((RFC_PROXY, vec![format!("Forwarded: for=127.0.0.1, for=\"{entry}\"")]));
    }
    all
}

#[test]
fn what_cannot_be_read_makes_the_client_a_stranger() {
    let openemr = OpenEmr::start();
    let config = behind_proxies(&openemr);
    let closed = Gateway::with(config.clone());
    let mut config = config;
    config["access"] = json!("open");
    let open = Gateway::with(config);
    for (source, lines) in unreadable() {
        assert_eq!(shows_token(&open, source, &lines), Some(false), "{source} {lines:?}");
        let answer = send(&open, source, &head("GET", "/nowhere", &lines));
        let line = open.access_line(answer.field("x-request-id").unwrap());
        assert!(line.contains(" caller=- "), "{source} {lines:?}: {line}");
        assert_eq!(shows_token(&closed, source, &lines), None, "{source} {lines:?}");
        send(&closed, source, &head("GET", PATIENT, &lines)).outcome(403);
    }
    // OpenEMR's audit log gets to know that it is not known.
    let lines = ["X-Forwarded-For: 192.0.2.1, unknown".to_owned()];
    assert_eq!(send(&open, X_PROXY, &head("GET", PATIENT, &lines)).status, 200);
    assert_eq!(openemr.received("x-forwarded-for"), ["unknown, 127.0.0.2"]);
}

#[test]
fn every_legal_spelling_of_an_address_is_read() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(behind_proxies(&openemr));
    for (source, line, caller) in [
        (X_PROXY, "X-Forwarded-For: 192.0.2.1", "192.0.2.1"),
        (X_PROXY, "X-Forwarded-For: 192.0.2.1:47011", "192.0.2.1"),
        (X_PROXY, "X-Forwarded-For: 2001:db8::1", "2001:db8::1"),
        (X_PROXY, "X-Forwarded-For: [2001:DB8::1]:4711", "2001:db8::1"),
        (X_PROXY, "X-Forwarded-For: ::ffff:192.0.2.1", "192.0.2.1"),
        (X_PROXY, "X-Forwarded-For: unknown, \u{e9}, 192.0.2.1", "192.0.2.1"),
        (X_PROXY, "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1", "192.0.2.1"),
        (RFC_PROXY, "Forwarded: for=192.0.2.1", "192.0.2.1"),
        (RFC_PROXY, "Forwarded: For=\"192.0.2.1:47011\"", "192.0.2.1"),
        (RFC_PROXY, "Forwarded: for=\"192.0.2.1:_x\";proto=https;by=_gw", "192.0.2.1"),
        (RFC_PROXY, "Forwarded: proto=https;for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
        (RFC_PROXY, "Forwarded: for=\"_a, for=6.6.6.6\", for=192.0.2.1", "192.0.2.1"),
        // A peer that is not trusted speaks for itself.
        ("127.0.0.3", "X-Forwarded-For: 192.0.2.1", "127.0.0.3"),
        ("127.0.0.3", "Forwarded: for=192.0.2.1", "127.0.0.3"),
    ] {
        let answer = send(&gateway, source, &head("GET", "/nowhere", &[line.to_owned()]));
        assert_eq!(answer.status, 404, "{line}: {}", answer.text());
        let logged = gateway.access_line(answer.field("x-request-id").unwrap());
        assert!(logged.contains(&format!(" caller={caller} ")), "{line}: {logged}");
    }
}

#[test]
fn a_proxy_on_this_machine_that_nobody_listed_is_shown_no_token() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    let shown = |lines: &[String]| shows_token(&gateway, "127.0.0.1", lines);
    assert_eq!(shown(&[]), Some(true));
    assert_eq!(shown(&["User-Agent: curl/8".to_owned(), "X-Request-Id: 1".to_owned()]), Some(true));
    let names = [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Server",
        "x-forwarded-anything",
        "Forwarded",
        "X-Real-IP",
        "X_Forwarded_For",
        "X_Real_IP",
        "Via",
        "CF-Connecting-IP",
        "CF-Ray",
        "True-Client-IP",
        "X-Client-IP",
        "Client-IP",
        "X-Envoy-Expected-Rq-Timeout-Ms",
        "X-Cluster-Client-IP",
        "CDN-Loop",
        "X-Original-URI",
    ];
    let http2 = Http2::plain(gateway.address);
    assert!(http2.send("POST", "/oauth/token", &[], b"").json()["access_token"].is_string());
    for name in names {
        for value in ["192.0.2.1", "127.0.0.1", "", "unknown"] {
            assert_eq!(shown(&[format!("{name}: {value}")]), Some(false), "{name}: {value}");
        }
        let answer = http2.send("POST", "/oauth/token", &[(&name.to_ascii_lowercase(), "127.0.0.1")], b"");
        assert!(answer.status == 200 && !answer.json()["access_token"].is_string(), "{name} over HTTP/2");
    }
    // As nginx sends it when nothing else is configured.
    let answer = send(&gateway, "127.0.0.1", "POST /oauth/token HTTP/1.0\r\nHost: gateway\r\nConnection: close\r\n\r\n");
    assert!(answer.status == 200 && !answer.json()["access_token"].is_string(), "{}", answer.text());
}

#[test]
fn over_http2_the_same_is_believed() {
    let openemr = OpenEmr::start();
    let mut config = behind_proxies(&openemr);
    config["trusted_proxies"] = json!([{"from": "127.0.0.1", "fields": "forwarded"}]);
    let gateway = Gateway::with(config);
    let http2 = Http2::plain(gateway.address);
    for (fields, status, caller) in [
        (&[("forwarded", "for=192.0.2.1")][..], 404, "192.0.2.1"),
        (&[("forwarded", "for=6.6.6.6"), ("forwarded", "for=\"[2001:db8::1]\"")], 404, "2001:db8::1"),
        (&[("forwarded", "for=unknown")], 403, "-"),
        (&[("x-forwarded-for", "192.0.2.1")], 403, "-"),
        (&[], 403, "-"),
    ] {
        let answer = http2.send("GET", "/nowhere", fields, b"");
        assert_eq!(answer.status, status, "{fields:?}");
        let line = gateway.access_line(answer.field("x-request-id").unwrap());
        assert!(line.contains(&format!(" caller={caller} ")), "{fields:?}: {line}");
    }
}

#[test]
fn health_checks_of_a_proxy_are_its_own() {
    let openemr = OpenEmr::start();
    let mut config = behind_proxies(&openemr);
    config["access"] = json!({"allow_from": [X_PROXY, "192.0.2.0/24"]});
    let gateway = Gateway::with(config);
    let status = |source: &str, target: &str, lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        send(&gateway, source, &head("GET", target, &lines)).status
    };
    for target in ["/health", "/ready"] {
        assert_eq!(status(X_PROXY, target, &[]), 200);
        // The other proxy's address may not call, nor a client that is not known.
        assert_eq!(status(RFC_PROXY, target, &[]), 403);
        assert_eq!(status(X_PROXY, target, &["X-Forwarded-For: unknown"]), 403);
        assert_eq!(status(X_PROXY, target, &["Forwarded: for=192.0.2.1"]), 403);
        assert_eq!(status(X_PROXY, target, &["X-Forwarded-For: 198.51.100.1"]), 403);
        assert_eq!(status(X_PROXY, target, &["X-Forwarded-For: 192.0.2.1"]), 200);
    }
    for target in [PATIENT, "/.well-known/jwks.json", "/nowhere"] {
        assert_eq!(status(X_PROXY, target, &[]), 403, "{target}");
    }
}

#[test]
fn a_reload_trusts_another_proxy_and_warns() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(behind_proxies(&openemr));
    let lines = ["X-Forwarded-For: 192.0.2.1".to_owned()];
    let caller = || {
        let answer = send(&gateway, X_PROXY, &head("GET", "/nowhere", &lines));
        let line = gateway.access_line(answer.field("x-request-id").unwrap());
        line.split(" caller=").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };
    assert_eq!(caller(), "192.0.2.1");
    assert!(gateway.log().contains("public_url: is missing, and there are trusted_proxies"), "{}", gateway.log());
    let mut config = gateway.config.clone();
    config["trusted_proxies"] = json!([{"from": X_PROXY, "fields": "forwarded"}]);
    let log = gateway.reload(&config);
    assert!(log.contains("public_url: is missing, and there are trusted_proxies"), "{log}");
    assert_eq!(caller(), "-");
    config["trusted_proxies"] = json!([X_PROXY]);
    let log = gateway.reload(&config);
    assert!(log.contains("stays as it is") && log.contains("stands alone"), "{log}");
    assert_eq!(caller(), "-");
}
