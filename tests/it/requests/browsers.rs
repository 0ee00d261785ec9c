//! What a web page cannot do through a browser that can reach the gateway: it has no name for it, it cannot make the browser
//! send anything, it never sees the token, and nothing that comes back runs.

use crate::support::gateway::{Gateway, config};
use crate::support::http::Answer;
use crate::support::http2::{AUTHORITY, Http2};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const PATIENTS: &str = "/fhir/Patient?_count=1";
const APP: &str = "https://app.example.org";
const EVIL: &str = "https://evil.example";
const ROUTES: [&str; 7] = [PATIENTS, "/fhir/metadata", "/health", "/ready", "/.well-known/jwks.json", "/oauth/token", "/nowhere"];

/// A gateway whose names are the default ones, and those that `hosts` adds.
fn named(openemr: &OpenEmr, hosts: &[&str], change: impl FnOnce(&mut Value)) -> Gateway {
    let mut config = config(openemr);
    config["listen"] = json!([{"h2c": true}]);
    config["access"] = json!({"hosts": hosts});
    change(&mut config);
    Gateway::with(config)
}

/// A request by HTTP/1.1 and by HTTP/2, each for this host.
fn called(gateway: &Gateway, method: &str, target: &str, host: &str, fields: &[(&str, &str)]) -> [Answer; 2] {
    let with = |name| [&[(name, host)], fields].concat();
    let first = gateway.caller().send(method, target, &with("Host"), b"");
    [first, Http2::plain(gateway.address).send(method, target, &with(AUTHORITY), b"")]
}

#[test]
fn a_name_that_the_gateway_does_not_have_is_served_nowhere() {
    let openemr = OpenEmr::start();
    let gateway = named(&openemr, &[], |_| {});
    assert_eq!(gateway.caller().send("GET", PATIENTS, &[("Host", "localhost")], b"").status, 200);
    let before = openemr.count("fhir_requests");
    for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "10.11.12.13", "gateway", "[2001:db8::1]"] {
        for (method, target) in ROUTES.iter().flat_map(|target| ["GET", "POST", "OPTIONS", "HEAD"].map(|method| (method, target)))
        {
            for answer in called(&gateway, method, target, host, &[]) {
                assert_eq!(answer.status, 421, "{method} {target} {host}");
                if method != "HEAD" {
                    let words = answer.outcome(421);
                    assert!(words.contains("access.hosts") && !words.contains("evil"), "{words}");
                }
            }
        }
    }
    // A preflight asks by a name, too.
    let preflight = [("Host", "evil.example"), ("Origin", "http://evil.example"), ("Access-Control-Request-Method", "GET")];
    gateway.caller().send("OPTIONS", PATIENTS, &preflight, b"").outcome(421);
    assert_eq!((openemr.count("fhir_requests"), openemr.count("token_requests")), (before, 1));
}

#[test]
fn the_gateway_has_the_names_of_this_machine_and_those_that_are_configured() {
    let openemr = OpenEmr::start();
    let gateway = named(&openemr, &["gateway", "*.clinic.example", "192.0.2.7"], |config| {
        config["public_url"] = json!("https://fhir.example.org:8443/emr");
    });
    let port = gateway.address.port();
    for host in [
        "localhost",
        &format!("localhost:{port}"),
        "LOCALHOST:1",
        "app.localhost:3000",
        &gateway.address.to_string(),
        "127.0.0.1",
        "[::1]:8000",
        "fhir.example.org",
        "FHIR.example.org:8443",
        "gateway:8000",
        "a.clinic.example",
        "192.0.2.7:80",
    ] {
        for answer in called(&gateway, "GET", "/health", host, &[]) {
            assert_eq!(answer.status, 200, "{host}");
        }
    }
    for host in ["clinic.example", "a.clinic.example.evil.example", "gateway.evil.example", "192.0.2.8", "example.org"] {
        for answer in called(&gateway, "GET", "/health", host, &[]) {
            answer.outcome(421);
        }
    }
}

#[test]
fn a_listener_on_every_interface_has_the_address_that_was_called() {
    let openemr = OpenEmr::start();
    let port = crate::support::gateway::free_address().port();
    let gateway = named(&openemr, &[], |config| {
        config["listen"] = json!([{"address": format!("0.0.0.0:{port}")}]);
        config["access"]["allow_from"] = json!("open");
        config["access"]["anonymous"] = json!("everything");
    });
    // What a probe by address sends. 127.0.0.1 would be let in wherever it was called.
    let Some(own) = own_address() else { return println!("skipped: this machine has no address but loopback") };
    let there = crate::support::http::Caller::new((own, port).into());
    assert_eq!(there.send("GET", "/health", &[("Host", &own.to_string())], b"").status, 200);
    gateway.caller().send("GET", "/health", &[("Host", &own.to_string())], b"").outcome(421);
    there.send("GET", "/health", &[("Host", "0.0.0.0")], b"").outcome(421);
}

/// An address of this machine that is not loopback. No packet is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[test]
fn behind_a_trusted_proxy_the_name_that_it_was_called_by_counts_too() {
    let openemr = OpenEmr::start();
    for (host, evil) in [(true, 421), (false, 200)] {
        let gateway = named(&openemr, &["pub.example"], |config| {
            config["trusted_proxies"] = json!([{"from": "127.0.0.1", "fields": "x_forwarded", "host": host}]);
            config["access"]["allow_from"] = json!("open");
            config["access"]["anonymous"] = json!("everything");
        });
        let ask = |own: &str, believed: &str| {
            let fields = [("Host", own), ("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-Host", believed)];
            gateway.caller().send("GET", PATIENTS, &fields, b"").status
        };
        assert_eq!((ask("localhost", "pub.example:443"), ask("localhost", "evil.example")), (200, evil));
        assert_eq!(ask("evil.example", "pub.example"), 421, "the proxy's own name for it");
    }
}

#[test]
fn a_reload_changes_the_names() {
    let openemr = OpenEmr::start();
    let gateway = named(&openemr, &[], |_| {});
    let ask = || gateway.caller().send("GET", "/health", &[("Host", "gateway")], b"").status;
    assert_eq!(ask(), 421);
    let mut config = gateway.config.clone();
    config["access"]["hosts"] = json!(["gateway"]);
    assert!(gateway.reload(&config).contains("is in force"));
    assert_eq!(ask(), 200);
    config["access"]["hosts"] = json!(["*"]);
    let log = gateway.reload(&config);
    assert!(log.contains("is in force") && log.contains("takes every name"), "{log}");
    assert_eq!(gateway.caller().send("GET", "/health", &[("Host", "evil.example")], b"").status, 200);
}

#[test]
fn a_host_is_one_and_valid() {
    let openemr = OpenEmr::start();
    let gateway = named(&openemr, &[], |_| {});
    let before = openemr.count("fhir_requests");
    for host in [
        "",
        ":8000",
        "a b",
        "a,b",
        "localhost/x",
        "localhost:x",
        "localhost:99999",
        "[::1",
        "[::1]x",
        "a..b",
        "%6cocalhost",
        "l\u{f6}calhost",
    ] {
        for target in [PATIENTS, "/health"] {
            let answer = gateway.caller().send("GET", target, &[("Host", host)], b"");
            assert!(answer.outcome(400).contains("host"), "{host:?}");
        }
    }
    let lines = |text: &str| {
        let mut connection = gateway.caller().connect();
        connection.write(text.as_bytes());
        connection.read("GET").status
    };
    let localhost = "Host: localhost\r\n";
    for (line, hosts, status) in [
        (format!("GET {PATIENTS} HTTP/1.1"), String::new(), 400),
        (format!("GET {PATIENTS} HTTP/1.1"), localhost.repeat(2), 400),
        (format!("GET {PATIENTS} HTTP/1.1"), format!("{localhost}Host: evil.example\r\n"), 400),
        (format!("GET {PATIENTS} HTTP/1.1"), "Host: me@localhost\r\n".to_owned(), 400),
        (format!("GET http://localhost{PATIENTS} HTTP/1.1"), localhost.to_owned(), 200),
        (format!("GET http://localhost{PATIENTS} HTTP/1.1"), String::new(), 400),
        (format!("GET http://evil.example{PATIENTS} HTTP/1.1"), localhost.to_owned(), 400),
        (format!("GET http://localhost{PATIENTS} HTTP/1.1"), "Host: evil.example\r\n".to_owned(), 400),
        (format!("GET http://evil.example{PATIENTS} HTTP/1.1"), "Host: evil.example\r\n".to_owned(), 421),
        (format!("GET http://me@localhost{PATIENTS} HTTP/1.1"), localhost.to_owned(), 400),
        (format!("GET http://evil.example{PATIENTS} HTTP/1.0"), String::new(), 421),
        (format!("GET {PATIENTS} HTTP/1.0"), "Host: evil.example\r\n".to_owned(), 421),
        // HTTP/1.0 has no Host, and no browser speaks it.
        (format!("GET {PATIENTS} HTTP/1.0"), String::new(), 200),
    ] {
        assert_eq!(lines(&format!("{line}\r\n{hosts}\r\n")), status, "{line} {hosts}");
    }
    let http2 = Http2::plain(gateway.address);
    let both = [(AUTHORITY, "localhost"), ("host", "evil.example")];
    assert_ne!(http2.send("GET", PATIENTS, &both, b"").status, 200);
    let same = [(AUTHORITY, "localhost"), ("host", "localhost")];
    assert_eq!(Http2::plain(gateway.address).send("GET", PATIENTS, &same, b"").status, 200);
    assert_eq!(openemr.count("fhir_requests"), before + 3);
}

#[test]
fn the_token_is_shown_to_no_browser() {
    let openemr = OpenEmr::start();
    for exposure in ["loopback", "always"] {
        let gateway = named(&openemr, &[], |config| config["token_exposure"] = json!(exposure));
        let ask = |fields: &[(&str, &str)]| {
            let all = [&[("Host", "localhost")], fields].concat();
            gateway.caller().post("/oauth/token", &all, b"")
        };
        // curl, and Postman's agent on this machine.
        let curl = [("User-Agent", "curl/8.5.0"), ("Accept", "*/*")];
        let postman = [
            ("User-Agent", "PostmanRuntime/7.43.0"),
            ("Accept", "*/*"),
            ("Cache-Control", "no-cache"),
            ("Postman-Token", "0b1b4a49-8fc0-4b93-8d7c-6d1d4b0f4c11"),
            ("Accept-Encoding", "gzip, deflate, br"),
            ("Connection", "keep-alive"),
        ];
        for fields in [&[][..], &curl, &postman] {
            assert!(ask(fields).json()["access_token"].is_string(), "{fields:?}");
        }
        for mark in [
            ("Origin", "http://localhost"),
            ("Referer", "http://localhost/"),
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Site", "none"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("Sec-Fetch-User", "?1"),
            ("Sec-CH-UA", "x"),
        ] {
            let answer = ask(&[mark]);
            assert_eq!(answer.status, 200, "{mark:?}");
            let told = answer.json();
            assert!(told["access_token"].is_null() && told["access_token_sha256_prefix"].is_string(), "{mark:?}: {told}");
        }
        for method in ["GET", "HEAD"] {
            let answer = gateway.caller().send(method, "/oauth/token", &[("Host", "localhost")], b"");
            assert_eq!((answer.status, answer.field("allow")), (405, Some("POST")));
        }
    }
}

#[test]
fn a_page_of_another_site_makes_no_browser_call() {
    let openemr = OpenEmr::start();
    let gateway = named(&openemr, &["gateway.example"], |config| {
        config["sites"]["default"]["cors"] = json!({"origins": [APP]});
        config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    });
    assert_eq!(gateway.caller().get(PATIENTS).status, 200);
    let before = openemr.count("fhir_requests");
    for site in ["cross-site", "same-site", "", "x", "none, none"] {
        for target in ROUTES {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
                for origin in [None, Some(EVIL), Some("null")] {
                    let mut fields = vec![("Sec-Fetch-Site", site)];
                    fields.extend(origin.map(|origin| ("Origin", origin)));
                    let answer = gateway.caller().send(method, target, &fields, b"");
                    assert_eq!(answer.status, 403, "{method} {target} {fields:?}");
                }
            }
        }
    }
    // A link that somebody follows, a picture, a form.
    for fields in [
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-User", "?1")][..],
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")],
        &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "none")],
    ] {
        gateway.caller().send("GET", PATIENTS, fields, b"").outcome(403);
        Http2::plain(gateway.address).send("GET", PATIENTS, fields, b"").outcome(403);
    }
    assert_eq!((openemr.count("fhir_requests"), openemr.count("token_requests")), (before, 1));
    // Who was let in, and whom no page sent.
    for fields in [
        &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors"), ("Origin", APP)][..],
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Mode", "navigate")],
        &[("Sec-Fetch-Mode", "cors")],
    ] {
        assert_eq!(gateway.caller().send("GET", PATIENTS, fields, b"").status, 200, "{fields:?}");
    }
    // The token's route knows no site's rules: nobody was let in there.
    let forced = [("Sec-Fetch-Site", "cross-site"), ("Origin", APP)];
    assert_eq!(gateway.caller().post("/oauth/token?force=true", &forced, b"").status, 403);
    assert_eq!(openemr.count("token_requests"), 1);
    let preflight = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "cors"), ("Access-Control-Request-Method", "PUT")];
    for (origin, allowed) in [(APP, Some(APP)), (EVIL, None)] {
        let answer = gateway.caller().send("OPTIONS", PATIENTS, &[&preflight[..], &[("Origin", origin)]].concat(), b"");
        assert_eq!((answer.status, answer.field("access-control-allow-origin")), (204, allowed));
    }
}

/// Checks the fields that every answer has.
fn is_protected(answer: &Answer, what: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("content-security-policy", "sandbox; default-src 'none'"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{what}: {answer:?}");
    }
}

#[test]
fn every_answer_is_protected() {
    let openemr = OpenEmr::start();
    let gateway = named(&openemr, &["gateway.example"], |config| {
        config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
        config["sites"]["default"]["cors"] = json!({"origins": [APP]});
        config["limits"] = json!({"request_body": "1KiB", "request_target": "1KiB", "request_head": "4KiB"});
    });
    let http2 = Http2::plain(gateway.address);
    let tag = gateway.caller().get("/fhir/metadata").field("etag").unwrap().to_owned();
    let patient = json!({
        "resourceType": "Patient", "name": [{"use": "official", "family": "Sample", "given": ["Ada"]}],
        "gender": "female", "birthDate": "1984-02-29",
    });
    let patient = patient.to_string();
    let (long, json_type) = (format!("/fhir/Patient?name={}", "x".repeat(2000)), ("Content-Type", "application/fhir+json"));
    for (method, target, fields, body, status) in [
        ("GET", PATIENTS, &[][..], "", 200),
        ("HEAD", PATIENTS, &[], "", 200),
        ("GET", PATIENTS, &[("Accept-Encoding", "gzip")], "", 200),
        ("GET", PATIENTS, &[("Origin", APP)], "", 200),
        ("GET", "/fhir/metadata", &[], "", 200),
        ("GET", "/fhir/metadata", &[("If-None-Match", tag.as_str())], "", 304),
        ("GET", "/fhir/.well-known/smart-configuration", &[], "", 200),
        ("GET", "/fhir/Patient/nobody", &[], "", 400),
        ("GET", "/fhir/Observation", &[], "", 403),
        ("GET", "/fhir/Nonsense", &[], "", 404),
        ("POST", "/fhir/Patient", &[json_type], &patient, 201),
        ("GET", "/health", &[], "", 200),
        ("HEAD", "/health", &[], "", 200),
        ("GET", "/ready", &[], "", 200),
        ("GET", "/.well-known/jwks.json", &[], "", 200),
        ("POST", "/oauth/token", &[], "", 200),
        ("GET", "/oauth/token", &[], "", 405),
        ("GET", "/nowhere", &[], "", 404),
        ("OPTIONS", PATIENTS, &[], "", 204),
        ("OPTIONS", PATIENTS, &[("Origin", APP), ("Access-Control-Request-Method", "GET")], "", 204),
        ("GET", PATIENTS, &[("Sec-Fetch-Site", "cross-site")], "", 403),
        ("GET", "/fhir/a%00", &[], "", 400),
        ("GET", &long, &[], "", 414),
        ("POST", "/fhir/Patient", &[json_type], &patient.replace("Sample", &"x".repeat(2000)), 413),
    ] {
        let what = format!("{method} {target} {fields:?}");
        let answer = gateway.caller().send(method, target, fields, body.as_bytes());
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        is_protected(&answer, &what);
        let answer = http2.send(method, target, fields, body.as_bytes());
        assert_eq!(answer.status, status, "HTTP/2 {what}: {}", answer.text());
        is_protected(&answer, &what);
    }
    for answer in called(&gateway, "GET", "/health", "evil.example", &[]) {
        is_protected(&answer, "421");
    }
    openemr.order(&json!({"fhir": {"hang_up": true}}));
    let answer = gateway.caller().get(PATIENTS);
    assert_eq!(answer.status, 502);
    is_protected(&answer, "502");
    openemr.order(&json!({"fhir": null, "listener": "down"}));
    let answer = gateway.caller().get(PATIENTS);
    assert!(matches!(answer.status, 502 | 503), "{}", answer.status);
    is_protected(&answer, "OpenEMR is gone");
}

#[test]
fn no_browser_shows_what_could_run() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let picture = "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    for (content_type, told, disposition) in [
        ("image/svg+xml", "image/svg+xml", Some("attachment")),
        ("application/xhtml+xml", "application/xhtml+xml", Some("attachment")),
        ("text/xml", "text/xml", Some("attachment")),
        ("application/javascript", "application/javascript", Some("attachment")),
        ("application/pdf", "application/pdf", Some("attachment")),
        ("nonsense", "application/octet-stream", Some("attachment")),
        ("image/png", "image/png", None),
        ("text/plain", "text/plain", None),
    ] {
        let answer = json!({"status": 200, "body": picture, "content_type": content_type});
        openemr.order(&json!({"fhir": {"target": "/Binary", "answer": answer}}));
        for method in ["GET", "HEAD"] {
            let answer = gateway.caller().send(method, "/fhir/Binary/1", &[], b"");
            assert_eq!(answer.status, 200, "{content_type}: {}", answer.text());
            assert_eq!(answer.field("content-type"), Some(told), "{method} {content_type}");
            assert_eq!(answer.field("content-disposition"), disposition, "{method} {content_type}");
            is_protected(&answer, content_type);
        }
        assert_eq!(gateway.caller().get("/fhir/Binary/1").text(), picture, "what a program gets is the same");
    }
    // A page with no name of a file is no document, and does not come at all.
    let page = json!({"status": 200, "body": "<html></html>", "content_type": "text/html"});
    openemr.order(&json!({"fhir": {"target": "/Binary", "answer": page}}));
    gateway.caller().get("/fhir/Binary/1").outcome(502);
}
