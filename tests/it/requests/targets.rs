//! Request targets that servers could read differently are rejected on every route, and no route is reached by another spelling.

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use serde_json::json;

/// The answer to a request line, byte for byte.
fn ask(gateway: &Gateway, method: &str, target: &[u8]) -> Answer {
    let mut connection = gateway.caller().connect();
    let head = [method.as_bytes(), b" ", target, b" HTTP/1.1\r\nHost: gateway.example\r\nContent-Length: 0\r\n\r\n"].concat();
    connection.write(&head);
    connection.read(method)
}

#[test]
fn a_target_that_servers_could_read_differently_is_400_on_every_route() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let before = openemr.state()["paths"].clone();
    for route in ["/fhir/Patient", "/health", "/ready", "/.well-known/jwks.json", "/oauth/token", "/nowhere"] {
        let method = if route == "/oauth/token" { "POST" } else { "GET" };
        let (first, rest) = route[1..].split_once('/').map_or((&route[1..], ""), |(first, rest)| (first, rest));
        let below = |inserted: &str| format!("/{first}/{inserted}/{rest}");
        let mut targets: Vec<Vec<u8>> = [
            format!("ftp://gateway.example{route}"),
            format!("file://{route}"),
            format!("javascript:{route}"),
            format!("http:{route}"),
            format!("x{route}"),
            format!("?{route}"),
            format!("/{route}"),
            format!("/.{route}"),
            format!("/x/..{route}"),
            format!("/..;{route}"),
            format!("/.;x{route}"),
            format!("/;{route}"),
            format!("{route}/.."),
            format!("{route}/..;x"),
            format!("{route}/%2e"),
            format!("{route}/%2e%2e%3b"),
            format!("{route}/%252e"),
            format!("{route}/%2f"),
            format!("{route}%5c"),
            format!("{route}\\"),
            format!("{route}%00"),
            format!("{route}%u002e"),
            format!("{route}%"),
            format!("{route}%c0%ae"),
            format!("{route}%e0%80%ae"),
            format!("{route}%ed%a0%80"),
            format!("{route}%fc"),
            format!("{route}%c3"),
            format!("{route}\u{fc}"),
            format!("{route}?name=M\u{fc}ller"),
            format!("{route}?name=M%fcller"),
            format!("{route}?name=%c0%ae"),
            format!("{route}#fragment"),
            format!("{route}?_count=1#fragment"),
            format!("#{route}"),
            format!("http://gateway.example/..;{route}"),
            format!("http://gateway.example{route}#x"),
            below("."),
            below(".."),
            below("..;"),
            below("%c0%ae%c0%ae"),
        ]
        .map(String::into_bytes)
        .to_vec();
        // Not even UTF-8.
        targets.push([route.as_bytes(), b"\xfc"].concat());
        targets.push([route.as_bytes(), b"/\xc0\xae\xc0\xae/x"].concat());
        targets.push([route.as_bytes(), b"?name=M\xfcller"].concat());
        for target in targets {
            let answer = ask(&gateway, method, &target);
            let target = String::from_utf8_lossy(&target);
            assert_eq!(answer.status, 400, "{target}: {}", answer.text());
            let words = answer.outcome(400);
            assert!(
                words.starts_with("The request was refused: the ") || words == "The request target is not well-formed.",
                "{target}: {words}"
            );
            assert!(!answer.text().contains("gateway.example") && !answer.text().contains("M%fc"), "{target}: {}", answer.text());
        }
        for target in ["*", "gateway.example:443"] {
            ask(&gateway, method, target.as_bytes()).outcome(400);
        }
        for control in [0, 1, b'\t', 0x7f] {
            let answer = ask(&gateway, method, &[route.as_bytes(), &[control]].concat());
            assert_eq!(answer.status, 400, "{route} {control}");
            // Pingora would escape it.
            ask(&gateway, method, &[route.as_bytes(), b"?a=", &[control]].concat()).outcome(400);
        }
        ask(&gateway, method, format!("{route} x").as_bytes()).outcome(400);
        ask(&gateway, method, format!("{route}?a= x").as_bytes()).outcome(400);
    }
    ask(&gateway, "OPTIONS", b"*").outcome(400);
    let exchanges = before["POST /oauth2/default/token"].clone();
    let after = openemr.state()["paths"].clone();
    assert_eq!(
        (&after["POST /oauth2/default/token"], after.as_object().unwrap().len()),
        (&exchanges, before.as_object().unwrap().len())
    );
}

#[test]
fn over_http2_they_are_400_too() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    let before = openemr.count("fhir_requests");
    let http2 = Http2::plain(gateway.address);
    for route in ["/fhir/Patient", "/health", "/nowhere"] {
        for target in [
            format!("/{route}"),
            format!("/..;{route}"),
            format!("{route}/.."),
            format!("{route}/.;x/y"),
            format!("{route}%c0%ae"),
            format!("{route}%fc"),
            format!("{route}%00"),
            format!("{route}%u002e"),
            format!("{route}?a=%fc"),
            format!("{route}\u{fc}"),
            format!("{route}?a=\u{fc}"),
            format!("ftp://gateway.example{route}"),
        ] {
            let answer = http2.send("GET", &target, &[], b"");
            assert_eq!(answer.status, 400, "{target}: {}", answer.text());
            assert_eq!(answer.json()["resourceType"], "OperationOutcome", "{target}");
        }
    }
    assert_eq!(openemr.count("fhir_requests"), before);
}

#[test]
fn no_route_is_reached_by_another_spelling() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for target in [
        "/health/",
        "/HEALTH",
        "/%68ealth",
        "/health;x",
        "/health%20",
        "/health.",
        "/heal%74h",
        "/oauth/token/",
        "/oauth/token;x",
        "/oauth/%74oken",
        "/oauth%2dtoken",
        "/FHIR/Patient",
        "/fhi%72/Patient",
        "/fhir;x/Patient",
        "/fhir./Patient",
        "/",
        "/fhirx",
    ] {
        for method in ["GET", "POST"] {
            let answer = ask(&gateway, method, target.as_bytes());
            assert_eq!(answer.status, 404, "{method} {target}: {}", answer.text());
        }
    }
    // Absolute-form is another form of the same target, not another spelling (RFC 9112 section 3.2.2).
    for target in ["http://gateway.example/health", "HTTPS://gateway.example/health?x"] {
        assert_eq!(ask(&gateway, "GET", target.as_bytes()).status, 200, "{target}");
    }
}
