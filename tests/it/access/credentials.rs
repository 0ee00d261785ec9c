//! API keys: how each form of a credential is taken, what is refused, and that none travels on.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::api_keys::{basic, client, digest_of, key_of, secret_of};
use crate::support::gateway::{Gateway, config};
use crate::support::http::{Answer, request};
use crate::support::http2::Http2;
use crate::support::openemr::OpenEmr;

const PATIENTS: &str = "/fhir/Patient?_count=1";

/// A gateway with the clients `lab` and `app`, in front of an OpenEMR.
struct Door {
    openemr: OpenEmr,
    gateway: Gateway,
}

impl Door {
    fn open() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Value)) -> Self {
        let openemr = OpenEmr::start();
        let mut config = config(&openemr);
        config["access"]["allow_from"] = json!(["127.0.0.0/8", "192.0.2.0/24"]);
        config["access"]["clients"] = json!({"lab": client("lab"), "app": client("app")});
        change(&mut config);
        Self { gateway: Gateway::with(config), openemr }
    }

    fn send(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.gateway.caller().send(method, target, fields, b"")
    }

    fn get(&self, fields: &[(&str, &str)]) -> Answer {
        self.send("GET", PATIENTS, fields)
    }

    fn asked(&self) -> u64 {
        self.openemr.count("fhir_requests")
    }
}

/// Checks that an answer says that a credential is missing, or wrong.
fn is_unauthorized(answer: &Answer, wrong: bool) {
    answer.outcome(401);
    assert_eq!(answer.json()["issue"][0]["code"], "login");
    let challenge = answer.field("www-authenticate").unwrap();
    assert!(challenge.starts_with("Bearer realm=\"openemr-gateway\""), "{challenge}");
    assert_eq!(challenge.contains("error=\"invalid_token\""), wrong, "{challenge}");
}

#[test]
fn a_key_is_taken_in_each_of_its_forms_and_travels_nowhere() {
    let door = Door::with(|config| {
        config["log"]["level"] = json!("trace");
        config["listen"] = json!([{"h2c": true}]);
    });
    let key = key_of("lab");
    let (bearer, shout, basic_with, basic_without) =
        (format!("Bearer {key}"), format!("BEARER  {key} "), basic("lab", &key), basic("", &key));
    for (name, value) in [
        ("X-API-Key", key.as_str()),
        ("x-api-key", &key),
        ("Authorization", &bearer),
        ("Authorization", &bearer.to_lowercase().replace(&key.to_lowercase(), &key)),
        ("Authorization", &shout),
        ("Authorization", &basic_with),
        ("Authorization", &basic_without),
    ] {
        let answer = door.get(&[(name, value)]);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert!(door.openemr.received("x-api-key").is_empty());
        let sent = door.openemr.received("authorization");
        assert!(sent.len() == 1 && sent[0].starts_with("Bearer ey"), "{sent:?}");
        let line = door.gateway.access_line(answer.field("x-request-id").unwrap());
        assert!(line.contains("client=lab") || line.contains("\"client\":\"lab\""), "{line}");
    }
    let http2 = Http2::plain(door.gateway.address);
    assert_eq!(http2.send("GET", PATIENTS, &[("x-api-key", &key)], b"").status, 200);
    is_unauthorized(&http2.get(PATIENTS), false);
    let log = door.gateway.log();
    assert!(!log.contains(&secret_of("lab")) && !log.contains(&basic_with[6..]), "the key is in the log");
}

#[test]
fn a_missing_or_wrong_credential_is_401_and_reaches_nobody() {
    let door = Door::with(|config| {
        let expired = json!({"sha256": digest_of("old"), "expires": "2020-01-31"});
        let next = json!({"sha256": digest_of("next"), "expires": "2090-01-31"});
        config["access"]["clients"]["lab"]["api_keys"] = json!([digest_of("lab"), expired, next]);
    });
    let key = key_of("lab");
    assert_eq!(door.get(&[("X-API-Key", &key)]).status, 200);
    assert_eq!(door.get(&[("X-API-Key", &key_of("next"))]).status, 200, "two keys at once");
    let before = door.asked();
    is_unauthorized(&door.get(&[]), false);
    let bearer = |token: &str| ("Authorization", format!("Bearer {token}"));
    let mut wrong = vec![
        ("X-API-Key", String::new()),
        ("X-API-Key", "x".repeat(6000)),
        ("X-API-Key", key.to_uppercase()),
        ("X-API-Key", format!("{key}{key}")),
        ("X-API-Key", format!("{key},{key}")),
        ("X-API-Key", key_of("old")),
        ("X-API-Key", key_of("nobody")),
        ("X-API-Key", format!("{}{}", &key[..22], &key_of("app")[22..])),
        bearer(""),
        bearer(&key_of("nobody")),
        bearer("eyJhbGciOiJub25lIn0.e30."),
        bearer("something-opaque"),
        ("Authorization", key.clone()),
        ("Authorization", "Bearer".to_owned()),
        ("Authorization", format!("Basic {key}")),
        ("Authorization", "Basic".to_owned()),
        ("Authorization", "Basic ?".to_owned()),
        ("Authorization", basic("app", &key)),
        ("Authorization", basic(&key, "")),
        ("Authorization", format!("Negotiate {key}")),
        ("Authorization", format!("Bearer {key}, Basic YTpi")),
        ("Authorization", "Bearer \u{fc}".to_owned()),
    ];
    // One bit of each letter of the secret.
    for at in 22..key.len() {
        let mut changed = key.clone().into_bytes();
        changed[at] ^= 1;
        wrong.push(("X-API-Key", String::from_utf8(changed).unwrap()));
    }
    for (name, value) in &wrong {
        let answer = door.get(&[(name, value)]);
        is_unauthorized(&answer, true);
        let repeats = value.len() > 30 && answer.text().contains(&value[..30]);
        assert!(!repeats, "{value}");
    }
    assert_eq!(door.asked(), before, "none reached OpenEMR");
    // In the query it would travel on, also beside a good one.
    let target = format!("{PATIENTS}&access_token={key}");
    for fields in [&[][..], &[("X-API-Key", key.as_str())]] {
        let text = door.send("GET", &target, fields).outcome(400);
        assert!(text.contains("access_token") && !text.contains(&key), "{text}");
    }
    assert_eq!(door.asked(), before);
    // Elsewhere it is plain JSON, and a path without a route tells nothing.
    for (method, target) in [("POST", "/oauth/token"), ("GET", "/nowhere")] {
        let answer = door.send(method, target, &[]);
        assert_eq!((answer.status, &answer.json()["error"]), (401, &json!("unauthorized")), "{target}");
        assert!(answer.field("www-authenticate").is_some(), "{target}");
        assert_eq!(door.send(method, target, &[("X-API-Key", &key_of("nobody"))]).status, 401, "{target}");
    }
    assert_eq!(door.send("GET", "/nowhere", &[("X-API-Key", &key)]).status, 404);
}

#[test]
fn several_credentials_are_of_one_client_or_refused() {
    let door = Door::open();
    let (lab, app) = (key_of("lab"), key_of("app"));
    let (bearer, other) = (format!("Bearer {lab}"), format!("Bearer {app}"));
    let basic = basic("lab", &lab);
    let before = door.asked();
    for (fields, status) in [
        (&[("Authorization", bearer.as_str()), ("X-API-Key", &app)][..], 400),
        (&[("Authorization", &other), ("X-API-Key", &lab)], 400),
        (&[("Authorization", &basic), ("X-API-Key", &app)], 400),
        (&[("X-API-Key", &lab), ("X-API-Key", &lab)], 400),
        (&[("X-API-Key", &lab), ("x-api-key", &app)], 400),
        (&[("Authorization", &bearer), ("Authorization", &bearer)], 400),
        (&[("Authorization", &bearer), ("authorization", "")], 400),
        (&[("Authorization", &bearer), ("X-API-Key", "wrong")], 401),
        (&[("Authorization", "Bearer wrong"), ("X-API-Key", &lab)], 401),
    ] {
        door.get(fields).outcome(status);
    }
    assert_eq!(door.asked(), before, "none reached OpenEMR");
    for fields in [&[("Authorization", bearer.as_str()), ("X-API-Key", &lab)], &[("Authorization", &basic), ("X-API-Key", &lab)]]
    {
        assert_eq!(door.get(fields).status, 200, "of one client");
    }
}

#[test]
fn a_client_calls_from_its_networks_alone() {
    let door = Door::with(|config| {
        config["access"]["clients"]["lab"]["allow_from"] = json!(["192.0.2.0/25"]);
        config["trusted_proxies"] = json!([{"from": "127.0.0.2", "fields": "x_forwarded"}]);
    });
    let before = door.asked();
    let key = key_of("lab");
    let answer = door.get(&[("X-API-Key", &key)]);
    answer.outcome(403);
    assert_eq!(answer.json()["issue"][0]["code"], "forbidden");
    assert!(answer.field("www-authenticate").is_none());
    is_unauthorized(&door.get(&[("X-API-Key", &key_of("nobody"))]), true);
    assert_eq!(door.asked(), before);
    let proxy: IpAddr = "127.0.0.2".parse().unwrap();
    for (address, status) in [("192.0.2.7", 200), ("192.0.2.200", 403), ("198.51.100.1", 403)] {
        let mut connection = door.gateway.caller().connect_from(proxy);
        connection.write(&request("GET", PATIENTS, &[("X-API-Key", &key), ("X-Forwarded-For", address)], b""));
        assert_eq!(connection.read("GET").status, status, "{address}");
    }
}

#[test]
fn what_everybody_may_read_needs_no_credential_and_a_preflight_has_none() {
    let door = Door::with(|config| config["sites"]["default"]["cors"] = json!({"origins": ["https://app.example.org"]}));
    let wrong = [("X-API-Key", "wrong")];
    for target in ["/health", "/ready", "/.well-known/jwks.json"] {
        for fields in [&[][..], &wrong] {
            assert_eq!(door.send("GET", target, fields).status, 200, "{target}");
        }
    }
    for target in ["/fhir/metadata", "/fhir/.well-known/smart-configuration"] {
        assert_eq!(door.send("GET", target, &[]).status, 200, "{target}");
        assert_eq!(door.send("GET", target, &[("X-API-Key", &key_of("lab"))]).status, 200, "{target}");
        assert_eq!(door.send("GET", target, &wrong).status, 401, "{target}");
    }
    let preflight = [
        ("Origin", "https://app.example.org"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let answer = door.send("OPTIONS", "/fhir/Patient", &preflight);
    assert_eq!(answer.status, 204);
    assert!(answer.field("access-control-allow-headers").unwrap().to_lowercase().contains("authorization"));
    // A page reads the error, too.
    let answer = door.get(&[("Origin", "https://app.example.org")]);
    is_unauthorized(&answer, false);
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.example.org"));
}

#[test]
fn where_callers_without_credentials_may_call_a_wrong_one_is_still_wrong() {
    let door = Door::with(|config| config["access"]["anonymous"] = json!("everything"));
    assert_eq!(door.get(&[]).status, 200);
    assert_eq!(door.get(&[("X-API-Key", &key_of("lab"))]).status, 200);
    is_unauthorized(&door.get(&[("X-API-Key", &key_of("nobody"))]), true);
    is_unauthorized(&door.get(&[("Authorization", "Bearer junk")]), true);
}

#[test]
fn without_clients_nobody_looks_at_credentials() {
    let openemr = OpenEmr::start();
    let gateway = Gateway::start(&openemr);
    for (name, value) in [("X-API-Key", "x"), ("Authorization", "Bearer junk"), ("Authorization", "Digest x")] {
        assert_eq!(gateway.caller().send("GET", PATIENTS, &[(name, value), (name, value)], b"").status, 200, "{name}");
        assert!(openemr.received("x-api-key").is_empty());
    }
    assert!(gateway.token("").json()["access_token"].is_string());
    assert_eq!(gateway.token("?force=true").status, 200);
}

#[test]
fn the_token_is_for_policies_that_name_it_and_on_this_machine() {
    let door = Door::with(|config| {
        let of = |name: &str, grants: &[&str]| json!({"scopes": [], "local": grants, "api_keys": [digest_of(name)]});
        config["access"]["clients"] =
            json!({"lab": client("lab"), "force": of("force", &["force_refresh"]), "shown": of("shown", &["token"])});
        config["trusted_proxies"] = json!([{"from": "127.0.0.2", "fields": "x_forwarded"}]);
    });
    let token = |client: &str, query: &str| door.send("POST", &format!("/oauth/token{query}"), &[("X-API-Key", &key_of(client))]);
    assert_eq!(token("lab", "").status, 200);
    let exchanges = door.openemr.exchanges().len();
    for client in ["lab", "shown"] {
        let answer = token(client, "?force=true");
        assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("forbidden")), "{client}");
    }
    assert_eq!(door.openemr.exchanges().len(), exchanges, "OpenEMR was asked for no token");
    for (client, shown) in [("lab", false), ("force", false), ("shown", true)] {
        let answer = token(client, "").json();
        assert_eq!(answer["access_token"].is_string(), shown, "{client}");
        assert_eq!(answer["access_token_sha256_prefix"].is_string(), !shown, "{client}");
    }
    let forced = token("force", "?force=1");
    assert_eq!(forced.status, 200, "{}", forced.text());
    assert_eq!(door.openemr.exchanges().len(), exchanges + 1);
    // From elsewhere neither the token nor OpenEMR's address is shown.
    assert!(door.send("GET", "/health", &[]).json()["sites"][0]["fhir_base"].is_string());
    let far = |method: &str, target: &str| {
        let mut connection = door.gateway.caller().connect_from("127.0.0.2".parse().unwrap());
        let fields = [("X-API-Key", key_of("shown")), ("X-Forwarded-For", "192.0.2.7".to_owned())];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        connection.write(&request(method, target, &fields, b""));
        connection.read(method).json()
    };
    assert!(far("POST", "/oauth/token")["access_token_sha256_prefix"].is_string());
    let health = far("GET", "/health");
    assert!(health["sites"][0]["name"] == "default" && health["sites"][0]["fhir_base"].is_null(), "{health}");
}

#[test]
fn a_client_that_a_reload_removes_or_narrows_is_refused_at_its_next_request() {
    let door = Door::open();
    let key = key_of("app");
    let bytes = request("GET", PATIENTS, &[("X-API-Key", &key)], b"");
    let mut open = door.gateway.caller().connect();
    let mut status = || {
        open.write(&bytes);
        open.read("GET").status
    };
    assert_eq!(status(), 200);
    let mut config = door.gateway.config.clone();
    config["access"]["clients"].as_object_mut().unwrap().remove("app");
    assert!(door.gateway.reload(&config).contains("is in force"));
    assert_eq!(status(), 401);
    assert!(door.gateway.reload(&door.gateway.config).contains("is in force"));
    assert_eq!(status(), 200);
    for narrower in [json!({"scopes": ["system/Observation.rs"]}), json!({"policy": "everything", "allow_from": ["192.0.2.1"]})] {
        let mut config = door.gateway.config.clone();
        config["access"]["clients"]["app"] = narrower;
        config["access"]["clients"]["app"]["api_keys"] = json!([digest_of("app")]);
        assert!(door.gateway.reload(&config).contains("is in force"));
        assert_eq!(status(), 403);
    }
}
