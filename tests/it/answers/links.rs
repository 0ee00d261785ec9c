//! Links in answers point to the address at which the client called the gateway; links in requests are mapped to OpenEMR's.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::gateway::{Certificate, Gateway, config, pass_through, site};
use crate::support::http::{Answer, End, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;
use crate::support::told_openemr::{FRAMINGS, Told};
use serde_json::{Value, json};

/// What OpenEMR calls itself, wherever it is.
const EMR: &str = "https://emr.example.org";
const HERE: &str = "http://gateway.example/fhir";
const FHIR: &str = "/apis/default/fhir";

/// An OpenEMR that calls itself by a public name, of either spelling.
fn openemr(version: &str) -> OpenEmr {
    OpenEmr::with(&["--openemr", version, "--site-address", EMR])
}

/// With the one repair that this is about, so that nothing else changes.
fn links_alone(openemr: &OpenEmr) -> Value {
    let mut config = pass_through(openemr);
    let site = &mut config["sites"]["default"];
    site["repairs"] = json!({"links": true});
    // OpenEMR's own token URL is its audience, whatever it is called by.
    site["token_audience"] = json!(format!("{EMR}/oauth2/default/token"));
    config
}

fn target_at(openemr: &OpenEmr) -> String {
    openemr.state()["last_fhir_request"]["target"].as_str().unwrap().to_owned()
}

fn sha256(bytes: &[u8]) -> String {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What OpenEMR got as the body of its last request.
fn assert_received(openemr: &OpenEmr, body: &str) {
    let state = openemr.state();
    let last = &state["last_fhir_request"];
    assert_eq!(last["body_length"], body.len(), "{last}");
    assert_eq!(last["body_sha256"], sha256(body.as_bytes()), "{last}");
}

#[test]
fn every_link_of_a_search_points_back_in_both_spellings_and_in_any_pieces() {
    for (version, slash) in [("8.0", "\\/"), ("7.0.3", "/")] {
        let openemr = openemr(version);
        let gateway = Gateway::with(links_alone(&openemr));
        for piece in [1, 7, 100, 100_000] {
            openemr.order(&json!({"fhir": {"target": "/Patient", "piece_bytes": piece}}));
            let answer = gateway.caller().get("/fhir/Patient");
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{version}: {}", answer.text());
            assert!(answer.text().contains(&HERE.replace('/', slash)), "{version}: {}", answer.text());
            assert!(!answer.text().contains("emr.example.org"), "{version}: {}", answer.text());
            let bundle = answer.json();
            assert_eq!(bundle["link"][0]["url"], format!("{HERE}/Patient"));
            let entries = bundle["entry"].as_array().unwrap();
            assert_eq!(entries.len(), 20);
            for entry in entries {
                assert_eq!(entry["fullUrl"], format!("{HERE}/Patient/{}", entry["resource"]["id"].as_str().unwrap()));
            }
        }
    }
}

#[test]
fn nothing_but_links_changes() {
    let openemr = openemr("8.0");
    let gateway = Gateway::with(links_alone(&openemr));
    let at = openemr.address;
    let body = format!(
        r#"{{"a":"{EMR}{FHIR}/Patient/1","b":"https:\/\/emr.example.org\/apis\/default\/fhir","c":"{EMR}{FHIR}x","d":"{EMR}.evil{FHIR}",
"e":"{EMR}/oauth2/default","f":"http://{at}{FHIR}/A","g":"http://{at}0{FHIR}","h":"x{EMR}{FHIR}","i":"\u003Ca href=\u0022https:\/\/emr.example.org\/apis\/default\/fhir\/B\u0022","j":"ü"}}"#
    );
    let expected = format!(
        r#"{{"a":"{HERE}/Patient/1","b":"http:\/\/gateway.example\/fhir","c":"{EMR}{FHIR}x","d":"{EMR}.evil{FHIR}",
"e":"{EMR}/oauth2/default","f":"{HERE}/A","g":"http://{at}0{FHIR}","h":"x{EMR}{FHIR}","i":"\u003Ca href=\u0022http:\/\/gateway.example\/fhir\/B\u0022","j":"ü"}}"#
    );
    for framing in ["chunked", "content_length", "http10"] {
        for (content_type, expected) in [
            ("application/json", &expected),
            ("application/fhir+json; charset=utf-8", &expected),
            ("application/fhir+ndjson", &expected),
            ("application/fhir+xml", &expected),
            ("text/plain", &expected),
            ("application/octet-stream", &body),
            ("application/pdf", &body),
            ("image/png", &body),
        ] {
            openemr.order(&json!({"fhir": {
                "target": "/Patient", "answer": {"status": 200, "body": body, "content_type": content_type},
                "framing": framing, "piece_bytes": 50,
            }}));
            let answer = gateway.caller().get("/fhir/Patient/1");
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{content_type} {framing}");
            assert_eq!(answer.text(), *expected, "{content_type} {framing}");
            if let Some(length) = answer.field("content-length") {
                assert_eq!(length, expected.len().to_string(), "{content_type} {framing}");
            }
        }
    }
}

#[test]
fn switched_off_it_touches_nothing() {
    let openemr = openemr("8.0");
    let mut config = links_alone(&openemr);
    config["sites"]["default"]["repairs"] = json!({"links": false});
    let gateway = Gateway::with(config);
    let body = format!(r#"{{"reference":"{HERE}/Patient/1"}}"#);
    gateway.caller().post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], body.as_bytes());
    assert_received(&openemr, &body);
    let answer = gateway.caller().get(&format!("/fhir/Patient?general-practitioner={HERE}/Practitioner/1"));
    assert_eq!(target_at(&openemr), format!("{FHIR}/Patient?general-practitioner={HERE}/Practitioner/1"));
    assert_eq!(answer.json()["link"][0]["url"], format!("{EMR}{FHIR}/Patient"));
    // OpenEMR was not asked for its own name.
    assert_eq!(openemr.came(&format!("GET {FHIR}/metadata")), 0);
}

#[test]
fn an_export_is_followed_through_the_gateway() {
    let openemr = openemr("8.0");
    let mut config = links_alone(&openemr);
    config["sites"]["default"]["scopes"] =
        json!(["system/Patient.read", "system/Binary.read", "system/*.$export", "system/*.$bulkdata-status"]);
    let gateway = Gateway::with(config);
    let caller = gateway.caller();
    let fields = [("Accept", "application/fhir+json"), ("Prefer", "respond-async")];
    let kick_off = caller.send("GET", "/fhir/$export", &fields, b"");
    assert_eq!(kick_off.status, 202, "{}", kick_off.text());
    let status = kick_off.field("content-location").unwrap();
    let target = status.strip_prefix("http://gateway.example").unwrap_or_else(|| panic!("{status}"));
    assert!(target.starts_with("/fhir/$bulkdata-status?job="), "{status}");
    let manifest =
        crate::support::eventually("the export is done", || Some(caller.get(target)).filter(|answer| answer.status == 200));
    assert!(!manifest.text().contains("emr.example.org"), "{}", manifest.text());
    let file = manifest.json()["output"][0]["url"].as_str().unwrap().to_owned();
    let download = caller.get(file.strip_prefix("http://gateway.example").unwrap_or_else(|| panic!("{file}")));
    assert_eq!((download.status, download.end), (200, End::Whole));
    assert_eq!(download.text().lines().count(), 20);
}

/// `self` of a search, which says where the gateway believes that it was called.
fn called_at(gateway: &Gateway, fields: &[(&str, &str)]) -> String {
    let answer = gateway.caller().send("GET", "/fhir/Patient?_count=1", fields, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let link = answer.json()["link"][0]["url"].as_str().unwrap().to_owned();
    link.strip_suffix("/Patient").unwrap_or_else(|| panic!("{link}")).to_owned()
}

#[test]
fn links_lead_to_where_the_caller_called() {
    let openemr = openemr("8.0");
    let gateway = Gateway::with(links_alone(&openemr));
    let itself = format!("http://{}/fhir", gateway.address);
    for (host, base) in [
        ("gw.example", "http://gw.example/fhir"),
        ("gw.example:8000", "http://gw.example:8000/fhir"),
        ("gw.example:80", "http://gw.example/fhir"),
        ("[::1]:8000", "http://[::1]:8000/fhir"),
    ] {
        assert_eq!(called_at(&gateway, &[("Host", host)]), base);
    }
    // A stranger's word about proxies is none.
    let forwarded = [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "https"), ("Forwarded", "host=evil.example")];
    assert_eq!(called_at(&gateway, &forwarded), HERE);
    // What is no host never comes back, whether it is refused or passed over.
    for host in ["\"><script>", "a\\b", "user@evil.example", "gw.example/evil", "gw example", "a,b"] {
        let answer = gateway.caller().send("GET", "/fhir/Patient?_count=1", &[("Host", host)], b"");
        assert!(!answer.text().contains(host), "{host}: {}", answer.text());
        if answer.status == 200 {
            assert_eq!(answer.json()["link"][0]["url"], format!("{itself}/Patient"), "{host}");
        } else {
            assert_eq!(answer.status, 400, "{host}: {}", answer.text());
        }
    }
    let mut connection = gateway.caller().connect();
    connection.write(b"GET /fhir/Patient?_count=1 HTTP/1.0\r\n\r\n");
    let answer = connection.read("GET");
    assert_eq!(answer.json()["link"][0]["url"], format!("{itself}/Patient"), "HTTP/1.0 without Host");
}

#[test]
fn public_url_and_trusted_proxies_say_where_that_is() {
    let openemr = openemr("8.0");
    let mut config = links_alone(&openemr);
    config["trusted_proxies"] = json!([
        {"from": "127.0.0.1", "fields": "x_forwarded", "host": true},
        {"from": "127.0.0.2", "fields": "forwarded", "host": true},
    ]);
    config["access"] = json!("open");
    let gateway = Gateway::with(config.clone());
    let client = ("X-Forwarded-For", "192.0.2.1");
    for (fields, base) in [
        (&[client][..], HERE),
        (&[client, ("X-Forwarded-Proto", "https")], "https://gateway.example/fhir"),
        (&[client, ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "pub.example")], "https://pub.example/fhir"),
        (
            &[client, ("X-Forwarded-Host", "pub.example"), ("X-Forwarded-Port", "8443"), ("X-Forwarded-Prefix", "/emr")],
            "http://pub.example:8443/emr/fhir",
        ),
        (&[client, ("X-Forwarded-Host", "evil.example, pub.example")], "http://pub.example/fhir"),
        (&[client, ("X-Forwarded-Prefix", "/a\"b")], HERE),
        // The other family, and a proxy that does not name its client.
        (&[client, ("Forwarded", "for=192.0.2.1;proto=https;host=evil.example")], HERE),
        (&[("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "pub.example")], HERE),
    ] {
        assert_eq!(called_at(&gateway, fields), base, "{fields:?}");
    }
    let unreadable = [client, ("X-Forwarded-Host", "\"><script>")];
    gateway.caller().send("GET", "/fhir/Patient?_count=1", &unreadable, b"").outcome(400);
    let mut connection = gateway.caller().connect_from("127.0.0.2".parse().unwrap());
    let forwarded = [("Forwarded", "for=192.0.2.1;proto=https;host=\"pub.example:444\""), ("X-Forwarded-Host", "evil.example")];
    connection.write(&request("GET", "/fhir/Patient?_count=1", &forwarded, b""));
    assert_eq!(connection.read("GET").json()["link"][0]["url"], "https://pub.example:444/fhir/Patient");
    // Without having been asked for, the host is the one that the client called.
    config["trusted_proxies"] = json!([{"from": "127.0.0.1", "fields": "x_forwarded"}]);
    let modest = Gateway::with(config.clone());
    let fields = [client, ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Prefix", "/evil")];
    assert_eq!(called_at(&modest, &fields), "https://gateway.example/fhir");
    config["public_url"] = json!("https://fhir.example:8443/clinic/");
    let gateway = Gateway::with(config);
    assert_eq!(
        called_at(&gateway, &[("Host", "gw.example"), ("X-Forwarded-Host", "pub.example")]),
        "https://fhir.example:8443/clinic/fhir"
    );
}

#[test]
fn over_tls_they_are_https() {
    let openemr = openemr("8.0");
    let mut config = links_alone(&openemr);
    let made = Certificate::make();
    config["listen"] = json!([{"tls": made.tls()}]);
    let gateway = Gateway::with(config);
    let mut connection = gateway.caller().connect_tls(&made.certificate);
    connection.write(&request("GET", "/fhir/Patient?_count=1", &[("Host", "localhost:8443")], b""));
    assert_eq!(connection.read("GET").json()["link"][0]["url"], "https://localhost:8443/fhir/Patient");
}

#[test]
fn over_http2_they_lead_to_its_authority() {
    let openemr = openemr("8.0");
    let mut config = links_alone(&openemr);
    config["listen"] = json!([{"h2c": true}]);
    let gateway = Gateway::with(config);
    let answer = Http2::plain(gateway.address).get("/fhir/Patient?_count=1");
    assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
    assert_eq!(answer.json()["link"][0]["url"], format!("{HERE}/Patient"));
}

#[test]
fn an_openemr_that_does_not_say_what_it_is_called_holds_nobody_up() {
    let openemr = openemr("8.0");
    openemr.order(&json!({"fhir": {"target": "/metadata", "silent": true}}));
    let gateway = Gateway::with(links_alone(&openemr));
    let asked = Instant::now();
    // The configured address is known all the same.
    let body = json!({"a": format!("http://{}{FHIR}/X", openemr.address), "b": format!("{EMR}{FHIR}/X")}).to_string();
    openemr.order(&json!({"fhir": [
        {"target": "/metadata", "silent": true}, {"target": "/Goal", "answer": {"status": 200, "body": body}},
    ]}));
    let answer = gateway.caller().get("/fhir/Goal").json();
    assert_eq!(
        (answer["a"].as_str().unwrap(), answer["b"].as_str().unwrap()),
        (&*format!("{HERE}/X"), &*format!("{EMR}{FHIR}/X"))
    );
    // So long the gateway itself waits for a CapabilityStatement; a request waits for less.
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
}

#[test]
fn a_second_site_has_its_own_base_and_other_names() {
    let openemr = OpenEmr::with(&["--site", "default", "--site", "clinic-b"]);
    let mut config = config(&openemr);
    config["sites"]["clinic-b"] = site(&openemr.base, "RS384");
    config["sites"]["clinic-b"]["also_known_as"] = json!(["https://old.example/apis/b/fhir"]);
    for name in ["default", "clinic-b"] {
        config["sites"][name]["conformance"] = json!("pass_through");
        config["sites"][name]["repairs"] = json!({"links": true});
        config["sites"][name]["paging"] = json!("off");
    }
    let gateway = Gateway::with(config);
    let url = |path: &str| gateway.caller().get(path).json()["link"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(url("/fhir/Patient?_count=1"), "http://gateway.example/fhir/Patient");
    assert_eq!(url("/clinic-b/fhir/Patient?_count=1"), "http://gateway.example/clinic-b/fhir/Patient");
    let other = format!("{}/apis/clinic-b/fhir/X", openemr.base);
    let body = json!({"own": "https://old.example/apis/b/fhir/X", "other": other}).to_string();
    openemr.order(&json!({"fhir": {"target": "/Goal", "answer": {"status": 200, "body": body}}}));
    let answer = gateway.caller().get("/clinic-b/fhir/Goal");
    assert_eq!(
        answer.json(),
        json!({"own": "http://gateway.example/clinic-b/fhir/X", "other": "http://gateway.example/clinic-b/fhir/X"})
    );
    // The one site's address in the other's answer is none of its business.
    assert_eq!(gateway.caller().get("/fhir/Goal").json(), json!({"own": "https://old.example/apis/b/fhir/X", "other": other}));
}

#[test]
fn a_body_sent_back_names_openemr_and_keeps_its_length_right() {
    let openemr = openemr("8.0");
    let gateway = Gateway::with(links_alone(&openemr));
    let fhir = [("Content-Type", "application/fhir+json")];
    for (sent, received) in [
        (format!(r#"{{"url":"{HERE}/Patient/1"}}"#), format!(r#"{{"url":"{EMR}{FHIR}/Patient/1"}}"#)),
        (
            r#"{"url":"http:\/\/gateway.example\/fhir\/Patient\/1","x":"http:\/\/gateway.example\/fhirs"}"#.to_owned(),
            r#"{"url":"https:\/\/emr.example.org\/apis\/default\/fhir\/Patient\/1","x":"http:\/\/gateway.example\/fhirs"}"#
                .to_owned(),
        ),
        (r#"{"name":"nothing to change"}"#.to_owned(), r#"{"name":"nothing to change"}"#.to_owned()),
    ] {
        gateway.caller().post("/fhir/Patient", &fhir, sent.as_bytes());
        assert_received(&openemr, &received);
        assert_eq!(openemr.received("content-length"), [received.len().to_string()]);
        assert!(openemr.received("transfer-encoding").is_empty());

        // Chunks go on as chunks, whatever the pieces.
        let mut connection = gateway.caller().connect();
        connection.write(b"PUT /fhir/Patient/1 HTTP/1.1\r\nHost: gateway.example\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in sent.as_bytes().chunks(9) {
            connection.write(format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()).as_bytes());
        }
        connection.write(b"0\r\n\r\n");
        connection.read("PUT");
        assert_received(&openemr, &received);
    }
    // What is no text stays.
    let binary = format!("{HERE}/Patient/1");
    gateway.caller().post("/fhir/Binary", &[("Content-Type", "application/octet-stream")], binary.as_bytes());
    assert_received(&openemr, &binary);
    // One that is too long to be kept goes as it is, with its length.
    let long = format!(r#"{{"url":"{HERE}/Patient/1","x":"{}"}}"#, "x".repeat(70_000));
    gateway.caller().post("/fhir/Patient", &fhir, long.as_bytes());
    assert_received(&openemr, &long);
}

#[test]
fn a_changed_body_is_sent_again_whole_when_the_token_was_refused() {
    let openemr = openemr("8.0");
    let mut config = links_alone(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    let gateway = Gateway::with(config);
    let sent = format!(r#"{{"url":"{HERE}/Patient/1"}}"#);
    let received = format!(r#"{{"url":"{EMR}{FHIR}/Patient/1"}}"#);
    for chunked in [false, true] {
        openemr.order(&json!({"fhir": {"refuse": "not_verified", "method": "POST", "times": 1}}));
        let before = openemr.count("fhir_requests");
        if chunked {
            let mut connection = gateway.caller().connect();
            let head = "POST /fhir/Patient HTTP/1.1\r\nHost: gateway.example\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
            connection.write(format!("{head}{:x}\r\n{sent}\r\n0\r\n\r\n", sent.len()).as_bytes());
            connection.read("POST");
        } else {
            gateway.caller().post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], sent.as_bytes());
        }
        assert_eq!(openemr.count("fhir_requests"), before + 2);
        assert_received(&openemr, &received);
    }
}

#[test]
fn a_caller_who_waits_for_leave_gets_it() {
    let openemr = openemr("8.0");
    let gateway = Gateway::with(links_alone(&openemr));
    let sent = format!(r#"{{"url":"{HERE}/Patient/1"}}"#);
    let mut connection = gateway.caller().connect();
    let head = format!(
        "POST /fhir/Patient HTTP/1.1\r\nHost: gateway.example\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        sent.len()
    );
    connection.write(head.as_bytes());
    assert_eq!(connection.read_head().status, 100);
    connection.write(sent.as_bytes());
    let answer = connection.read("POST");
    assert!(answer.status >= 200, "{answer:?}");
    assert_received(&openemr, &format!(r#"{{"url":"{EMR}{FHIR}/Patient/1"}}"#));
}

#[test]
fn references_in_queries_and_forms_name_openemrs_own() {
    let openemr = openemr("8.0");
    let gateway = Gateway::with(links_alone(&openemr));
    let encoded = "http%3A%2F%2Fgateway.example%2Ffhir%2FPatient%2F1";
    for (asked, received) in [
        (format!("/Observation?patient={HERE}/Patient/1"), "/Observation?patient=Patient%2F1"),
        (format!("/Observation?_count=5&patient={encoded}&x=a+b"), "/Observation?_count=5&patient=Patient%2F1&x=a+b"),
        (
            "/Observation?patient=http://other.example/fhir/Patient/1".to_owned(),
            "/Observation?patient=http://other.example/fhir/Patient/1",
        ),
        (
            format!("/ValueSet?url={HERE}/ValueSet/1"),
            "/ValueSet?url=https%3A%2F%2Femr.example.org%2Fapis%2Fdefault%2Ffhir%2FValueSet%2F1",
        ),
    ] {
        gateway.caller().get(&format!("/fhir{asked}"));
        assert_eq!(target_at(&openemr), format!("{FHIR}{received}"));
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    gateway.caller().post("/fhir/Observation/_search", &form, format!("patient={encoded}&_count=5").as_bytes());
    assert_received(&openemr, "patient=Patient%2F1&_count=5");
    let create =
        [("Content-Type", "application/json"), ("If-None-Exist", &format!("general-practitioner={HERE}/Practitioner/1"))];
    gateway.caller().post("/fhir/Patient", &create, b"{}");
    assert_eq!(openemr.received("if-none-exist"), ["general-practitioner=Practitioner%2F1"]);
}

#[test]
fn with_all_repairs_a_reference_to_the_gateway_finds_what_it_names() {
    let openemr = openemr("8.0");
    let mut config = links_alone(&openemr);
    config["sites"]["default"]["conformance"] = json!("repair");
    config["sites"]["default"]["repairs"] = json!({});
    config["sites"]["default"]["paging"] = json!("slice");
    let gateway = Gateway::with(config);
    let all = gateway.caller().get("/fhir/Observation").json();
    let patient = all["entry"][0]["resource"]["subject"]["reference"].as_str().unwrap().to_owned();
    let count = |answer: Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!answer.text().contains("emr.example.org"), "{}", answer.text());
        answer.json()["entry"].as_array().unwrap().iter().filter(|entry| entry["search"]["mode"] == "match").count()
    };
    let expected = count(gateway.caller().get(&format!("/fhir/Observation?patient={patient}")));
    assert!(expected > 0);
    for name in ["patient", "subject"] {
        assert_eq!(count(gateway.caller().get(&format!("/fhir/Observation?{name}={HERE}/{patient}"))), expected, "{name}");
        let form = format!("{name}={}", format!("{HERE}/{patient}").replace('/', "%2F").replace(':', "%3A"));
        let fields = [("Content-Type", "application/x-www-form-urlencoded")];
        assert_eq!(count(gateway.caller().post("/fhir/Observation/_search", &fields, form.as_bytes())), expected, "{name}, form");
    }
}

/// A web server that compresses whether it is asked to or not. Answers every request with these bytes.
fn packing_server(head: &'static str, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}{FHIR}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut seen = Vec::new();
            let mut byte = [0];
            while !seen.ends_with(b"\r\n\r\n") {
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                seen.push(byte[0]);
            }
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n{head}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    base
}

#[test]
fn compressed_answers_are_not_asked_for_and_are_rewritten_all_the_same() {
    let openemr = openemr("8.0");
    let gateway = Gateway::with(links_alone(&openemr));
    let fields = [("Accept-Encoding", "gzip, br")];
    let answer = gateway.caller().send("GET", "/fhir/Patient?_count=1", &fields, b"");
    assert_eq!(answer.status, 200);
    assert!(openemr.received("accept-encoding").is_empty());

    let body = r#"{"resourceType":"Patient","url":"https://packed.example/fhir/Patient/1"}"#.as_bytes();
    let packed = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let head = "Content-Type: application/fhir+json\r\nContent-Encoding: gzip";
    for (bytes, status) in [(packed.clone(), 200), (packed[..packed.len() - 9].to_vec(), 502)] {
        let mut config = links_alone(&openemr);
        let site = &mut config["sites"]["default"];
        site["fhir_base"] = json!(packing_server(head, bytes));
        site["token_url"] = json!(format!("{}/oauth2/default/token", openemr.base));
        site["also_known_as"] = json!(["https://packed.example/fhir"]);
        let gateway = Gateway::with(config);
        let answer = gateway.caller().get("/fhir/Patient/1");
        // A body that turns out to be cut after its head has gone is cut for the caller, too.
        if status == 200 {
            assert_eq!((answer.status, answer.end), (200, End::Whole), "{}", answer.text());
            assert_eq!(answer.text(), format!(r#"{{"resourceType":"Patient","url":"{HERE}/Patient/1"}}"#));
            assert_eq!((answer.field("content-encoding"), answer.field("content-length")), (None, None));
        } else {
            assert!(answer.end == End::Cut || answer.status == status, "{answer:?}");
        }
    }
}

#[test]
fn every_spelling_of_openemrs_address_is_found() {
    let told = Told::start();
    let (address, base) = (told.raw.address, told.base());
    let escaped = base.replace('/', "\\/");
    let coded = base.replace('/', "\\u002f");
    let body = format!(
        r#"{{"resourceType":"Patient","a":"{escaped}\/Patient\/1","b":"{coded}\u002fPatient\u002f1","c":"HTTP://{address}/fhir/Patient/1","d":"see {base}.","e":"({base}). And","f":"{base}x","g":"{base}.bak"}}"#
    );
    for framing in FRAMINGS {
        told.tell(200, &[("Content-Type", "application/json")], &body, framing);
        let answer = told.gateway.caller().get("/fhir/Patient/1");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (json, public) = (answer.json(), told.public_base());
        for name in ["a", "b", "c"] {
            assert_eq!(json[name], format!("{public}/Patient/1"), "{name} {framing:?}");
        }
        assert_eq!((&json["d"], &json["e"]), (&json!(format!("see {public}.")), &json!(format!("({public}). And"))));
        assert_eq!((&json["f"], &json["g"]), (&json!(format!("{base}x")), &json!(format!("{base}.bak"))));
    }
}
