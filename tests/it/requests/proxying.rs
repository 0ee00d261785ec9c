//! Requests reach OpenEMR as the client sent them, with the gateway's token and without fields that must not pass; answers
//! reach the client as OpenEMR sent them, without fields that are OpenEMR's own.

use crate::support::gateway::{Gateway, config, pass_through, site};
use crate::support::http::{Answer, End, request};
use crate::support::openemr::OpenEmr;
use serde_json::{Value, json};

const FHIR: &str = "/apis/default/fhir";
const NEW_PATIENT: &str = r#"{"resourceType":"Patient","name":[{"use":"official","family":"Testing","given":["Tessa"]}],"gender":"female","birthDate":"1980-02-03"}"#;

/// The target of the last request that OpenEMR's FHIR side saw.
fn target_at(openemr: &OpenEmr) -> String {
    openemr.state()["last_fhir_request"]["target"].as_str().unwrap().to_owned()
}

#[test]
fn with_everything_switched_off_path_and_query_pass_byte_for_byte() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(pass_through(&openemr));
    for (asked, received) in [
        ("/fhir/Patient?_count=5", "/Patient?_count=5"),
        ("/fhir/Patient?name=M%C3%BCller&given=a+b%20c&&=&x", "/Patient?name=M%C3%BCller&given=a+b%20c&&=&x"),
        ("/fhir/Patient?a=%2F..%2F//..\\%00&b=?c?d", "/Patient?a=%2F..%2F//..\\%00&b=?c?d"),
        ("/fhir/Patient?code=http://loinc.org|8480-6,a\\,b", "/Patient?code=http://loinc.org|8480-6,a\\,b"),
        ("/fhir/Patient?", "/Patient?"),
        ("/fhir/Patient/", "/Patient/"),
        ("/fhir/%50atient/a%20b%7e", "/%50atient/a%20b%7e"),
        ("/fhir/Patient/a~b!c*d(e)f,g;h:i@j=k", "/Patient/a~b!c*d(e)f,g;h:i@j=k"),
        ("/fhir/$bulkdata-status?job=1", "/$bulkdata-status?job=1"),
        ("/fhir/.well-known/smart-configuration", "/.well-known/smart-configuration"),
        ("/fhir/Patient/...", "/Patient/..."),
        ("/fhir/fhir/fhir", "/fhir/fhir"),
        ("/fhir", ""),
        ("/fhir/", ""),
        ("/fhir?x=1", "?x=1"),
        ("/fhir/?x=1", "?x=1"),
    ] {
        let before = openemr.count("fhir_requests");
        let answer = gateway.caller().get(asked);
        assert_eq!(openemr.count("fhir_requests"), before + 1, "{asked}: {}", answer.text());
        assert_eq!(target_at(&openemr), format!("{FHIR}{received}"), "{asked}");
    }
}

#[test]
fn absolute_form_is_taken_for_its_path() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().get("http://gateway.example/fhir/Patient?name=A");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(target_at(&openemr), format!("{FHIR}/Patient?name=A"));
    assert_eq!(openemr.received("host"), [openemr.address.to_string()]);
}

#[test]
fn a_search_brings_a_bundle_with_and_without_a_junk_authorization() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for fields in [&[][..], &[("Authorization", "Bearer junk")], &[("authorization", "Basic bWU6bWU="), ("Authorization", "x")]] {
        let answer = gateway.caller().send("GET", "/fhir/Patient?_count=5", fields, b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.end, End::Whole);
        let bundle = answer.json();
        assert_eq!(bundle["resourceType"], "Bundle");
        assert_eq!(bundle["entry"].as_array().unwrap().len(), 5);
        let authorization = openemr.received("authorization");
        assert_eq!(authorization.len(), 1, "{authorization:?}");
        assert!(authorization[0].starts_with("Bearer ey"), "{authorization:?}");
    }
}

#[test]
fn what_a_caller_must_not_say_is_dropped_and_the_rest_arrives() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let dropped = [
        ("Cookie", "apiOpenEMR=1; other=2"),
        ("Cookie2", "x"),
        ("Origin", "https://elsewhere.example"),
        ("APICSRFTOKEN", "x"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Host", "elsewhere.example"),
        ("X-Forwarded-Proto", "https"),
        ("x-forwarded-anything", "x"),
        ("Forwarded", "for=192.0.2.1;host=elsewhere.example"),
        ("Proxy-Authorization", "Basic eDp5"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy", "http://elsewhere.example"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("X-Original-URL", "/admin"),
        ("X-Rewrite-URL", "/admin"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Connection", "keep-alive, X-Private, TE"),
        ("X-Private", "x"),
        ("X-Own", "x"),
    ];
    let passed = [
        ("Accept", "application/json"),
        ("Prefer", "respond-async"),
        ("If-None-Match", "\"1\""),
        ("User-Agent", "tests"),
        ("Prefer", "return=minimal"),
        ("Accept-Language", "de, en;q=0.5"),
    ];
    let fields: Vec<_> = dropped.into_iter().chain(passed).collect();
    let answer = gateway.caller().send("GET", "/fhir/Patient?_count=1", &fields, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    for (name, value) in dropped {
        // What Pingora says of its own connection is its own.
        let received = openemr.received(name);
        assert!(!received.iter().any(|got| got == value), "{name}: {received:?}");
        assert!(received.is_empty() || matches!(name, "Connection" | "X-Forwarded-For"), "{name}: {received:?}");
    }
    for name in ["Accept", "Prefer", "If-None-Match", "User-Agent", "Accept-Language"] {
        let sent: Vec<_> = passed.iter().filter(|(sent, _)| *sent == name).map(|(_, value)| *value).collect();
        assert_eq!(openemr.received(name), sent, "{name}");
    }
    assert_eq!(openemr.received("host"), [openemr.address.to_string()]);
}

#[test]
fn accept_is_set_where_the_caller_does_not_care() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for (sent, received) in [
        (&[][..], "application/fhir+json"),
        (&[("Accept", "*/*")], "application/fhir+json"),
        (&[("Accept", "application/json")], "application/json"),
        (&[("Accept", "application/json, */*")], "application/json, */*"),
    ] {
        gateway.caller().send("GET", "/fhir/Patient?_count=1", sent, b"");
        assert_eq!(openemr.received("accept"), [received], "{sent:?}");
    }
}

#[test]
fn what_is_only_openemrs_own_does_not_come_back() {
    for options in [&["--openemr", "8.0"], &["--openemr", "7.0.3"]] {
        let openemr = OpenEmr::with(options);
        let gateway = Gateway::start(&openemr);
        let answer = gateway.caller().send("GET", "/fhir/Patient?_count=1", &[("Origin", "https://elsewhere.example")], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let names: Vec<String> = answer.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        for name in &names {
            let is_openemrs = matches!(name.as_str(), "set-cookie" | "server" | "x-powered-by" | "strict-transport-security");
            assert!(!is_openemrs && !name.starts_with("access-control-"), "{options:?}: {names:?}");
        }
        assert!(names.iter().any(|name| name == "cache-control"), "{names:?}");
    }
}

#[test]
fn every_answer_names_its_request() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let mut seen = Vec::new();
    for target in
        ["/fhir/Patient?_count=1", "/fhir/Patient/nonsense", "/fhir/../x", "/health", "/nowhere", "/.well-known/jwks.json"]
    {
        let answer = gateway.caller().get(target);
        let id = answer.field("x-request-id").unwrap_or_else(|| panic!("{target}: {answer:?}")).to_owned();
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert!(!seen.contains(&id), "{id} twice");
        seen.push(id);
    }
}

#[test]
fn a_path_that_could_leave_the_base_never_reaches_openemr() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let before = openemr.count("fhir_requests");
    for path in [
        "/fhir/..",
        "/fhir/../api/patient",
        "/fhir/Patient/../../api",
        "/fhir/./Patient",
        "/fhir/Patient/.",
        "/fhir/%2e%2e/api",
        "/fhir/%2E%2E/api",
        "/fhir/.%2e/api",
        "/fhir/%2e./api",
        "/fhir/%2e/x",
        "/fhir/%252e%252e/api",
        "/fhir/a%2fb",
        "/fhir/a%2Fb",
        "/fhir/..%2f..%2fapi",
        "/fhir/%5c..%5capi",
        "/fhir//Patient",
        "/fhir//",
        "/fhir/Patient//1",
        "/fhir///",
        "/fhir/Patient\\..\\x",
        "/fhir\\..",
        "/fhir/\\",
        "/fhir/a%00",
        "/fhir/%00",
        "/fhir/a%0d%0aX-Injected:%20y",
        "/fhir/a%0Ab",
        "/fhir/a%7fb",
        "/fhir/a%",
        "/fhir/a%4",
        "/fhir/a%zz",
        "/fhir/%c0%ae%c0%ae%2f",
        "/fhir/Patient/1&_REWRITE_COMMAND=default/api/patient",
        "/fhir/Patient/1%26_REWRITE_COMMAND=default/api/patient",
        "/fhir/Patient/1%23",
        "/fhir/Patient/1%3F_count=1",
        "/fhir/Patient/1+2",
        "/fhir/Patient/1%2B2",
        "http://gateway.example/fhir/../api",
    ] {
        let words = gateway.caller().get(path).outcome(400);
        assert!(words.starts_with("The request was refused: the path "), "{path}: {words}");
    }
    // Raw control characters are not even HTTP.
    for path in ["/fhir/a\0b", "/fhir/a\x01", "/fhir/a\tb"] {
        let mut connection = gateway.caller().connect();
        connection.write(&request("GET", path, &[], b""));
        let answer = connection.read("GET");
        assert_eq!(answer.status, 400, "{path:?}: {answer:?}");
    }
    assert_eq!(openemr.count("fhir_requests"), before);
}

#[test]
fn an_upgrade_is_refused() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let before = openemr.count("fhir_requests");
    let fields = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let words = gateway.caller().send("GET", "/fhir/Patient", &fields, b"").outcome(400);
    assert!(words.contains("protocol"), "{words}");
    assert_eq!(openemr.count("fhir_requests"), before);
    // Java's client offers h2c on every request; that is no reason to refuse it.
    let offer = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")];
    let answer = gateway.caller().send("GET", "/fhir/Patient?_count=1", &offer, b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    for name in ["upgrade", "http2-settings"] {
        assert!(openemr.received(name).is_empty(), "{name}");
    }
    let answer = gateway.caller().send("CONNECT", "gateway.example:443", &[], b"");
    assert!((400..500).contains(&answer.status) || answer.status == 501, "{answer:?}");
    assert_eq!(openemr.count("fhir_requests"), before + 1);
}

#[test]
fn every_method_passes_and_openemr_judges_it() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    config["sites"]["default"]["scopes"] = json!(["system/Patient.read", "system/Patient.write"]);
    config["sites"]["default"]["conformance"] = json!("pass_through");
    let gateway = Gateway::with(config);
    let at_openemr = |method: &str| assert_eq!(openemr.state()["last_fhir_request"]["method"], method);

    let created = gateway.caller().post("/fhir/Patient", &[("Content-Type", "application/fhir+json")], NEW_PATIENT.as_bytes());
    assert_eq!(created.status, 201, "{}", created.text());
    at_openemr("POST");
    assert_eq!(openemr.received("content-type"), ["application/fhir+json"]);
    let uuid = created.json()["uuid"].as_str().unwrap().to_owned();

    let target = format!("/fhir/Patient/{uuid}");
    let read = gateway.caller().get(&target);
    assert_eq!((read.status, read.json()["name"][0]["family"].clone()), (200, json!("Testing")));

    let changed = NEW_PATIENT.replace("Testing", "Changed");
    let updated = gateway.caller().send("PUT", &target, &[("Content-Type", "application/fhir+json")], changed.as_bytes());
    assert_eq!(updated.status, 200, "{}", updated.text());
    at_openemr("PUT");
    assert_eq!(gateway.caller().get(&target).json()["name"][0]["family"], "Changed");

    for (method, body) in [("DELETE", ""), ("PATCH", "[]")] {
        let answer = gateway.caller().send(method, &target, &[], body.as_bytes());
        assert_eq!(answer.status, 404, "{method}: {}", answer.text());
        assert_eq!(answer.json()["message"], "Route not found");
        at_openemr(method);
    }
    let mut connection = gateway.caller().connect();
    connection.write(&request("HEAD", &target, &[], b""));
    assert_eq!(connection.read("HEAD").status, 404);
    at_openemr("HEAD");
    // Nothing of a body came after that head: the connection goes on.
    connection.write(&request("GET", &target, &[], b""));
    assert_eq!(connection.read("GET").status, 200);
}

#[test]
fn a_search_by_form_passes_with_its_body() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let answer =
        gateway.caller().post("/fhir/Patient/_search", &[("Content-Type", "application/x-www-form-urlencoded")], b"_count=3");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["entry"].as_array().unwrap().len(), 3);
}

#[test]
fn openemrs_refusals_pass_as_they_are() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::with(pass_through(&openemr));
    let direct = |target: &str, token: &str| -> Answer {
        let fields = [("Authorization", token), ("Accept", "application/fhir+json")];
        crate::support::http::Caller::new(openemr.address).send("GET", &format!("{FHIR}{target}"), &fields, b"")
    };
    let token = gateway.caller().post("/oauth/token", &[], b"").json();
    let token = format!("Bearer {}", token["access_token"].as_str().unwrap());
    for (target, status) in
        [("/Patient/11111111-2222-3333-4444-555555555555", 404), ("/Patient/no-uuid", 400), ("/Nonsense", 404)]
    {
        let (ours, theirs) = (gateway.caller().get(&format!("/fhir{target}")), direct(target, &token));
        assert_eq!((ours.status, ours.text()), (status, theirs.text()), "{target}");
        assert_eq!(ours.field("content-type"), theirs.field("content-type"), "{target}");
    }
}

#[test]
fn a_missing_scope_is_named() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for (target, scope) in [("/fhir/Encounter", "system/Encounter.read"), ("/fhir/$export", "system/*.$export")] {
        let told = gateway.caller().get(target).outcome(403);
        assert!(told.contains(scope), "{told}");
    }
}

#[test]
fn openemr_7_0_3_is_served_too() {
    let openemr = OpenEmr::with(&["--openemr", "7.0.3"]);
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().get("/fhir/Patient?_revinclude=Provenance:target");
    assert_eq!((answer.status, answer.json()["resourceType"].clone()), (200, json!("Bundle")));
    let metadata = gateway.caller().get("/fhir/metadata").json();
    assert_eq!(metadata["software"]["version"], "7.0.3");
    // Refused with an empty text/html body there, which is no page.
    assert!(gateway.caller().get("/fhir/Encounter").outcome(403).contains("system/Encounter.read"));
}

#[test]
fn https_to_openemr_is_verified_with_the_private_ca() {
    let openemr = OpenEmr::with(&["--tls"]);
    let gateway = Gateway::start(&openemr);
    let answer = gateway.caller().get("/fhir/Patient?_count=2");
    assert_eq!((answer.status, answer.end), (200, End::Whole));
    assert_eq!(answer.json()["entry"].as_array().unwrap().len(), 2);
}

#[test]
fn the_gateway_itself_serves_https() {
    let openemr = OpenEmr::start();
    let folder = tempfile::tempdir().unwrap();
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_openemr-gateway"))
        .args(["keys", "certificate", "--host", "localhost", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = folder.path().join("localhost.pem");
    let mut config = config(&openemr);
    config["listen"] = json!([{"tls": {"certificate": certificate, "private_key": folder.path().join("localhost-key.pem")}}]);
    let gateway = Gateway::with(config);
    let mut connection = gateway.caller().connect_tls(&certificate);
    for _ in 0..2 {
        connection.write(&request("GET", "/fhir/Patient?_count=1", &[], b""));
        let answer = connection.read("GET");
        assert_eq!((answer.status, answer.json()["resourceType"].clone()), (200, json!("Bundle")));
    }
}

#[test]
fn a_second_site_has_its_own_path_and_token() {
    let openemr = OpenEmr::with(&["--site", "default", "--site", "clinic-b"]);
    let mut config = config(&openemr);
    config["sites"]["clinic-b"] = site(&openemr.base, "RS384");
    let gateway = Gateway::with(config);
    let token_of = |site: &str| -> Value { gateway.caller().post(&format!("/oauth/token?site={site}"), &[], b"").json() };
    let (first, second) = (token_of("default"), token_of("clinic-b"));
    assert_ne!(first["access_token"], second["access_token"]);
    for (asked, received, token) in [
        ("/fhir/Patient?name=A", "/apis/default/fhir/Patient?name=A", &first),
        ("/clinic-b/fhir/Patient?name=A", "/apis/clinic-b/fhir/Patient?name=A", &second),
        ("/clinic-b/fhir/Claim/1", "/apis/clinic-b/fhir/Claim/1", &second),
    ] {
        gateway.caller().get(asked);
        assert_eq!(target_at(&openemr), received);
        assert_eq!(openemr.received("authorization"), [format!("Bearer {}", token["access_token"].as_str().unwrap())]);
    }
    assert_eq!(gateway.caller().get("/clinic-b/fhir/Patient?_count=1").status, 200);
    assert_eq!(gateway.caller().get("/default/fhir/Patient").status, 404);
    assert_eq!(gateway.caller().get("/clinic-c/fhir/Patient").status, 404);
    gateway.caller().get("/clinic-b/fhir/%2e%2e/x").outcome(400);
}

#[test]
fn connections_are_kept_on_both_sides() {
    let openemr = OpenEmr::start();
    let mut config = config(&openemr);
    // With several threads Pingora's watcher of an idle connection may still hold it when a request wants it; then
    // Pingora makes another one.
    config["server"] = json!({"threads": 1});
    let gateway = Gateway::with(config);
    let mut connection = gateway.caller().connect();
    let mut accepted = Vec::new();
    for _ in 0..20 {
        connection.write(&request("GET", "/fhir/Patient?_count=1", &[], b""));
        assert_eq!(connection.read("GET").status, 200);
        accepted.push(openemr.count("connections_accepted"));
    }
    assert_eq!(accepted.first(), accepted.last());
}

#[test]
fn more_requests_than_apache_serves_on_a_connection_all_succeed() {
    let openemr = OpenEmr::with(&["--requests-per-connection", "10"]);
    let gateway = Gateway::start(&openemr);
    let mut connection = gateway.caller().connect();
    for number in 0..45 {
        connection.write(&request("GET", "/fhir/Patient?_count=1", &[], b""));
        assert_eq!(connection.read("GET").status, 200, "request {number}");
    }
}

#[test]
fn what_is_not_http_is_refused_without_openemr() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    let before = openemr.count("fhir_requests");
    for bytes in [
        "GET /fhir/Patient HTTP/1.1\r\n\r\n",
        "GET /fhir/Patient HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
        "GET /fhir/Patient HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST /fhir/Patient HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\nhello",
        "nonsense\r\n\r\n",
    ] {
        let mut connection = gateway.caller().connect();
        connection.write(bytes.as_bytes());
        let answer = connection.read("GET");
        assert_eq!(answer.status, 400, "{bytes:?}: {answer:?}");
    }
    assert_eq!(openemr.count("fhir_requests"), before);
}

#[test]
fn openemr_refuses_an_es384_key_and_the_log_says_so() {
    let openemr = OpenEmr::for_keys("ES384", &[]);
    let mut config = config(&openemr);
    config["sites"]["default"] = site(&openemr.base, "ES384");
    let gateway = Gateway::with(config);
    let line = gateway.logs(&["no token", "invalid_client"]);
    assert!(line.contains("Client authentication failed") && line.contains("Likely cause"), "{line}");
    assert_eq!(openemr.state()["last_token_request"]["assertion_header"]["alg"], "ES384");
    gateway.caller().get("/fhir/Patient").outcome(503);
}
